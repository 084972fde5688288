//! What an application feels of a change: a writer at a fixed rate, through the whole life of a migration.
//!
//! Each round makes the table anew, lets the writer write undisturbed for about as long as the change will take, then runs
//! the whole change, with its verification and its swap, and writes on for a while. The first round is not measured: it
//! warms up and tells how long a change takes.

mod phases;
mod writer;

use std::time::{Duration, Instant, SystemTime};

use crossfade_coordinator::report::Report;
use crossfade_coordinator::run::What;
use crossfade_core::migration::Activity;
use crossfade_postgres::session::Session;
use serde::{Deserialize, Serialize};

pub use self::phases::{Moment, Phase, PhaseLatencies};
use self::phases::{Span, by_phase, over_time};
use self::writer::{Writer, Written};
use crate::BenchError;
use crate::engine::{self, Engine};
use crate::ground::{Ground, MAIN};
use crate::mix::Mix;
use crate::record::Record;
use crate::report::{Cell, Parameters, Sample, cell_of, rounds_of};
use crate::stats::{Percentiles, rounded};
use crate::table;

/// The migration.
const MIGRATION: &str = "bench_stall";
/// Plans are made and caches filled before anything counts.
const SETTLE: Duration = Duration::from_secs(1);
/// How long the writer is watched without a change, and after one.
const UNDISTURBED: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
/// See [`UNDISTURBED`].
const AFTER: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(10);
/// A server whose undisturbed median is above this does not keep up with the rate.
const KEEPS_UP_MS: f64 = 100.0;

/// What latencies depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StallParameters {
    /// Rows of the table.
    pub rows: u64,
    /// Transactions that are due each second.
    pub rate: u32,
    /// Sessions that take them.
    pub sessions: usize,
    /// Bytes of a row's payload.
    pub width: u64,
    /// Rows in a hundred with a text of 8 kB out of line.
    pub toast: u64,
}

impl Parameters for StallParameters {
    fn id(&self) -> String {
        let StallParameters {
            rows,
            rate,
            sessions,
            width,
            toast,
        } = self;
        format!("stall rows={rows} rate={rate} sessions={sessions} width={width} toast={toast}")
    }
}

/// One whole change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StallSample {
    /// All phases, in their order.
    pub phases: Vec<PhaseLatencies>,
    /// How long the exclusive lock was held, in milliseconds.
    pub lock_held_ms: f64,
    /// How long others may have queued behind the request for it, in milliseconds.
    pub lock_queue_ms: f64,
    /// Attempts to swap.
    pub attempts: u32,
    /// Transactions of the writer.
    pub transactions: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// The latencies over the whole time.
    pub over_time: Vec<Moment>,
}

impl Sample for StallSample {
    fn quantities(&self) -> Vec<(String, &'static str, f64)> {
        let longest = self.phases.iter().find(|phase| phase.phase == Phase::Swap);
        let longest = longest.map_or(0.0, |phase| phase.latencies.max);
        let mut all = vec![
            ("longest in the swap".to_owned(), "ms", longest),
            ("lock held".to_owned(), "ms", self.lock_held_ms),
            ("failed".to_owned(), "transactions", self.failed as f64),
        ];
        for phase in &self.phases {
            for (name, value) in Percentiles::NAMES.into_iter().zip(phase.latencies.values()) {
                all.push((figure_name(phase.phase, name), "ms", value));
            }
        }
        all
    }
}

/// How the figure of a percentile of a phase is called.
pub fn figure_name(phase: Phase, percentile: &str) -> String {
    format!("{} {percentile}", phase.name())
}

