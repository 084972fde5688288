//! A run: from a plan, or from where a migration is, to its end.
//!
//! An engine that loses a connection is thrown away, and another begins from the durable state: there is one way
//! to go on, and a crash takes it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::code::{FailureCode, RefusalCode};
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::detector::Seen;
use crossfade_core::feed::FeedLimits;
use crossfade_core::ledger::{ChunkId, CopiedChunk};
use crossfade_core::migration::{CopyState, Durable, Migration, Options};
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::Plan;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::state::{self, TakeOver};
use crossfade_postgres::{planner, slot, wal};
use crossfade_replication::transport::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::conclude::{conclude, end};
use crate::context::{Context, host};
use crate::ended::Ended;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::hands::{Hands, SLOT_RELEASE_MAX, find_or_begin_anew, settle_swap};
use crate::losses::{self, Losses, Mark, Reached};
use crate::operator::{Measured, operate as watch_operator};
use crate::pace;
use crate::report::{Report, Status, now_ms};

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Sessions that copy at the same time.
    pub copiers: usize,
    /// Cut over without being asked.
    pub cutover_when_ready: bool,
    /// After the swap, go back without being asked.
    pub roll_back: bool,
    /// Compare every row before the migration is ready to be cut over.
    pub verify: bool,
    /// See [`Options::repair`].
    pub repair: bool,
    /// What to do about transactions that took their snapshot before the last apply.
    pub old_snapshots: OldSnapshots,
    /// How long to try to get back to a server that is away.
    pub reconnect_max: Duration,
}

/// What to run.
#[derive(Clone, Debug)]
pub enum What {
    /// This plan: from the start, or from where the migration of its name is if it has the same plan.
    Plan(Box<Plan>),
    /// The migration of that name, whose plan is in the state schema.
    Resume(MigrationName),
}

/// How long `complete` may take to bring a migration to its end that it has taken over.
const COMPLETING_MAX: Duration = Duration::from_secs(20);

/// Runs a migration to its end, its interruption or its failure.
///
/// `stop` becoming true asks it to end cleanly and resumably. `status` is written as things change.
///
/// # Cancel safety
/// Dropping the future closes the sessions; the server rolls open transactions back, and the migration can go on
/// from its durable state.
pub async fn run(
    config: &ConnectConfig,
    what: What,
    mut options: RunOptions,
    stop: watch::Receiver<bool>,
    status: watch::Sender<Option<Status>>,
) -> Ended {
    let (name, config) = match admit(config, what).await {
        Ok(admitted) => admitted,
        Err(failure) => return end(failure),
    };
    let config = &config;
    let mut losses = Losses::new();
    let (mut report, mut reached) = (None, None);
    loop {
        let began = Instant::now();
        match run_engine(
            config,
            &name,
            &mut options,
            &mut report,
            &mut reached,
            stop.clone(),
            status.clone(),
        )
        .await
        {
            Ok(Some(ended)) => return ended,
            Ok(None) => {}
            Err(Failure::Superseded) => return superseded(config, &name).await,
            Err(Failure::Lost { what }) => {
                let pause = match losses.lost(&what, began.elapsed(), reached.take(), options.reconnect_max) {
                    Ok(pause) => pause,
                    Err(failure) => return end(failure),
                };
                tracing::warn!(%what, "begins again from the durable state");
                note(
                    &status,
                    &format!("connection lost, beginning again from where it was: {what}"),
                );
                if pause_or_stop(pause, stop.clone()).await {
                    return Ended::Interrupted;
                }
                // It was no accident: whoever has taken the migration over ended our sessions.
                if matches!(taken_over(config, &name).await, Ok(TakenOver::AtWork)) {
                    return superseded(config, &name).await;
                }
            }
            Err(failure) => return end(failure),
        }
    }
}

pub(crate) fn note(status: &watch::Sender<Option<Status>>, line: &str) {
    status.send_if_modified(|status| {
        status.as_mut().is_some_and(|status| {
            status.note = Some(line.to_owned());
            true
        })
    });
}

async fn pause_or_stop(pause: Duration, mut stop: watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stop.wait_for(|asked| *asked))
        .await
        .is_ok()
}

