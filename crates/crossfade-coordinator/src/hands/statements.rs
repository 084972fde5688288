//! Runs the plan's statements: each in a transaction of its own that is guarded by our generation and that records
//! the statement as done, so that an engine that starts again goes on behind it.

use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::Event;
use crossfade_core::phase::Phase;
use crossfade_core::plan::{Stage, Statement};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::{state, wal};
use tokio::task::JoinSet;

use crate::context::Context;
use crate::failure::Failure;

/// How often a statement that waits for a lock gives others the chance to go first before we give up.
const LOCK_ATTEMPTS: u32 = 30;

/// Makes the place ready from whatever an earlier engine left: removes it, then prepares.
pub(crate) async fn prepare(context: &Context) -> Result<Event, Failure> {
    let session = context.session().await?;
    state::forget_statements(&session, context.name()).await?;
    for (_, statement) in context.statements(Stage::Abort) {
        run_patiently(context, &session, statement, None).await?;
    }
    run_all(context, &session, Stage::Prepare).await?;
    Ok(Event::Prepared)
}

/// Writes a phase down that is true already.
pub(super) async fn record_phase(context: &Context, phase: Phase) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    state::set_phase(&session, context.name(), phase).await?;
    let what = format!("phase {}", phase.as_str());
    context.audit(&session, &what, None).await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::PhaseRecorded)
}

/// What is built for a table whose rows are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    /// The index by which changes are applied.
    KeyIndex,
    /// All others.
    Indexes,
}

/// Builds it, unless it is there.
pub(crate) async fn build(context: &Context, build: Build) -> Result<Event, Failure> {
    match build {
        Build::KeyIndex => build_key_index(context).await,
        Build::Indexes => build_indexes(context).await,
    }
}

pub(super) async fn build_key_index(context: &Context) -> Result<Event, Failure> {
    run_in_order(context, Stage::KeyIndex).await?;
    Ok(Event::KeyIndexBuilt)
}

pub(super) async fn build_indexes(context: &Context) -> Result<Event, Failure> {
    run_side_by_side(context, Stage::Index).await?;
    Ok(Event::IndexesBuilt)
}

pub(super) async fn analyze(context: &Context) -> Result<Event, Failure> {
    run_in_order(context, Stage::Analyze).await?;
    Ok(Event::Analyzed)
}

pub(super) async fn read_insert_position(context: &Context) -> Result<Event, Failure> {
    let session = context.session().await?;
    Ok(Event::InsertPosition(
        wal::durable_insert_position(&session).await?,
    ))
}

/// Runs a stage, one statement after the other.
pub(crate) async fn run_in_order(context: &Context, stage: Stage) -> Result<(), Failure> {
    let session = context.target_session().await?;
    run_all(context, &session, stage).await
}

async fn run_all(context: &Context, session: &Session, stage: Stage) -> Result<(), Failure> {
    run(context, session, context.statements(stage)).await
}

/// Runs these, one after the other, but for those that are done.
pub(crate) async fn run(
    context: &Context,
    session: &Session,
    statements: Vec<(i32, &Statement)>,
) -> Result<(), Failure> {
    let done = state::done_statements(session, context.name()).await?;
    for (number, statement) in statements {
        if !done.contains(&number) {
            run_patiently(context, session, statement, Some(number)).await?;
        }
    }
    Ok(())
}

/// How many index builds run at once. Each has the server's parallel workers besides.
const SIDE_BY_SIDE: usize = 2;

/// Runs a stage whose statements do not depend on each other.
pub(crate) async fn run_side_by_side(context: &Context, stage: Stage) -> Result<(), Failure> {
    let session = context.target_session().await?;
    let done = state::done_statements(&session, context.name()).await?;
    let mut builds = JoinSet::new();
    for (number, statement) in context.statements(stage) {
        if done.contains(&number) {
            continue;
        }
        if builds.len() >= SIDE_BY_SIDE {
            ended(builds.join_next().await)?;
        }
        let (context, statement) = (context.clone(), statement.clone());
        builds.spawn(async move {
            let session = context.target_session().await?;
            run_patiently(&context, &session, &statement, Some(number)).await
        });
    }
    while let Some(build) = builds.join_next().await {
        ended(Some(build))?;
    }
    Ok(())
}

type Ended = Result<Result<(), Failure>, tokio::task::JoinError>;

fn ended(build: Option<Ended>) -> Result<(), Failure> {
    match build {
        None => Ok(()),
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) => Err(Failure::Lost {
            what: "an index build was abandoned".to_owned(),
        }),
    }
}

/// Runs one statement, each attempt queueing for locks no longer than the limit allows.
pub(crate) async fn run_patiently(
    context: &Context,
    session: &Session,
    statement: &Statement,
    number: Option<i32>,
) -> Result<(), Failure> {
    let slice = context.plan.limits.lock_timeout();
    for attempt in 1.. {
        match run_once(context, session, statement, number, slice).await {
            Err(RunError::LockTimeout(what)) if attempt < LOCK_ATTEMPTS => {
                context.line(format!("waiting for a lock: {what}"));
                tokio::time::sleep(slice / 2 * attempt.min(8)).await;
            }
            Err(RunError::LockTimeout(reason)) => {
                return Err(Failure::stopped(
                    FailureCode::LockNotGranted,
                    reason,
                    "Find who holds the lock, then `crossfade continue`.",
                ));
            }
            Err(RunError::Other(failure)) => return Err(failure),
            Ok(()) => break,
        }
    }
    Ok(())
}

enum RunError {
    LockTimeout(String),
    Other(Failure),
}

impl<E: Into<Failure>> From<E> for RunError {
    fn from(error: E) -> Self {
        RunError::Other(error.into())
    }
}

async fn run_once(
    context: &Context,
    session: &Session,
    statement: &Statement,
    number: Option<i32>,
    slice: Duration,
) -> Result<(), RunError> {
    context.begin(session).await?;
    session
        .batch_execute(&format!("SET LOCAL lock_timeout = {}", slice.as_millis().max(1)))
        .await?;
    if let Err(error) = session.batch_execute(&statement.sql).await {
        session.batch_execute("ROLLBACK").await?;
        return Err(match error.class() {
            SqlClass::LockTimeout => RunError::LockTimeout(error.to_string()),
            _other => RunError::Other(error.into()),
        });
    }
    context.audit(session, "ran", Some(&statement.sql)).await?;
    if let Some(number) = number {
        state::record_statement(session, context.name(), number).await?;
    }
    session.batch_execute("COMMIT").await?;
    Ok(())
}
