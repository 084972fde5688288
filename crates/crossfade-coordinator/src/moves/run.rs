//! A move: from a plan, or from where it is, through hand-overs, to its end or its interruption.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::code::FailureCode;
use crossfade_core::migration::Stop;
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::Plan;
use crossfade_core::verify::Verified;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Mark, TakeOver};
use crossfade_postgres::{planner, slot};
use crossfade_replication::transport::Connection;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::begin::{Begun, begin};
use super::end::complete_move;
use super::engine::{Engine, Outcome, Shown, record};
use super::hooks::{self, Hooks};
use super::load;
use super::operator;
use super::shared::{Shared, direction_of, opposite};
use super::{enter, prepare};
use crate::conclude::end;
use crate::context::host;
use crate::ended::Ended;
use crate::failure::{DEFECT, Failure};
use crate::hands::SLOT_RELEASE_MAX;
use crate::losses::{Losses, Reached};
use crate::operator::store_report;
use crate::report::{Report, Status, Verification, now_ms};
use crate::run::{TakenOver, note, superseded, taken_over};

/// How to run a move.
#[derive(Clone, Debug)]
pub struct MoveOptions {
    /// Ranges that are copied at the same time.
    pub copiers: usize,
    /// Hand over to the target without being asked.
    pub cutover_when_ready: bool,
    /// Hand back to the source without being asked.
    pub roll_back: bool,
    /// End with the first hand-over, and leave the rest to another engine.
    pub until_handed_over: bool,
    /// Compare every row before each hand-over.
    pub verify: bool,
    /// Write rows that differ anew from the server that leads, and compare once more.
    pub repair: bool,
    /// Commands around a hand-over.
    pub hooks: Hooks,
    /// The program that dumps the schema.
    pub pg_dump: PathBuf,
    /// How long to try to get back to a server that is away.
    pub reconnect_max: Duration,
}

impl MoveOptions {
    /// Whether a hand-over is wanted from that direction.
    pub(crate) fn wants(&self, direction: Direction) -> bool {
        match direction {
            Direction::Forward => self.cutover_when_ready,
            Direction::Back => self.roll_back,
        }
    }

    /// It was asked for, and the next engine has to know.
    fn wish(&mut self, direction: Direction) {
        match direction {
            Direction::Forward => self.cutover_when_ready = true,
            Direction::Back => self.roll_back = true,
        }
    }

    /// It was done.
    fn handed_over(&mut self, direction: Direction) {
        match direction {
            Direction::Forward => self.cutover_when_ready = false,
            Direction::Back => self.roll_back = false,
        }
    }
}

/// What to run.
#[derive(Clone, Debug)]
pub enum MoveWhat {
    /// This plan: from the start, or from where the move of its name is if it has the same plan.
    Plan(Box<Plan>),
    /// The move of that name, whose plan is on the target.
    Resume(MigrationName),
}

/// Runs a move until it is completed, aborted, interrupted, or fails.
///
/// `stop` becoming true asks it to end cleanly and resumably. `status` is written as things change.
///
/// # Cancel safety
/// Dropping the future closes the sessions; the servers roll open transactions back, and the move can go on from its
/// durable state.
pub async fn run(
    from: &ConnectConfig,
    to: &ConnectConfig,
    what: MoveWhat,
    mut options: MoveOptions,
    stop: watch::Receiver<bool>,
    status: watch::Sender<Option<Status>>,
) -> Ended {
    let (name, to) = match admit(to, what).await {
        Ok(admitted) => admitted,
        Err(failure) => return end(failure),
    };
    let to = &to;
    let ended = legs((from, to), &name, &mut options, stop, &status).await;
    if options.hooks.pause.is_some() && !matches!(ended, Ended::Done(_)) {
        let_go_on((from, to), &name, &options).await;
    }
    ended
}