/// Stores a new plan, or finds the migration that is to go on; from then on it is known which cluster is meant.
async fn admit(config: &ConnectConfig, what: What) -> Result<(MigrationName, ConnectConfig), Failure> {
    let config = match &what {
        What::Plan(plan) => config.to_cluster(plan.server.system_identifier),
        What::Resume(_) => config.clone(),
    };
    let session = Session::open(&config, &SessionOptions::default()).await?;
    session.refuse_pooler().await?;
    match what {
        What::Plan(plan) => {
            state::ensure(&session).await?;
            let digest = planner::digest(&plan);
            if state::create(&session, &plan, &digest).await? == state::Created::New {
                state::audit(&session, plan.name.as_str(), &host(), "planned", None).await?;
            }
            Ok((plan.name, config))
        }
        What::Resume(name) => {
            let unknown = || state::StateError::Unknown {
                name: name.to_string(),
            };
            if !state::exists(&session).await? {
                return Err(unknown().into());
            }
            state::ensure(&session).await?;
            let stored = state::load(&session, name.as_str()).await?.ok_or_else(unknown)?;
            match stored.plan.destination {
                None => Ok((name, config.to_cluster(stored.plan.server.system_identifier))),
                Some(destination) => Err(Failure::Refused {
                    code: RefusalCode::OfTwoServers,
                    object: format!("migration {name}"),
                    reason: format!("It is a move from {}.", destination.from_place),
                    remedy: "Say where from, too: --from URL; and its hooks, if it has any.",
                }),
            }
        }
    }
}

/// What has become of a migration that another process has taken over.
pub(crate) enum TakenOver {
    /// By that process.
    Completed(Box<Report>),
    /// Another process is at work on it.
    AtWork,
    /// Nobody is.
    Left,
}

/// Who takes a migration over may be about to bring it to its end; and ends every session of ours, also the one that would
/// have asked.
pub(crate) async fn superseded(config: &ConnectConfig, name: &MigrationName) -> Ended {
    let deadline = Instant::now() + COMPLETING_MAX;
    loop {
        match taken_over(config, name).await {
            Ok(TakenOver::Completed(report)) => return Ended::Done(report),
            Ok(TakenOver::AtWork) | Err(_) if Instant::now() < deadline => {
                tokio::time::sleep(losses::PAUSE).await;
            }
            Ok(TakenOver::AtWork | TakenOver::Left) | Err(_) => return end(Failure::Superseded),
        }
    }
}

pub(crate) async fn taken_over(config: &ConnectConfig, name: &MigrationName) -> Result<TakenOver, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    // First who is at work, so that what comes of its last moment is not missed.
    let engine = state::engine(&session, name.as_str()).await?;
    let stored = state::load(&session, name.as_str()).await?;
    if let Some(stored) = stored.filter(|stored| stored.phase == Phase::Completed) {
        let report = serde_json::from_str(&stored.report).unwrap_or_default();
        return Ok(TakenOver::Completed(Box::new(report)));
    }
    let ours = |engine: &state::Engine| {
        engine.host == host() && u32::try_from(engine.process) == Ok(std::process::id())
    };
    Ok(match engine {
        Some(engine) if engine.connected && !ours(&engine) => TakenOver::AtWork,
        Some(_) | None => TakenOver::Left,
    })
}

