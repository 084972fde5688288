//! What an operator does to a migration from anywhere, through the state schema only.

use crossfade_core::code::{FailureCode, RefusalCode};
use crossfade_core::migration::copy_step;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::phase::Phase;
use crossfade_core::plan::Stage;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner::table_oid;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Stored, TakeOver, Verb};
use crossfade_postgres::{slot, wal};
use tokio::sync::mpsc;

use crate::conclude::end;
use crate::context::{Context, host};
use crate::ended::Ended;
use crate::failure::Failure;
use crate::hands::{SLOT_RELEASE_MAX, in_words, run_in_order, run_patiently, settle_swap};
use crate::report::Report;

/// One migration as the state schema shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MigrationStatus {
    /// Its name.
    pub name: MigrationName,
    /// Its source, `schema.table`.
    pub table: String,
    /// How far it has come.
    pub phase: Phase,
    /// Held back.
    pub paused: bool,
    /// Where its engine runs and since when it was last heard of; `None` if no engine is connected.
    pub engine: Option<EngineStatus>,
    /// Of a move: from where to where.
    #[serde(rename = "move", skip_serializing_if = "Option::is_none")]
    pub moved: Option<MoveStatus>,
    /// The way back, after the swap.
    pub way_back: Option<WayBackStatus>,
    /// What the engine last wrote about its progress.
    pub progress: serde_json::Value,
    /// Numbers so far.
    pub report: Report,
}

/// Where a move goes.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MoveStatus {
    /// The server that the tables come from: `host:port/database`.
    pub from: String,
    /// The server that they move to.
    pub to: String,
    /// How many.
    pub tables: usize,
}

/// How the retired table follows.
#[derive(Clone, Debug, serde::Serialize)]
pub struct WayBackStatus {
    /// It follows, nobody else has written to it, and a rollback can be asked for.
    pub ready: bool,
    /// WAL between the insert position and what it has, in bytes; `None` before it has begun.
    pub lag_bytes: Option<u64>,
    /// It does not follow any more, since this position.
    pub closed_since: Option<String>,
    /// Which row it refused, and why.
    pub reason: Option<String>,
    /// It cannot follow any more, whatever is mended: why.
    pub lost: Option<String>,
    /// Transactions of others than the engine that wrote to it (R31).
    pub strays: u64,
    /// Where a rollback first compares every row, and is refused if one differs: why.
    pub doubt: Option<String>,
}

/// An engine at work.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EngineStatus {
    /// The machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Seconds since its last heartbeat.
    pub heard_seconds_ago: f64,
}

/// What can be asked of a running engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start no more ranges, index builds or cutover.
    Pause,
    /// Go on.
    Continue,
    /// Cut over when ready.
    Cutover,
    /// Go back, after the swap.
    Rollback,
    /// Compare every row when ready.
    Verify,
    /// The same, and repair rows that differ.
    Repair,
}

/// All migrations, or the one of that name.
///
/// # Errors
/// [`Ended::NoAccess`] and friends: what the command ends with instead.
pub async fn status(
    config: &ConnectConfig,
    name: Option<&MigrationName>,
) -> Result<Vec<MigrationStatus>, Ended> {
    read_status(config, name).await.map_err(end)
}

async fn read_status(
    config: &ConnectConfig,
    name: Option<&MigrationName>,
) -> Result<Vec<MigrationStatus>, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    let all = if state::exists(&session).await? {
        state::list(&session).await?
    } else {
        Vec::new()
    };
    let mut found = Vec::new();
    for stored in all
        .into_iter()
        .filter(|stored| name.is_none_or(|name| stored.plan.name == *name))
    {
        found.push(describe(&session, stored).await?);
    }
    match name {
        Some(name) if found.is_empty() => Err(state::StateError::Unknown {
            name: name.to_string(),
        }
        .into()),
        Some(_) | None => Ok(found),
    }
}