async fn legs(
    (from, to): (&ConnectConfig, &ConnectConfig),
    name: &MigrationName,
    options: &mut MoveOptions,
    stop: watch::Receiver<bool>,
    status: &watch::Sender<Option<Status>>,
) -> Ended {
    let mut losses = Losses::new();
    let mut run = Run::default();
    loop {
        let began = Instant::now();
        match run_leg((from, to), name, options, &mut run, stop.clone(), status).await {
            Ok(Some(ended)) => return ended,
            Ok(None) => losses = Losses::new(),
            Err(Failure::Lost { what }) => {
                let pause =
                    match losses.lost(&what, began.elapsed(), run.reached.take(), options.reconnect_max) {
                        Ok(pause) => pause,
                        Err(failure) => return end(failure),
                    };
                tracing::warn!(%what, "begins again from the durable state");
                note(status, &format!("beginning again from where it was: {what}"));
                let mut stopped = stop.clone();
                if tokio::time::timeout(pause, stopped.wait_for(|asked| *asked))
                    .await
                    .is_ok()
                {
                    return Ended::Interrupted;
                }
                // It was no accident: whoever has taken the move over ended our sessions.
                if matches!(
                    taken_over(to, name).await,
                    Ok(TakenOver::AtWork | TakenOver::Completed(_))
                ) {
                    return superseded(to, name).await;
                }
            }
            Err(Failure::Superseded) => return superseded(to, name).await,
            Err(failure) => return end(failure),
        }
    }
}

/// What is remembered from one engine to the next.
#[derive(Default)]
struct Run {
    /// The leg of the last one.
    leg: Option<i32>,
    /// Hand-overs that were taken back at the last moment.
    taken_back: u32,
    /// How far the last engine was when it began, and when it ended.
    reached: Option<Reached>,
}

/// No more of them.
const TAKEN_BACK_MAX: u32 = 5;
/// How long the end of a run may take to let applications go on.
const LET_GO_MAX: Duration = Duration::from_secs(30);

/// A pause that was made for a hand-over does not outlive the run that made it.
async fn let_go_on(
    (from, to): (&ConnectConfig, &ConnectConfig),
    name: &MigrationName,
    options: &MoveOptions,
) {
    let letting = async {
        let home = Session::open(to, &SessionOptions::default()).await?;
        if state::marked(&home, name.as_str(), Mark::Paused).await?.is_none() {
            return Ok(());
        }
        let begun = begin(from, to, name, TakeOver::Refuse).await?;
        lead_over(&begun.shared, options).await
    };
    match tokio::time::timeout(LET_GO_MAX, letting).await {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => tracing::error!(%failure, "applications may still be paused"),
        Err(_) => tracing::error!("applications may still be paused"),
    }
}

/// What of a hand-over an engine that was killed has left to do: the second half of the decision, and the hooks.
async fn lead_over(shared: &Shared, options: &MoveOptions) -> Result<(), Failure> {
    if shared.leg > 0 {
        enter::complete_hand_over(shared).await?;
        hooks::switch(&options.hooks, shared, (shared.leg, shared.direction())).await?;
    }
    let home = shared.target.session(shared.name()).await?;
    if state::marked(&home, shared.name().as_str(), Mark::Paused)
        .await?
        .is_some()
    {
        hooks::resume(&options.hooks, shared, shared.direction()).await?;
    }
    Ok(())
}

/// Stores a new plan, or has the move found that is to go on; from then on it is known which cluster the target is of.
async fn admit(to: &ConnectConfig, what: MoveWhat) -> Result<(MigrationName, ConnectConfig), Failure> {
    let planned = match &what {
        MoveWhat::Resume(_) => None,
        MoveWhat::Plan(plan) => plan.destination.as_ref(),
    };
    let to = match planned {
        Some(destination) => to.to_cluster(destination.server.system_identifier),
        None => to.clone(),
    };
    let home = Session::open(&to, &SessionOptions::default()).await?;
    home.refuse_pooler().await?;
    let to = to.to_cluster(home.system_identifier());
    match what {
        MoveWhat::Resume(name) => Ok((name, to)),
        MoveWhat::Plan(plan) => {
            state::ensure(&home).await?;
            let digest = planner::digest(&plan);
            if state::create(&home, &plan, &digest).await? == state::Created::New {
                state::audit(&home, plan.name.as_str(), &host(), "planned", None).await?;
            }
            Ok((plan.name, to))
        }
    }
}