/// One engine, from the durable state to its end; `None` if another shall go on at once. A swap that was asked of it and
/// not achieved is asked of the next one, and what it counted is `kept` for it: there may be no connection to store it.
async fn run_engine(
    config: &ConnectConfig,
    name: &MigrationName,
    options: &mut RunOptions,
    kept: &mut Option<Report>,
    reached: &mut Option<Reached>,
    stop: watch::Receiver<bool>,
    status: watch::Sender<Option<Status>>,
) -> Result<Option<Ended>, Failure> {
    let config = config.clone().with_application_name(name.application_name());
    let (answers, receiver) = mpsc::unbounded_channel();
    let (session, mut context, stored) = begin(&config, name, answers).await?;
    let report = kept.take().unwrap_or(stored);
    context.timeline = identify(&context).await?;
    let durable = load(&session, &mut context).await?;
    let context = Arc::new(context);

    let (note, note_seen) = watch::channel(None);
    let (published, published_seen) = watch::channel(None);
    let (measured, measured_seen) = watch::channel(Measured::default());
    let machine_options = Options {
        copiers: options.copiers,
        cutover_when_ready: options.cutover_when_ready,
        roll_back: options.roll_back,
        old_snapshots: options.old_snapshots,
        verify: options.verify,
        repair: options.repair,
        feed: FeedLimits::default(),
    };
    let mut engine = Engine {
        machine: Migration::new(Instant::now(), context.plan.clone(), durable, machine_options),
        hands: Hands::new(Arc::clone(&context), receiver, report, note),
        stop,
        status,
        published,
        measured: measured_seen,
        note: note_seen,
    };
    let before = mark(&engine.machine);
    let mut operator = JoinSet::new();
    operator.spawn(watch_operator(
        Arc::clone(&context),
        session,
        published_seen.clone(),
        measured,
    ));
    operator.spawn(pace::watch(Arc::clone(&context), published_seen));
    let stopped = engine.run().await;
    *reached = Some(Reached {
        before,
        now: mark(&engine.machine),
    });
    match engine.machine.wants_swap() {
        Some(Direction::Forward) => options.cutover_when_ready = true,
        Some(Direction::Back) => options.roll_back = true,
        None => {}
    }
    let report = engine.report();
    *kept = Some(report.clone());
    // Ends every session of this engine.
    drop((engine, operator));
    conclude(&context, stopped, report).await
}

fn mark(machine: &Migration) -> Mark {
    let progress = machine.progress();
    // Ranges of a copy under one snapshot are worth nothing to the next engine.
    let chunks = if progress.applied == Lsn(0) {
        0
    } else {
        progress.ranges.1
    };
    (machine.phase(), progress.applied, chunks.into())
}

/// Takes the migration over: from here on nothing that an earlier engine sent can commit (R24).
async fn begin(
    config: &ConnectConfig,
    name: &MigrationName,
    answers: mpsc::UnboundedSender<crate::context::Answer>,
) -> Result<(Session, Context, Report), Failure> {
    let options = SessionOptions {
        synchronous_commit: SynchronousCommit::Local,
        ..SessionOptions::default()
    };
    let session = Session::open(config, &options).await?;
    let application = name.application_name();
    let generation =
        state::raise_generation(&session, name.as_str(), &application, &host(), TakeOver::Refuse).await?;
    let unknown = || state::StateError::Unknown {
        name: name.to_string(),
    };
    let stored = state::load(&session, name.as_str()).await?.ok_or_else(unknown)?;
    let mut report: Report = serde_json::from_str(&stored.report).unwrap_or_default();
    report.timeline.started.get_or_insert_with(now_ms);
    let context = Context::new(config.clone(), stored.plan, generation, answers);
    context
        .audit(
            &session,
            &format!("engine began, generation {}", generation.0),
            None,
        )
        .await?;
    Ok((session, context, report))
}

/// The server's history, through the kind of connection that the stream will need.
async fn identify(context: &Context) -> Result<u32, Failure> {
    let mut connection = Connection::open(&context.config).await?;
    Ok(connection.identify_system().await?.timeline)
}