async fn describe(session: &Session, stored: Stored) -> Result<MigrationStatus, Failure> {
    let engine = state::engine(session, stored.plan.name.as_str()).await?;
    let progress = engine
        .as_ref()
        .and_then(|engine| serde_json::from_str(&engine.progress).ok());
    let connected = engine.filter(|engine| engine.connected);
    let way_back = way_back(session, &stored).await?;
    let destination = stored.plan.destination;
    Ok(MigrationStatus {
        moved: destination.map(|destination| MoveStatus {
            from: destination.from_place,
            to: destination.to_place,
            tables: stored.plan.steps.len(),
        }),
        way_back,
        name: stored.plan.name,
        table: stored.table,
        phase: stored.phase,
        paused: stored.paused,
        engine: connected.map(|engine| EngineStatus {
            host: engine.host,
            pid: u32::try_from(engine.process).unwrap_or(0),
            heard_seconds_ago: engine.heard_seconds_ago,
        }),
        progress: progress.unwrap_or(serde_json::Value::Null),
        report: serde_json::from_str(&stored.report).unwrap_or_default(),
    })
}

async fn way_back(session: &Session, stored: &Stored) -> Result<Option<WayBackStatus>, Failure> {
    if stored.phase != Phase::Swapped || copy_step(&stored.plan).back.is_none() {
        return Ok(None);
    }
    let name = stored.plan.name.as_str();
    let applied = state::position(session, name, Direction::Back).await?;
    let closed = state::way_back_closed(session, name).await?;
    let strays = state::seen(session, name).await?.strays;
    let last = state::last_verification(session, name, None).await?;
    let differed = last.is_some_and(|last| !last.found.is_equal());
    let doubt = match (strays.in_doubt(), differed) {
        (true, _) => Some(in_words(&strays)),
        (false, true) => Some("the last verification found rows that differ".to_owned()),
        (false, false) => None,
    };
    let lag_bytes = match applied {
        Some(applied) => Some(wal::insert_position(session).await?.0.saturating_sub(applied.0)),
        None => None,
    };
    let lost = match applied {
        Some(applied) => lost(session, stored, applied).await?,
        None => None,
    };
    Ok(Some(WayBackStatus {
        ready: applied.is_some() && closed.is_none() && doubt.is_none() && lost.is_none(),
        lost,
        strays: strays.count,
        doubt,
        lag_bytes,
        closed_since: closed.as_ref().map(|closed| closed.since.to_string()),
        reason: closed.map(|closed| closed.reason),
    }))
}

/// What an engine would find out as soon as it went on.
async fn lost(session: &Session, stored: &Stored, applied: Lsn) -> Result<Option<String>, Failure> {
    let step = copy_step(&stored.plan);
    let back = step.towards(Direction::Back);
    let parts = back.source.parts.iter().map(|part| &part.name);
    let tables: Vec<&TableName> = [&back.targets[0].shadow, &back.source.name]
        .into_iter()
        .chain(parts)
        .collect();
    for table in tables {
        if table_oid(session, table).await?.is_none() {
            return Ok(Some(format!("there is no table {table}")));
        }
    }
    let name = stored.plan.name.back_slot();
    let Some(slot) = slot::find(session, &name).await? else {
        return Ok(Some(format!("the slot {name} is gone, and changes with it")));
    };
    let invalid = slot.wal_status == Some(slot::WalStatus::Lost);
    let ahead = slot
        .confirmed_flush_lsn
        .is_some_and(|confirmed| confirmed > applied);
    Ok(match (invalid, ahead) {
        (true, _) => Some(format!("the WAL that the slot {name} needs has been removed")),
        (false, true) => Some(format!("the slot {name} is ahead of the old table")),
        (false, false) => None,
    })
}

/// Leaves a request in the state schema. Returns whether an engine is there to take it.
///
/// # Errors
/// As [`status`].
pub async fn request(config: &ConnectConfig, name: &MigrationName, request: Request) -> Result<bool, Ended> {
    leave_request(config, name, request).await.map_err(end)
}