/// One engine, from the durable state to its end; `None` if another shall go on at once.
async fn run_leg(
    (from, to): (&ConnectConfig, &ConnectConfig),
    name: &MigrationName,
    options: &mut MoveOptions,
    run: &mut Run,
    stop: watch::Receiver<bool>,
    status: &watch::Sender<Option<Status>>,
) -> Result<Option<Ended>, Failure> {
    let Begun {
        mut shared,
        stored,
        home,
    } = begin(from, to, name, TakeOver::Refuse).await?;
    let mut report: Report = serde_json::from_str(&stored.report).unwrap_or_default();
    if stored.phase == Phase::Completed {
        return Ok(Some(Ended::Done(Box::new(report))));
    }
    if shared.is_copy_only() && stored.phase == Phase::Swapped {
        return released(&shared, report).await.map(Some);
    }
    report.timeline.started.get_or_insert_with(now_ms);
    // The engine before may have been lost between the decision and its telling.
    let decided = run.leg.replace(shared.leg).filter(|before| *before < shared.leg);
    let settling = settle(&mut shared, stored.phase, options);
    interruptible(settling, stop.clone()).await?;
    if *stop.borrow() {
        return Ok(Some(Ended::Interrupted));
    }
    if let Some(before) = decided {
        options.handed_over(direction_of(before));
        if options.until_handed_over {
            return Ok(Some(Ended::Done(Box::new(report))));
        }
    }
    let timeline = identify(&shared).await?;
    let loaded = load::load(&shared).await?;
    let shared = Arc::new(shared);
    let (tell, heard) = mpsc::unbounded_channel();
    let (shown, shown_seen) = watch::channel(Shown::nothing(stored.phase));
    let mut beside = JoinSet::new();
    beside.spawn(operator::operate(
        Arc::clone(&shared),
        home,
        shown_seen.clone(),
        tell.clone(),
    ));
    beside.spawn(show(shown_seen, status.clone()));
    beside.spawn(settle_beside(Arc::clone(&shared)));
    let mut engine = Engine::new(
        Arc::clone(&shared),
        loaded,
        options.clone(),
        (stop, shown),
        (tell, heard),
        timeline,
        (report, stored.paused),
    );
    let before = engine.mark();
    let outcome = engine.run().await;
    let now = engine.mark();
    run.reached = Some(Reached { before, now });
    if engine.wants_hand_over() {
        options.wish(shared.direction());
    }
    let report = engine.report();
    let compared = Compared {
        sum: engine.sum(),
        since: engine.asked_to_compare().cloned(),
    };
    // Ends every session of this engine.
    drop((engine, beside));
    conclude(&shared, outcome, (report, compared), (options, run)).await
}

/// What the comparisons of an engine came to, and since when somebody waits for them.
struct Compared {
    sum: (Verified, Vec<String>),
    since: Option<String>,
}

/// Ctrl-C ends what has no loop yet; it is repeated by the next engine.
async fn interruptible(
    work: impl Future<Output = Result<(), Failure>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    tokio::select! {
        done = work => done,
        _ = stop.wait_for(|asked| *asked) => Ok(()),
    }
}

/// Brings both servers to where a leg begins.
async fn settle(shared: &mut Shared, phase: Phase, options: &MoveOptions) -> Result<(), Failure> {
    if shared.leg == 0 && phase <= Phase::Prepared {
        prepare::prepare(shared, &options.pg_dump).await?;
    }
    lead_over(shared, options).await?;
    if shared.leg > 0 {
        let phase = match shared.direction() {
            Direction::Forward => Phase::Ready,
            Direction::Back => Phase::Swapped,
        };
        set_phase(shared, phase).await?;
        enter::detach(shared).await?;
    }
    // Of the leg before, or of a hand-over that was not achieved: nobody reads it.
    let follower = shared.follower().session(shared.name()).await?;
    let slot = shared.slot(opposite(shared.direction()));
    Ok(slot::drop(&follower, &slot, SLOT_RELEASE_MAX).await?)
}