async fn load(session: &Session, context: &mut Context) -> Result<Durable, Failure> {
    let name = &context.name().to_owned();
    let unknown = || state::StateError::Unknown { name: name.clone() };
    let mut stored = state::load(session, name).await?.ok_or_else(unknown)?;
    if stored.phase == Phase::Aborted {
        return Err(Failure::Refused {
            code: RefusalCode::Aborted,
            object: format!("migration {name}"),
            reason: "It was aborted.".to_owned(),
            remedy: "Start it anew with `crossfade run`.",
        });
    }
    // A swap may have been sent whose engine is gone: only the transaction's own fate decides (R29).
    settle_swap(session, name).await?;
    stored = state::load(session, name).await?.ok_or_else(unknown)?;
    context.turn(session, stored.phase).await?;
    let detected = match (stored.phase, context.direction) {
        (Phase::Swapped, Direction::Back) => find_or_begin_anew(session, context).await?,
        _no_detector => Seen::default(),
    };
    // Our line in the audit trail was written after the generation was raised, so what was applied by then has a
    // lower id than it, and this snapshot sees it or lists it.
    let now = wal::snapshot(session).await?;
    let committing = wal::committing(session, &now).await?;
    let copy = load_copy(session, name).await?;
    let applied = match &copy {
        CopyState::Nothing => None,
        CopyState::Whole { applied, .. } | CopyState::Chunked { applied, .. } => Some(*applied),
    };
    if let Some(applied) = applied
        && stored.phase < Phase::Swapped
    {
        check_slot(session, context, applied).await?;
    }
    if stored.phase < Phase::Swapped {
        // Of a cutover that was not achieved: nobody reads it, and the next cutover makes its own.
        slot::drop(session, &context.plan.name.back_slot(), SLOT_RELEASE_MAX).await?;
    }
    let back = state::position(session, name, Direction::Back).await?;
    if stored.phase == Phase::Swapped && context.direction == Direction::Back {
        // Until the stream has begun nothing was acknowledged.
        check_slot(session, context, back.unwrap_or(Lsn(u64::MAX))).await?;
    }
    let last = state::last_verification(session, name, None).await?;
    Ok(Durable {
        phase: stored.phase,
        paused: stored.paused,
        copy,
        back,
        detected,
        aligned: state::aligned(session, name, context.direction).await?,
        equal: last.map(|verification| verification.found.is_equal()),
        now,
        committing,
        back_closed: state::way_back_closed(session, name).await?.is_some(),
    })
}

/// What is known of the copy: in one piece, or chunk by chunk.
pub(crate) async fn load_copy(session: &Session, name: &str) -> Result<CopyState, Failure> {
    let Some(applied) = state::position(session, name, Direction::Forward).await? else {
        return Ok(CopyState::Nothing);
    };
    let chunks = state::chunks(session, name).await?;
    if let Some(slot) = state::slot_snapshot(session, name).await? {
        return Ok(CopyState::Chunked {
            applied,
            slot,
            rows: chunks.iter().map(|chunk| chunk.rows).sum(),
            chunks: chunks.into_iter().map(copied_chunk).collect(),
            unproven: state::unproven_drops(session, name).await?,
        });
    }
    Ok(match chunks.into_iter().next() {
        Some(chunk) => CopyState::Whole {
            applied,
            snapshot: chunk.snapshot,
        },
        None => CopyState::Nothing,
    })
}

fn copied_chunk(chunk: state::Chunk) -> CopiedChunk {
    CopiedChunk {
        id: ChunkId(chunk.number),
        span: chunk.span,
        snapshot: chunk.snapshot,
    }
}

/// What was acknowledged is never sent again: a slot ahead of the applied LSN has lost changes for us (R22).
pub(crate) async fn check_slot(session: &Session, context: &Context, applied: Lsn) -> Result<(), Failure> {
    let name = context.slot();
    let again = match context.direction {
        Direction::Forward => "The source is untouched. `crossfade abort`, then run the change again.",
        Direction::Back => {
            "There is no way back any more; the new table is in its place and complete. `crossfade complete` ends the \
             migration."
        }
    };
    let Some(slot) = slot::find(session, &name).await? else {
        return Err(Failure::needs_operator(
            FailureCode::SlotMissing,
            format!("the slot {name} is gone, and changes with it"),
            again,
        ));
    };
    if slot.wal_status == Some(slot::WalStatus::Lost) {
        let reason = format!("the slot {name} was invalidated");
        return Err(Failure::needs_operator(
            FailureCode::SlotInvalidated,
            reason,
            again,
        ));
    }
    if slot
        .confirmed_flush_lsn
        .is_some_and(|confirmed| confirmed > applied)
    {
        let reason = format!("the slot {name} is ahead of what the target has");
        return Err(Failure::needs_operator(FailureCode::SlotAhead, reason, again));
    }
    Ok(())
}
