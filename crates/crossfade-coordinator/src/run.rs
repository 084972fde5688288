//! A run: from a plan, or from where a migration is, to its end.
//!
//! An engine that loses a connection is thrown away, and another begins from the durable state: there is one way
//! to go on, and a crash takes it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::cutover::OldSnapshots;
use crossfade_core::detector::Seen;
use crossfade_core::feed::FeedLimits;
use crossfade_core::ledger::{ChunkId, CopiedChunk};
use crossfade_core::migration::{CopyState, Durable, Migration, Options, Stop};
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::Plan;
use crossfade_core::position::Lsn;
use crossfade_core::refusal::Refusal;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::state::{self, TakeOver};
use crossfade_postgres::{planner, slot, wal};
use crossfade_replication::transport::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::context::{Context, host};
use crate::ended::Ended;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::hands::{Hands, SLOT_RELEASE_MAX, find_or_begin_anew, settle_swap};
use crate::operate;
use crate::operator::{Measured, operate as watch_operator, store_report};
use crate::pace;
use crate::report::{Report, Status, Verification, now_ms};

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

/// The first pause before an engine begins again; it doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// So often a connection may be lost before anything new is durable. What ends it may be what we do: a server must not be
/// made to recover for ever, nor a table be copied for ever.
const FRUITLESS_MAX: u32 = 5;

/// How far a machine is, durably.
type Mark = (Phase, Lsn, u64);

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
    let name = match admit(config, what).await {
        Ok(name) => name,
        Err(failure) => return end(failure),
    };
    let mut lost_since = None;
    // How far the durable state was when a connection was lost last, and how often that came to nothing.
    let (mut reached, mut fruitless) = (None, 0);
    let mut report = None;
    let mut pause = RETRY_PAUSE;
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
                // An engine that worked for a while was not away.
                let worked = began.elapsed() > RETRY_PAUSE_MAX;
                fruitless = if reached.take().is_some_and(|(before, now)| before == now) {
                    fruitless + 1
                } else {
                    0
                };
                if worked && fruitless >= FRUITLESS_MAX {
                    return end(Failure::stopped(
                        format!("{what}; {fruitless} times in a row without getting further"),
                        "Find out what ends the connection: a limit of a proxy's, or a server process that dies of a \
                         statement (see its log). Then `crossfade continue NAME`.",
                    ));
                }
                let since = *lost_since.insert(lost_since.filter(|_| !worked).unwrap_or_else(Instant::now));
                if worked {
                    pause = RETRY_PAUSE;
                }
                if since.elapsed() > options.reconnect_max {
                    return end(Failure::stopped(
                        what,
                        "When the server is back: `crossfade continue NAME`.",
                    ));
                }
                tracing::warn!(%what, "begins again from the durable state");
                note(
                    &status,
                    &format!("connection lost, beginning again from where it was: {what}"),
                );
                if pause_or_stop(pause, stop.clone()).await {
                    return Ended::Interrupted;
                }
                pause = (pause * 2).min(RETRY_PAUSE_MAX);
                // It was no accident: whoever has taken the migration over ended our sessions.
                if matches!(taken_over(config, &name).await, Ok(TakenOver::AtWork)) {
                    return superseded(config, &name).await;
                }
            }
            Err(failure) => return end(failure),
        }
    }
}

fn note(status: &watch::Sender<Option<Status>>, line: &str) {
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

/// Stores a new plan, or finds the migration that is to go on.
async fn admit(config: &ConnectConfig, what: What) -> Result<MigrationName, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    match what {
        What::Plan(plan) => {
            state::ensure(&session).await?;
            let digest = planner::digest(&plan);
            if state::create(&session, &plan, &digest).await? == state::Created::New {
                state::audit(&session, plan.name.as_str(), &host(), "planned", None).await?;
            }
            Ok(plan.name)
        }
        What::Resume(name) => {
            let unknown = || state::StateError::Unknown {
                name: name.to_string(),
            };
            if !state::exists(&session).await? {
                return Err(unknown().into());
            }
            state::ensure(&session).await?;
            state::load(&session, name.as_str()).await?.ok_or_else(unknown)?;
            Ok(name)
        }
    }
}