async fn set_phase(shared: &Shared, phase: Phase) -> Result<(), Failure> {
    let home = shared.target.session(shared.name()).await?;
    shared.target.begin(&home, shared.name()).await?;
    state::set_phase(&home, shared.name().as_str(), phase).await?;
    Ok(home.batch_execute("COMMIT").await?)
}

/// The leader's history, through the kind of connection that the stream will need.
async fn identify(shared: &Shared) -> Result<u32, Failure> {
    let mut connection = Connection::open(&shared.leader().config).await?;
    Ok(connection.identify_system().await?.timeline)
}

/// Once all tables are there: indexes of partitioned ones, and what of the dump comes behind the rows.
pub(crate) async fn finish_schema(shared: &Shared) -> Result<(), Failure> {
    let (name, side) = (shared.name(), &shared.target);
    let session = side.session(name).await?;
    let done = state::done_statements(&session, name.as_str()).await?;
    if shared.leg > 0 || done.contains(&prepare::AFTER_ROWS) {
        return Ok(());
    }
    side.begin(&session, name).await?;
    for sql in &shared.destination()?.roots {
        session.batch_execute(sql).await?;
    }
    if let Some((after, _)) = state::kept_dump(&session, name.as_str()).await? {
        session.batch_execute(&after).await?;
    }
    state::record_statement(&session, name.as_str(), prepare::AFTER_ROWS).await?;
    shared.audit(&session, "finished the schema", None).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Beside the leg that has begun; what fails is tried again by the next engine, and said.
async fn settle_beside(shared: Arc<Shared>) {
    if shared.leg == 0 {
        return;
    }
    let name = shared.name();
    // Both are local commits, so that a standby that does not answer keeps nobody waiting at the hand-over.
    for side in [shared.leader(), shared.follower()] {
        if let Err(failure) = side.confirm(name).await {
            tracing::warn!(%failure, place = side.place, "the hand-over is not confirmed yet");
        }
    }
    if let Err(failure) = enter::validate(&shared, shared.leader()).await {
        tracing::warn!(%failure, "what was attached is not validated yet");
    }
}

async fn show(mut shown: watch::Receiver<Shown>, status: watch::Sender<Option<Status>>) {
    while shown.changed().await.is_ok() {
        let now = shown.borrow().clone();
        status.send_replace(Some(super::show::status(&now)));
    }
}

/// What the end of a leg means.
async fn conclude(
    shared: &Shared,
    outcome: Result<Outcome, Failure>,
    (mut report, compared): (Report, Compared),
    (options, run): (&mut MoveOptions, &mut Run),
) -> Result<Option<Ended>, Failure> {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => {
            store_quietly(shared, &report).await;
            return Err(failure);
        }
    };
    match outcome {
        Outcome::HandedOver {
            held,
            attempts,
            switch_failed,
        } => {
            let ms = held.as_secs_f64() * 1e3;
            match shared.direction() {
                Direction::Forward => {
                    report.lock_held_ms = ms;
                    report.cutover_attempts += attempts;
                    report.timeline.swapped = Some(now_ms());
                }
                Direction::Back => {
                    report.rollback_lock_held_ms = ms;
                    report.rollback_attempts += attempts;
                    report.timeline.rolled_back = Some(now_ms());
                }
            }
            store_quietly(shared, &report).await;
            options.handed_over(shared.direction());
            *run = Run {
                leg: Some(shared.leg + 1),
                ..Run::default()
            };
            handed_over(shared, report, options, switch_failed)
        }
        Outcome::TakenBack(obstacle) => {
            store_quietly(shared, &report).await;
            tracing::warn!(obstacle, "taken back");
            run.taken_back += 1;
            let attempts = run.taken_back;
            Ok((attempts >= TAKEN_BACK_MAX).then_some(Ended::CutoverNotAchieved { obstacle, attempts }))
        }
        Outcome::Released => {
            report.timeline.swapped = Some(now_ms());
            store_quietly(shared, &report).await;
            released(shared, report).await.map(Some)
        }
        Outcome::NotHandedOver { obstacle, attempts } => {
            store_quietly(shared, &report).await;
            Ok(Some(Ended::CutoverNotAchieved { obstacle, attempts }))
        }
        Outcome::Stopped(stop, table) => {
            store_quietly(shared, &report).await;
            let table = table.map(|number| shared.tables()[number].to_string());
            stopped(shared, stop, table, compared).await.map(Some)
        }
    }
}