async fn leave_request(
    config: &ConnectConfig,
    name: &MigrationName,
    request: Request,
) -> Result<bool, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    let stored = find(&session, name).await?;
    if request == Request::Rollback {
        refuse_rollback(&session, &stored).await?;
    }
    let verb = match request {
        Request::Pause => Verb::Pause,
        Request::Continue => Verb::Continue,
        Request::Cutover => Verb::Cutover,
        Request::Rollback => Verb::Rollback,
        Request::Verify => Verb::Verify,
        Request::Repair => Verb::Repair,
    };
    let connected = state::engine(&session, name.as_str())
        .await?
        .is_some_and(|engine| engine.connected);
    if connected {
        state::ask(&session, name.as_str(), verb).await?;
    } else if matches!(verb, Verb::Pause | Verb::Continue) {
        // Nobody takes a request; the flag is what an engine finds when it starts.
        state::set_paused(&session, name.as_str(), verb == Verb::Pause).await?;
    }
    state::audit(
        &session,
        name.as_str(),
        &host(),
        &format!("requested: {}", verb.as_str()),
        None,
    )
    .await?;
    Ok(connected)
}

/// Where there is nothing to go back to, or no way.
async fn refuse_rollback(session: &Session, stored: &Stored) -> Result<(), Failure> {
    let name = stored.plan.name.as_str();
    if stored.phase != Phase::Swapped {
        let reason = format!(
            "`{name}` is {}: there is no swap to go back from",
            stored.phase.as_str()
        );
        return Err(Failure::stopped(
            FailureCode::NotSwapped,
            reason,
            "`crossfade status` shows where it is.",
        ));
    }
    if stored.plan.destination.is_some() {
        return Ok(());
    }
    if copy_step(&stored.plan).back.is_none() {
        let reason = format!("`{name}` was run without a way back");
        return Err(Failure::needs_operator(
            FailureCode::NoWayBack,
            reason,
            "`crossfade complete` ends it.",
        ));
    }
    match state::way_back_closed(session, name).await? {
        None => Ok(()),
        Some(closed) => Err(Failure::needs_operator(
            FailureCode::WayBackClosed,
            format!("the way back is closed since {}: {}", closed.since, closed.reason),
            "Mend the row and `crossfade continue`, which tries it again; or end the migration with `crossfade complete`.",
        )),
    }
}

async fn find(session: &Session, name: &MigrationName) -> Result<Stored, Failure> {
    let unknown = || state::StateError::Unknown {
        name: name.to_string(),
    };
    if !state::exists(session).await? {
        return Err(unknown().into());
    }
    Ok(state::load(session, name.as_str()).await?.ok_or_else(unknown)?)
}

/// Removes every trace of a migration that has not been swapped, but for the audit trail: takes the migration
/// over from an engine that may be running, drops slot, publication and schemas, restores the replica identity.
///
/// # Errors
/// As [`status`]; [`Ended::NeedsOperator`] if the tables have been swapped.
pub async fn abort(config: &ConnectConfig, name: &MigrationName) -> Result<Ended, Ended> {
    remove(config, name).await.map_err(end)?;
    Ok(Ended::Aborted)
}