/// What has become of a migration that another process has taken over.
enum TakenOver {
    /// By that process.
    Completed(Box<Report>),
    /// Another process is at work on it.
    AtWork,
    /// Nobody is.
    Left,
}

/// Who takes a migration over may be about to bring it to its end.
async fn superseded(config: &ConnectConfig, name: &MigrationName) -> Ended {
    let deadline = Instant::now() + COMPLETING_MAX;
    loop {
        match taken_over(config, name).await {
            Ok(TakenOver::Completed(report)) => return Ended::Done(report),
            Ok(TakenOver::AtWork) if Instant::now() < deadline => tokio::time::sleep(RETRY_PAUSE).await,
            Ok(TakenOver::AtWork | TakenOver::Left) | Err(_) => return end(Failure::Superseded),
        }
    }
}

async fn taken_over(config: &ConnectConfig, name: &MigrationName) -> Result<TakenOver, Failure> {
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
    reached: &mut Option<(Mark, Mark)>,
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
    *reached = Some((before, mark(&engine.machine)));
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
    let system = connection.identify_system().await?;
    let planned = context.plan.server.system_identifier;
    if system.system_identifier != planned {
        let reason = format!(
            "the server's system identifier is {} and not {planned}",
            system.system_identifier
        );
        return Err(Failure::needs_operator(
            reason,
            "Point the connection at the server the plan was made for.",
        ));
    }
    Ok(system.timeline)
}