/// The copy stands on its own: what is left of the move goes.
async fn released(shared: &Shared, report: Report) -> Result<Ended, Failure> {
    complete_move(shared, false).await?;
    Ok(Ended::Done(Box::new(report)))
}

/// Where applications could not be led over, that is what it ends with: the other server leads all the same.
fn handed_over(
    shared: &Shared,
    report: Report,
    options: &mut MoveOptions,
    switch_failed: Option<Failure>,
) -> Result<Option<Ended>, Failure> {
    if let Some(failure) = switch_failed {
        return Err(failure.about(&format!(
            "the tables lead at {} now, and ",
            match direction_of(shared.leg + 1) {
                Direction::Forward => &shared.source.place,
                Direction::Back => &shared.target.place,
            }
        )));
    }
    Ok(options.until_handed_over.then(|| Ended::Done(Box::new(report))))
}

async fn stopped(
    shared: &Shared,
    stop: Stop,
    table: Option<String>,
    compared: Compared,
) -> Result<Ended, Failure> {
    let table = table.unwrap_or_else(|| "a table".to_owned());
    Ok(match stop {
        Stop::Interrupted => Ended::Interrupted,
        Stop::NotEqual(_) => {
            let (sum, unverified) = compared.sum;
            if let Some(since) = &compared.since {
                record(shared, since, &sum, &unverified).await?;
            }
            Ended::NotEqual {
                verification: Box::new(Verification::new(shared.direction(), &sum, unverified)),
            }
        }
        Stop::OutOfTime => end(Failure::stopped(
            FailureCode::ExecutionMax,
            "execution_max has passed",
            "Give the same command again.",
        )),
        Stop::WalBudget { retained } => {
            let leader = shared.leader().session(shared.name()).await?;
            slot::drop(&leader, &shared.slot(shared.direction()), SLOT_RELEASE_MAX).await?;
            end(Failure::needs_operator(
                FailureCode::RetainedWalMax,
                format!(
                    "our slot retained {retained} bytes of WAL, more than retained_wal_max; it was dropped"
                ),
                "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` \
                 ends the move.",
            ))
        }
        Stop::SourceRewritten => end(Failure::needs_operator(
            FailureCode::SourceRewritten,
            format!("{table} was rewritten while it was copied, and a rewrite is not in the stream"),
            "The source is untouched. `crossfade abort`, then move again.",
        )),
        Stop::CannotFollow(error) => end(Failure::needs_operator(
            FailureCode::NotAppendOnly,
            format!("{table}: {error}"),
            "The server that leads is complete. Give the table a primary key, `crossfade abort`, then move again.",
        )),
        Stop::Done | Stop::Again | Stop::Aborted | Stop::CutoverNotAchieved { .. } => end(Failure::stopped(
            FailureCode::Defect,
            format!("{table} ended with {stop:?}"),
            DEFECT,
        )),
    })
}

async fn store_quietly(shared: &Shared, report: &Report) {
    let storing = async {
        let home = shared.target.session(shared.name()).await?;
        store_report(&home, shared.name().as_str(), report).await
    };
    match tokio::time::timeout(Duration::from_secs(2), storing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the report was not stored"),
        Err(_) => tracing::warn!("the report was not stored in time"),
    }
}
