//! pgbench's built-in transaction at full speed while the key of its largest table is retyped.
//!
//! The application is PostgreSQL's own, and so is the invariant: four sums that are equal in every snapshot.

use std::fmt;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use crossfade_lab::pgbench::{Pgbench, Sums, history_between};
use tokio::sync::watch;

use super::held::{Held, Watch};
use crate::memory::watched;
use crate::process::Ended;
use crate::stage::Stage;

const TABLE: &str = "pgbench_accounts";
/// As many as in `pgbench -c 4`.
const CLIENTS: u32 = 4;
/// pgbench reports at the end of a run only, so it is run again and again, each time for so long.
const SLICE: Duration = Duration::from_secs(3);
/// How long it has the tables to itself, before the engine begins and after it has ended.
const UNDISTURBED: Duration = Duration::from_secs(1);

/// What one run saw.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// pgbench transactions, each with one change of an account, by when they began.
    pub before_copy: i64,
    /// While rows were copied.
    pub during_copy: i64,
    /// After the copy, before the swap.
    pub after_copy: i64,
    /// Of the changes before the swap, those applied under the lock.
    pub last_drain: u64,
    /// After the swap.
    pub after_swap: i64,
    /// Rows copied.
    pub rows_copied: u64,
    /// Changes applied.
    pub changes_applied: u64,
    /// Attempts of the cutover.
    pub attempts: u64,
    /// How long the exclusive lock was held, in milliseconds.
    pub lock_held_ms: f64,
    /// How long the whole change took.
    pub took: Duration,
    /// The most that the engine had resident, in bytes.
    pub memory: u64,
    /// What it kept the server from doing while rows were copied.
    pub held: Held,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures {
            before_copy,
            during_copy,
            after_copy,
            last_drain,
            after_swap,
            ..
        } = self;
        write!(
            f,
            "changes before the copy {before_copy}, during it {during_copy}, after it {after_copy}, "
        )?;
        write!(f, "in the last drain {last_drain}, after the swap {after_swap}; ")?;
        write!(
            f,
            "{} rows copied, {} changes applied, ",
            self.rows_copied, self.changes_applied
        )?;
        write!(
            f,
            "{} attempts, lock held {:.0} ms, ",
            self.attempts, self.lock_held_ms
        )?;
        let Held {
            snapshot,
            chunks,
            wal: [first, second],
            written,
            ..
        } = self.held;
        write!(
            f,
            "at most {} MB resident, a snapshot held for {:.1} s and {chunks} chunks of others, \
             of {} MB of WAL {} retained in the first half of the copy and {} in the second, ",
            self.memory >> 20,
            snapshot.as_secs_f64(),
            written >> 20,
            first >> 20,
            second >> 20
        )?;
        write!(f, "{:.1} s; sums equal, 0 failed", self.took.as_secs_f64())
    }
}

/// Runs the scenario once, on a fresh database of `stage`, as a role that has what `crossfade grants` says and no more;
/// `more` are further arguments of `crossfade run`.
///
/// # Errors
/// Anything that is not as it must be: the engine's exit code, a complaint of pgbench, sums that differ, a time in
/// which nothing was written.
pub async fn run(stage: &mut Stage, scale: u32, more: &[&str]) -> Result<Figures> {
    let pgbench = Pgbench::new(stage.server().installation(), &stage.application())?;
    pgbench.initialize(scale).await?;
    stage.grant_afresh(TABLE).await?;
    let began = SystemTime::now();
    let (stop, stopped) = watch::channel(false);
    let writing = tokio::spawn(write(pgbench, stopped));
    tokio::time::sleep(UNDISTURBED).await;
    let watch = Watch::begin(stage).await?;
    let change = [&["--cutover", "auto"], more].concat();
    let engine = stage.run(TABLE, "ALTER COLUMN aid TYPE bigint", &change)?;
    let (ended, memory) = watched(engine).await?;
    let ended = ended.expect(0)?;
    let held = watch.end().await?;
    tokio::time::sleep(UNDISTURBED).await;
    stop.send_replace(true);
    let transactions = writing.await??;

    let client = stage.client().await?;
    let sums = Sums::read(&client).await?;
    ensure!(sums.are_equal(), "{sums:?}");
    let history: i64 = client
        .query_one("SELECT count(*) FROM pgbench_history", &[])
        .await?
        .get(0);
    ensure!(
        u64::try_from(history)? == transactions,
        "{history} in the history of {transactions} transactions"
    );
    let now = stage.column_type(TABLE, "aid").await?;
    ensure!(now == "bigint", "aid is {now}");
    figures(&client, &ended, began, memory, held).await
}

/// Slice after slice until it is asked to stop; returns how many transactions there were.
async fn write(pgbench: Pgbench, stop: watch::Receiver<bool>) -> Result<u64> {
    let mut transactions = 0;
    while !*stop.borrow() {
        let report = pgbench.transactions(CLIENTS, SLICE).await?;
        ensure!(report.failed == 0 && report.complaints.is_empty(), "{report:?}");
        transactions += report.transactions;
    }
    Ok(transactions)
}

async fn figures(
    client: &tokio_postgres::Client,
    ended: &Ended,
    began: SystemTime,
    memory: u64,
    held: Held,
) -> Result<Figures> {
    let moment = |name: &str| {
        let ms = ended.reported(&format!("timeline/{name}"))?;
        anyhow::Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
    };
    let (started, ended_at) = (moment("started")?, moment("ended")?);
    let (copy_started, copy_ended, swapped) =
        (moment("copy_started")?, moment("copy_ended")?, moment("swapped")?);
    let lock_held = ended
        .object
        .pointer("/report/lock_held_ms")
        .and_then(serde_json::Value::as_f64);
    let figures = Figures {
        before_copy: history_between(client, began, copy_started).await?,
        during_copy: history_between(client, copy_started, copy_ended).await?,
        after_copy: history_between(client, copy_ended, swapped).await?,
        last_drain: ended.reported("changes_last_drain")?,
        after_swap: history_between(client, swapped, SystemTime::now()).await?,
        rows_copied: ended.reported("rows_copied")?,
        changes_applied: ended.reported("changes_applied")?,
        attempts: ended.reported("cutover_attempts")?,
        lock_held_ms: lock_held.context("find how long the lock was held")?,
        took: ended_at.duration_since(started).unwrap_or_default(),
        memory,
        held,
    };
    let counts = [
        figures.before_copy,
        figures.during_copy,
        figures.after_copy,
        figures.after_swap,
    ];
    ensure!(
        !counts.contains(&0),
        "at some time nothing was written: {figures}"
    );
    Ok(figures)
}