async fn remove(config: &ConnectConfig, name: &MigrationName) -> Result<(), Failure> {
    // An engine that carries the way back must not be ended by a question.
    let stored = find(&Session::open(config, &SessionOptions::default()).await?, name).await?;
    refuse_move(&stored)?;
    refuse_abort(&stored)?;
    let (context, _known) = take_over(config, &stored).await?;
    let session = context.session().await?;
    settle_swap(&session, name.as_str()).await?;
    let stored = find(&session, name).await?;
    refuse_abort(&stored)?;
    if stored.phase == Phase::Aborted {
        return Ok(());
    }
    drop_slots(&context, &session).await?;
    for (_, statement) in context.statements(Stage::Abort) {
        run_patiently(&context, &session, statement, None).await?;
    }
    context.begin(&session).await?;
    state::forget_statements(&session, name.as_str()).await?;
    state::set_phase(&session, name.as_str(), Phase::Aborted).await?;
    context.audit(&session, "aborted", None).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Of a move both servers have to be known.
fn refuse_move(stored: &Stored) -> Result<(), Failure> {
    match &stored.plan.destination {
        None => Ok(()),
        Some(destination) => Err(Failure::Refused {
            code: RefusalCode::OfTwoServers,
            object: format!("migration {}", stored.plan.name),
            reason: format!("It is a move from {}.", destination.from_place),
            remedy: "Say where from, too: --from URL.",
        }),
    }
}

fn refuse_abort(stored: &Stored) -> Result<(), Failure> {
    if !matches!(
        stored.phase,
        Phase::Swapped | Phase::RolledBack | Phase::Completed
    ) {
        return Ok(());
    }
    let table = &stored.table;
    Err(Failure::needs_operator(
        FailureCode::AlreadySwapped,
        format!("{table} has been swapped: there is nothing left to abort"),
        "End the migration with `crossfade complete`.",
    ))
}

async fn drop_slots(context: &Context, session: &Session) -> Result<(), Failure> {
    let name = &context.plan.name;
    for slot in [name.slot(), name.back_slot()] {
        slot::drop(session, &slot, SLOT_RELEASE_MAX).await?;
    }
    Ok(())
}

/// Makes this process the migration's engine, whoever was it before. The session is the one that the state schema
/// knows the engine by: while it lives, an engine that has lost its own does not come back.
async fn take_over(config: &ConnectConfig, stored: &Stored) -> Result<(Context, Session), Failure> {
    let name = &stored.plan.name;
    let config = config
        .to_cluster(stored.plan.server.system_identifier)
        .with_application_name(name.application_name());
    let session = Session::open(&config, &SessionOptions::default()).await?;
    let stored = find(&session, name).await?;
    let application = name.application_name();
    let generation =
        state::raise_generation(&session, name.as_str(), &application, &host(), TakeOver::Force).await?;
    // Answers go nowhere: there is no loop.
    let (answers, _) = mpsc::unbounded_channel();
    Ok((Context::new(config, stored.plan, generation, answers), session))
}

/// Ends a migration that has been swapped; `drop` also drops the retired table.
///
/// # Errors
/// As [`status`].
pub async fn complete(config: &ConnectConfig, name: &MigrationName, drop: bool) -> Result<Ended, Ended> {
    let report = finish(config, name, drop).await.map_err(end)?;
    Ok(Ended::Done(Box::new(report)))
}

/// What was completed is a rollback.
async fn completed_back(context: &Context, session: &Session) -> Result<bool, Failure> {
    if copy_step(&context.plan).back.is_none() {
        return Ok(false);
    }
    let done = state::done_statements(session, context.name()).await?;
    let ends = context.statements_back(Stage::Complete);
    Ok(ends.iter().any(|(number, _)| done.contains(number)))
}

async fn finish(config: &ConnectConfig, name: &MigrationName, drop: bool) -> Result<Report, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    let stored = find(&session, name).await?;
    refuse_move(&stored)?;
    if stored.phase < Phase::Swapped || stored.phase == Phase::Aborted {
        let reason = format!(
            "`{name}` is {}: its tables have not been swapped",
            stored.phase.as_str()
        );
        return Err(Failure::stopped(
            FailureCode::NotSwapped,
            reason,
            "`crossfade cutover` swaps them, `crossfade abort` gives up.",
        ));
    }
    let (mut context, _known) = take_over(config, &stored).await?;
    let session = context.session().await?;
    // A rollback may have been on its way: its transaction alone tells which table is in place (R29).
    settle_swap(&session, name.as_str()).await?;
    let phase = find(&session, name).await?.phase;
    // Completed before, it may be asked for once more, to drop the retired table: whichever that is.
    if phase == Phase::RolledBack || phase == Phase::Completed && completed_back(&context, &session).await? {
        context.turn(&session, Phase::RolledBack).await?;
    }
    drop_slots(&context, &session).await?;
    run_in_order(&context, Stage::AfterSwap).await?;
    run_in_order(&context, Stage::Complete).await?;
    if drop {
        run_in_order(&context, Stage::Drop).await?;
    }
    context.begin(&session).await?;
    state::set_phase(&session, name.as_str(), Phase::Completed).await?;
    context.audit(&session, "completed", None).await?;
    session.batch_execute("COMMIT").await?;
    Ok(serde_json::from_str(&stored.report).unwrap_or_default())
}