/// Transactions that were due in a phase, over all rounds: a percentile of few says little.
pub fn transactions<P>(cell: &Cell<P, StallSample>, phase: Phase) -> usize {
    let phases = cell.samples.iter().flat_map(|sample| &sample.phases);
    phases
        .filter(|latencies| latencies.phase == phase)
        .map(|latencies| latencies.latencies.count)
        .sum()
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StallOptions {
    /// Under which parameters.
    pub parameters: StallParameters,
    /// Changes, each with its swap.
    pub swaps: usize,
}

impl Default for StallOptions {
    fn default() -> Self {
        StallOptions {
            parameters: StallParameters {
                rows: 200_000,
                rate: 500,
                sessions: 16,
                width: 100,
                toast: 1,
            },
            swaps: 3,
        }
    }
}

/// Measures what `record` does not have, in a database of its own. `progress` is told what begins.
///
/// # Errors
/// [`BenchError`]; what was measured by then is in the record.
///
/// # Cancel safety
/// Dropping the future leaves the database and slots behind, for [`Ground::clear`].
pub async fn measure(
    ground: &Ground,
    options: &StallOptions,
    record: &mut Record,
    progress: &mut impl FnMut(&str),
) -> Result<(), BenchError> {
    let parameters = &options.parameters;
    let done = rounds_of(&record.report.stall, parameters);
    if done >= options.swaps {
        progress("stall: every cell is there");
        return Ok(());
    }
    Mix::default().check(parameters.rows, u64::from(parameters.rate))?;
    progress("stall: warming up with a whole change");
    let (_, mut takes) = once(ground, parameters, Duration::ZERO).await?;
    for round in done + 1..=options.swaps {
        progress(&format!(
            "stall, swap {round} of {}: {} s undisturbed, then the change",
            options.swaps,
            clamp(takes, &UNDISTURBED).as_secs()
        ));
        let (sample, took) = once(ground, parameters, takes).await?;
        takes = took;
        remark(&mut record.report, &sample);
        let label = format!("{} rows, {} transactions/s", parameters.rows, parameters.rate);
        cell_of(&mut record.report.stall, &label, parameters, parameters)
            .samples
            .push(sample);
        record.save()?;
    }
    Ok(ground.clear().await?)
}

fn remark(report: &mut crate::report::Report, sample: &StallSample) {
    let before = sample.phases.first().map_or(0.0, |phase| phase.latencies.p50);
    if before > KEEPS_UP_MS {
        report.note(
            "stall: the server does not keep up with the rate even undisturbed; give a lower --rate"
                .to_owned(),
        );
    }
    if sample.failed > 0 {
        report.note("stall: transactions of the writer failed".to_owned());
    }
}

fn clamp(time: Duration, bounds: &std::ops::RangeInclusive<Duration>) -> Duration {
    time.clamp(*bounds.start(), *bounds.end())
}

/// One whole change, and how long it took.
async fn once(
    ground: &Ground,
    parameters: &StallParameters,
    undisturbed: Duration,
) -> Result<(StallSample, Duration), BenchError> {
    ground.make(MAIN).await?;
    let session = ground.session(MAIN).await?;
    build(&session, parameters).await?;
    let plan = engine::plan(&session, MIGRATION).await?;
    let config = ground.config(MAIN);
    let writer = Writer::start(&config, parameters.rate, parameters.sessions).await?;
    let clock = Clock::of(writer.began);
    tokio::time::sleep(SETTLE + clamp(undisturbed, &UNDISTURBED)).await;

    let engine_began = clock.now();
    let engine = Engine::start(&config, What::Plan(Box::new(plan)), true);
    let mut status = engine.status();
    let lock_asked = tokio::spawn(async move {
        let cutting = |activity| activity == Some(Activity::CuttingOver);
        let seen = status
            .wait_for(|status| status.as_ref().is_some_and(|status| cutting(status.activity)))
            .await;
        seen.is_ok().then(Instant::now)
    });
    let report = engine.done().await?;
    let took = clock.now().saturating_sub(engine_began);
    let lock_asked = lock_asked
        .await?
        .map(|seen| seen.saturating_duration_since(writer.began));
    tokio::time::sleep(clamp(took / 2, &AFTER)).await;
    let ended = clock.now();
    let written = writer.stop().await?;
    check(&session, parameters, &written).await?;
    let spans = spans(&clock, &report, [engine_began, ended], lock_asked);
    let sample = StallSample {
        phases: by_phase(&written.latencies, &spans),
        lock_held_ms: rounded(report.lock_held_ms),
        lock_queue_ms: rounded(report.lock_queue_ms_max),
        attempts: report.cutover_attempts,
        transactions: written.latencies.len() as u64,
        failed: written.failed,
        over_time: over_time(&written.latencies, &spans),
    };
    Ok((sample, took))
}

async fn build(session: &Session, parameters: &StallParameters) -> Result<(), BenchError> {
    let StallParameters {
        rows, width, toast, ..
    } = *parameters;
    table::build(session, rows, width, toast).await?;
    Ok(session
        .batch_execute(&Mix::default().function(rows, width))
        .await?)
}

/// The tables were swapped, and nothing that was acknowledged is missing.
async fn check(session: &Session, parameters: &StallParameters, written: &Written) -> Result<(), BenchError> {
    let row = session
        .query_one(
            "SELECT count(*), max(pg_catalog.pg_typeof(id)::text) FROM items",
            &[],
        )
        .await?;
    let found: (i64, Option<String>) = (row.get(0), row.get(1));
    let (inserts, deletes) = Mix::default().inserts_and_deletes(0..written.latencies.len() as u64);
    let rows = (parameters.rows + inserts - deletes).cast_signed();
    let expected = (rows, Some("bigint".to_owned()));
    // A transaction that failed has changed nothing: which kind it was is not known here.
    if found == expected || (written.failed > 0 && found.1 == expected.1) {
        return Ok(());
    }
    Err(BenchError::Wrong {
        what: "the rows after a change, and the type of their key".to_owned(),
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}

/// One moment by both clocks: the engine's moments are wall-clock times, the writer's are not.
struct Clock {
    began: Instant,
    began_unix_ms: u64,
}

impl Clock {
    fn of(began: Instant) -> Clock {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        // A writer that began centuries ago is not measured.
        let ago_ms = began.elapsed().as_millis() as u64;
        Clock {
            began,
            began_unix_ms: now_ms.saturating_sub(ago_ms),
        }
    }

    /// Since the writer's beginning.
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A moment of the engine.
    fn at(&self, unix_ms: Option<u64>) -> Option<Duration> {
        Some(Duration::from_millis(unix_ms?.saturating_sub(self.began_unix_ms)))
    }
}

fn spans(
    clock: &Clock,
    report: &Report,
    [engine_began, ended]: [Duration; 2],
    lock_asked: Option<Duration>,
) -> Vec<Span> {
    let times = &report.timeline;
    let swapped = clock.at(times.swapped).unwrap_or(ended);
    let queue = Duration::from_secs_f64(report.lock_queue_ms_max / 1_000.0);
    let locked = clock.at(times.locked).unwrap_or(swapped).saturating_sub(queue);
    let asked = lock_asked.map_or(locked, |seen| seen.min(locked));
    let copied = clock.at(times.copy_ended).unwrap_or(engine_began);
    let ends = [engine_began, copied, asked, swapped, ended];
    let mut begin = SETTLE;
    let span = |(phase, end): (Phase, Duration)| {
        let span = Span {
            phase,
            begin,
            end: end.max(begin),
        };
        begin = span.end;
        span
    };
    Phase::ALL.into_iter().zip(ends).map(span).collect()
}