async fn load(session: &Session, context: &mut Context) -> Result<Durable, Failure> {
    let name = &context.name().to_owned();
    let unknown = || state::StateError::Unknown { name: name.clone() };
    let mut stored = state::load(session, name).await?.ok_or_else(unknown)?;
    if stored.phase == Phase::Aborted {
        return Err(Failure::Refused {
            code: "aborted",
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
    let copy = load_copy(session, context).await?;
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
async fn load_copy(session: &Session, context: &Context) -> Result<CopyState, Failure> {
    let name = context.name();
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
async fn check_slot(session: &Session, context: &Context, applied: Lsn) -> Result<(), Failure> {
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
            format!("the slot {name} is gone, and changes with it"),
            again,
        ));
    };
    let lost = slot.wal_status == Some(slot::WalStatus::Lost);
    let ahead = slot
        .confirmed_flush_lsn
        .is_some_and(|confirmed| confirmed > applied);
    if lost || ahead {
        let what = if lost {
            "was invalidated"
        } else {
            "is ahead of what the target has"
        };
        return Err(Failure::needs_operator(format!("the slot {name} {what}"), again));
    }
    Ok(())
}

/// What a stop means, and what is left to do for it.
async fn conclude(
    context: &Context,
    stopped: Result<Stop, Failure>,
    mut report: Report,
) -> Result<Option<Ended>, Failure> {
    let stop = match stopped {
        Ok(stop) => stop,
        Err(failure) => {
            store_quietly(context, &report).await;
            return Err(match was_superseded(context).await {
                true => Failure::Superseded,
                false => failure,
            });
        }
    };
    if stop != Stop::Again {
        report.timeline.ended.get_or_insert_with(now_ms);
    }
    store_quietly(context, &report).await;
    if let Stop::WalBudget { .. } = stop {
        // Before anything that may have to wait: the server's disk does not.
        drop_budgeted(context).await?;
    }
    if context.direction == Direction::Forward && stop != Stop::Again {
        // Nothing was swapped that it could lead back from, and nobody is left to read it.
        drop_slot(context, &context.plan.name.back_slot()).await?;
    }
    Ok(Some(match stop {
        Stop::Again => return Ok(None),
        Stop::Done => Ended::Done(Box::new(report)),
        Stop::Interrupted => Ended::Interrupted,
        Stop::Aborted => {
            operate::abort(&context.config, &context.plan.name).await.unwrap_or_else(|ended| ended)
        }
        Stop::NotEqual(found) => {
            let verification = report.verification.unwrap_or_else(|| Verification::new(context.direction, &found, Vec::new()));
            Ended::NotEqual {
                verification: Box::new(verification),
            }
        }
        Stop::CutoverNotAchieved { obstacle, attempts } => Ended::CutoverNotAchieved { obstacle, attempts },
        Stop::OutOfTime => Ended::Stopped {
            reason: "execution_max has passed".to_owned(),
            remedy: "Go on with `crossfade continue`.".to_owned(),
        },
        Stop::WalBudget { retained } if context.direction == Direction::Back => Ended::NeedsOperator {
            reason: format!(
                "the slots of the way back retained {retained} bytes of WAL, more than retained_wal_max; they were dropped"
            ),
            remedy: "There is no way back any more; the new table is in its place and complete. `crossfade complete` \
                     ends the migration."
                .to_owned(),
        },
        Stop::WalBudget { retained } => Ended::NeedsOperator {
            reason: format!("our slot retained {retained} bytes of WAL, more than retained_wal_max; it was dropped"),
            remedy: "The source is untouched. `crossfade abort`, raise the limit or choose a quieter hour, then run the \
                     change again."
                .to_owned(),
        },
        Stop::SourceRewritten => Ended::NeedsOperator {
            reason: "the table was rewritten while it was copied (VACUUM FULL, CLUSTER, or ALTER TABLE), and a rewrite \
                     is not in the stream"
                .to_owned(),
            remedy: "The source is untouched. `crossfade abort`, then plan the change again.".to_owned(),
        },
        Stop::CannotFollow(error) => Ended::NeedsOperator {
            reason: error.to_string(),
            remedy: "The source is untouched. `crossfade abort`; give the table a primary key, then run the change \
                     again."
                .to_owned(),
        },
    }))
}

/// Whoever takes a migration over ends our sessions and may take our slots: what we have met then is not what ails it.
async fn was_superseded(context: &Context) -> bool {
    let asking = async {
        let session = context.session().await?;
        context.begin(&session).await
    };
    matches!(
        tokio::time::timeout(STORE_MAX, asking).await,
        Ok(Err(Failure::Superseded))
    )
}

/// How long the end of an engine may wait for its report: a session that it has just let go of may still hold the
/// row, until its server process notices.
const STORE_MAX: Duration = Duration::from_secs(2);

/// The report is for people; that it cannot be written must not hide why the engine ended, nor keep it from ending.
async fn store_quietly(context: &Context, report: &Report) {
    let storing = async {
        let session = context.session().await?;
        store_report(&session, context.name(), report).await
    };
    match tokio::time::timeout(STORE_MAX, storing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the report was not stored"),
        Err(_) => tracing::warn!("the report was not stored in time"),
    }
}

/// The slots that retain more than they may.
async fn drop_budgeted(context: &Context) -> Result<(), Failure> {
    let name = &context.plan.name;
    let slots = match context.direction {
        Direction::Forward => vec![name.slot()],
        Direction::Back => vec![name.back_slot(), name.slot()],
    };
    for slot in slots {
        drop_slot(context, &slot).await?;
    }
    Ok(())
}

/// Unless another engine has taken over: it has the slots now.
async fn drop_slot(context: &Context, name: &str) -> Result<(), Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    session.batch_execute("COMMIT").await?;
    slot::drop(&session, name, SLOT_RELEASE_MAX).await?;
    context
        .audit(&session, &format!("dropped the slot {name}"), None)
        .await
}

/// What a failure means for whoever started the run.
pub(crate) fn end(failure: Failure) -> Ended {
    match failure {
        Failure::Lost { what } => Ended::NoAccess { reason: what },
        Failure::NoAccess { reason } => Ended::NoAccess { reason },
        Failure::Superseded => Ended::Stopped {
            reason: "another engine has taken this migration over, or it was aborted".to_owned(),
            remedy: "`crossfade status` says which.".to_owned(),
        },
        Failure::Refused {
            code,
            object,
            reason,
            remedy,
        } => Ended::Refused(vec![Refusal {
            code: code.to_owned(),
            object,
            message: reason,
            remedy: remedy.to_owned(),
        }]),
        Failure::Stopped { reason, remedy } => Ended::Stopped { reason, remedy },
        Failure::NeedsOperator { reason, remedy } => Ended::NeedsOperator { reason, remedy },
    }
}
