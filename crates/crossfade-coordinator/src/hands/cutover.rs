//! The worker of the cutover: two sessions, the holder of the locks and a witness that looks and writes beside it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::code::FailureCode;
use crossfade_core::cutover::{CutoverCommand, CutoverEvent, Holder, LockOrder};
use crossfade_core::migration::{Event, copy_step};
use crossfade_core::phase::Phase;
use crossfade_core::piece::{FetchKey, KeyCells, marker};
use crossfade_core::plan::Stage;
use crossfade_core::position::Xid;
use crossfade_core::way_back::{Direction, swap_message};
use crossfade_postgres::apply::fetch::{FetchError, Fetcher};
use crossfade_postgres::catalog::CatalogError;
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::lock::{self, Hold, LockOutcome, SnapshotHolder, XactStatus};
use crossfade_postgres::planner::{CheckError, CutoverChecks, in_words};
use crossfade_postgres::session::{Session, SqlClass, SqlError};
use crossfade_postgres::state::StateError;
use crossfade_postgres::{copy, state, wal};
use tokio::sync::mpsc;

use super::fetch::not_fetched;
use super::{Hands, send};
use crate::context::{Context, Message, Note};
use crate::failure::Failure;

/// What the worker can be asked for.
pub(super) enum CutoverOrder {
    /// A step of the cutover.
    Command(CutoverCommand),
    /// Rows of the source, in the holder's session: its lock stands in everyone else's way.
    Fetch(Vec<FetchKey>),
}

impl Hands {
    pub(super) fn order_cutover(&mut self, order: CutoverOrder) {
        if self.cutovers.is_none() {
            let (orders, receiver) = mpsc::channel(2);
            self.tasks.spawn(work(Arc::clone(&self.context), receiver));
            self.cutovers = Some(orders);
        }
        send(self.cutovers.as_ref(), order);
    }
}

async fn work(context: Arc<Context>, mut orders: mpsc::Receiver<CutoverOrder>) {
    let mut worker = match Worker::open(Arc::clone(&context)).await {
        Ok(worker) => worker,
        Err(failure) => {
            let _ = context.answers.send(Err(failure));
            return;
        }
    };
    while let Some(order) = orders.recv().await {
        let event = match order {
            CutoverOrder::Command(command) => worker.perform(command).await.map(Event::Cutover),
            CutoverOrder::Fetch(keys) => worker.fetch(keys).await,
        };
        let failed = event.is_err();
        let _ = context.answers.send(event.map(Message::Event));
        if failed {
            return;
        }
    }
}

struct Worker {
    context: Arc<Context>,
    /// Holds the locks; its transaction is the swap's.
    holder: Session,
    /// Never in a transaction.
    witness: Session,
    locked_at: Option<Instant>,
    /// What the server holds the holder to.
    hold: Hold,
    /// Prepared on the holder.
    checks: CutoverChecks,
    /// Prepared on the holder; none for a table without a key, of which nothing is fetched.
    fetcher: Option<Fetcher>,
    /// The transaction whose COMMIT was sent, and what is to be noted of it once it is known to be committed.
    swap: Option<(Xid, Note)>,
}

impl Worker {
    async fn open(context: Arc<Context>) -> Result<Self, Failure> {
        let holder = context.session().await?;
        let source = &context.step().source;
        // Its staging table cannot be made under the lock without adding to the time that it is held.
        let fetcher = match source.key {
            Some(_) => Some(Fetcher::prepare(&holder, source).await?),
            None => None,
        };
        let checks = CutoverChecks::prepare(&holder, context.step(), &context.plan.name)
            .await
            .map_err(unchecked)?;
        let witness = context.session().await?;
        let hold = Hold {
            budget: context.plan.limits.hold_budget(),
            later_lock_max: lock::deadlock_timeout(&witness).await? / 2,
        };
        Ok(Worker {
            context,
            holder,
            witness,
            locked_at: None,
            hold,
            checks,
            fetcher,
            swap: None,
        })
    }

    async fn perform(&mut self, command: CutoverCommand) -> Result<CutoverEvent, Failure> {
        match command {
            CutoverCommand::ListOldSnapshots { round } => {
                let holders = self.old_snapshots().await?;
                Ok(CutoverEvent::OldSnapshots { round, holders })
            }
            CutoverCommand::Lock { slice, order } => self.lock(slice, order).await,
            CutoverCommand::PlantMarker { attempt } => {
                self.plant_marker(attempt).await?;
                Ok(CutoverEvent::MarkerPlanted)
            }
            CutoverCommand::Close => self.close().await,
            CutoverCommand::Swap { attempt } => self.swap(attempt).await,
            CutoverCommand::Resolve => self.resolve().await,
            CutoverCommand::Unlock => {
                self.holder.batch_execute("ROLLBACK").await?;
                self.locked_at = None;
                Ok(CutoverEvent::Unlocked)
            }
        }
    }

    /// Under our generation: attempts are numbered anew by every engine, and a marker of a dead one that committed
    /// late would end our drain too early (R24). The session's commits wait for the local flush (R28).
    async fn plant_marker(&self, attempt: u32) -> Result<(), Failure> {
        self.context.begin(&self.witness).await?;
        wal::emit_here(&self.witness, &marker(self.context.name(), attempt)).await?;
        Ok(self.witness.batch_execute("COMMIT").await?)
    }

    /// Sessions that wait for our own lock are not waited for: afterwards they take a new snapshot (R28).
    async fn old_snapshots(&self) -> Result<Vec<Holder>, Failure> {
        let name = self.context.plan.name.application_name();
        let seen = lock::old_snapshots(&self.witness, self.holder.pid(), &name).await?;
        let waited_for = seen.into_iter().filter(|snapshot| !snapshot.waits_for_us);
        let holders = waited_for.filter_map(|snapshot| match snapshot.holder {
            SnapshotHolder::Backend { pid } => Some(Holder {
                id: (pid, snapshot.transaction.unwrap_or_default()),
                description: describe(pid, snapshot.user, snapshot.application, None, snapshot.age_s),
            }),
            // A standby's feedback never ends as a transaction does; `plan` tells of its readers.
            SnapshotHolder::Walsender { .. } | SnapshotHolder::Slot { .. } => None,
        });
        Ok(holders.collect())
    }

    async fn lock(&mut self, slice: Duration, order: LockOrder) -> Result<CutoverEvent, Failure> {
        if let Some(blocker) = self.unyielding_autovacuum(slice).await? {
            return Ok(CutoverEvent::LockTimedOut {
                blockers: vec![blocker],
            });
        }
        self.check_sequences().await?;
        self.context.begin(&self.holder).await?;
        let mut blockers = Vec::new();
        let locks = self.locks(&[Stage::LockTarget]);
        let locking = lock::lock_targets(&self.holder, &locks, self.hold);
        if let LockOutcome::TimedOut = self.watching(locking, &mut blockers).await? {
            self.context
                .line(format!("no lock on the new table yet: {}", names(&blockers)));
            return Ok(CutoverEvent::LockTimedOut { blockers });
        }
        let asked_at = Instant::now();
        let stages = match order {
            LockOrder::TablesFirst => [Stage::Lock, Stage::LockSequences],
            LockOrder::SequencesFirst => [Stage::LockSequences, Stage::Lock],
        };
        let locks = self.locks(&stages);
        let locking = lock::try_lock(&self.holder, &locks, slice, self.hold);
        let outcome = self.watching(locking, &mut blockers).await?;
        self.context.note(Note::LockQueue(asked_at.elapsed()));
        match outcome {
            LockOutcome::TimedOut => {
                self.context.line(format!("no lock yet: {}", names(&blockers)));
                Ok(CutoverEvent::LockTimedOut { blockers })
            }
            LockOutcome::Locked => {
                self.locked_at = Some(Instant::now());
                self.check_source().await?;
                if self.has_trusted_file().await? {
                    return Ok(CutoverEvent::Locked);
                }
                self.holder.batch_execute("ROLLBACK").await?;
                self.locked_at = None;
                self.context.line(
                    "the table's file was replaced (VACUUM FULL, TRUNCATE, a rewriting ALTER TABLE): comparing every row before \
                     the swap",
                );
                Ok(CutoverEvent::Rewritten)
            }
        }
    }

    fn locks(&self, stages: &[Stage]) -> Vec<String> {
        let statements = stages.iter().flat_map(|stage| self.context.statements(*stage));
        statements.map(|(_, statement)| statement.sql.clone()).collect()
    }

    /// Waits for locks, and notes who stands in their way.
    async fn watching(
        &self,
        locking: impl Future<Output = Result<LockOutcome, SqlError>>,
        blockers: &mut Vec<Holder>,
    ) -> Result<LockOutcome, Failure> {
        let watching = self.watch_blockers(blockers);
        tokio::select! {
            outcome = locking => Ok(outcome?),
            () = watching => unreachable!("it watches until it is dropped"),
        }
    }

    /// A request that gives up before `deadlock_timeout` never gets past an autovacuum; one against wraparound
    /// yields to nobody.
    async fn unyielding_autovacuum(&self, slice: Duration) -> Result<Option<Holder>, Failure> {
        let source = &self.context.step().source;
        let mut tables: Vec<u32> = source.parts.iter().map(|part| part.oid).collect();
        tables.push(source.oid);
        let mut found = None;
        for table in tables {
            let here = lock::autovacuum_on(&self.witness, table).await?;
            found = found.or(here);
        }
        let Some(autovacuum) = found else {
            return Ok(None);
        };
        let yields = !autovacuum.against_wraparound && slice > self.hold.later_lock_max * 2;
        let kind = if autovacuum.against_wraparound {
            "autovacuum against wraparound"
        } else {
            "autovacuum"
        };
        let holder = Holder {
            id: (autovacuum.pid, String::new()),
            description: format!("{kind} pid {}", autovacuum.pid),
        };
        Ok((!yields).then_some(holder))
    }

    /// Notes who stands in the way, until it is dropped.
    async fn watch_blockers(&self, seen: &mut Vec<Holder>) {
        loop {
            tokio::time::sleep(BLOCKERS_INTERVAL).await;
            // If they cannot be listed, the lock's own session will tell what is wrong.
            let Ok(blockers) = lock::blockers(&self.witness, self.holder.pid()).await else {
                continue;
            };
            if !blockers.is_empty() {
                *seen = blockers.into_iter().map(holder).collect();
            }
        }
    }

    /// A sequence whose value the other table's does not take would be found out in the swap, under the lock.
    async fn check_sequences(&self) -> Result<(), Failure> {
        let misfits = self.checks.sequences_that_do_not_fit(&self.witness).await?;
        if misfits.is_empty() {
            return Ok(());
        }
        let reason = format!("identity values cannot be carried over: {}", misfits.join("; "));
        Err(Failure::needs_operator(
            FailureCode::IdentityDoesNotFit,
            reason,
            begin_again(self.context.direction),
        ))
    }

    async fn check_source(&self) -> Result<(), Failure> {
        if let Some(publication) = self.context.other_publication(&self.holder, true).await? {
            self.holder.batch_execute("ROLLBACK").await?;
            return Err(self.context.changes_missing(&publication));
        }
        let differences = self
            .checks
            .source_differences(&self.holder)
            .await
            .map_err(unchecked)?;
        if differences.is_empty() {
            return Ok(());
        }
        self.holder.batch_execute("ROLLBACK").await?;
        let what = match self.context.direction {
            Direction::Forward => "the table is",
            Direction::Back => "the new tables are",
        };
        let reason = format!("{what} no longer what was planned: {}", in_words(&differences));
        Err(Failure::needs_operator(
            FailureCode::SourceChanged,
            reason,
            begin_again(self.context.direction),
        ))
    }

    /// Whether the source's file is the one that was copied or compared last: a rewrite that leaves the definition as it
    /// was is in no stream (R4).
    async fn has_trusted_file(&self) -> Result<bool, Failure> {
        let context = &self.context;
        let found = copy::file(&self.holder, &context.step().source).await?;
        let trusted = state::trusted_file(&self.witness, context.name(), context.direction).await?;
        Ok(found.is_some() && found == trusted)
    }

    /// The plan's first statements of the swap lock the targets; running them again there changes nothing. A position
    /// read behind that is behind whatever was written to the targets.
    async fn close(&mut self) -> Result<CutoverEvent, Failure> {
        let swap = self.context.statements(Stage::Swap);
        let targets = self.context.step().targets.len();
        let lock: Vec<&str> = swap
            .iter()
            .take(targets)
            .map(|(_, lock)| lock.sql.as_str())
            .collect();
        match self.run_within_budget(&lock).await {
            Ok(()) => Ok(CutoverEvent::Closed {
                position: wal::durable_insert_position(&self.witness).await?,
            }),
            Err(not_closed) => self.not_swapped(not_closed).await,
        }
    }

    async fn swap(&mut self, _attempt: u32) -> Result<CutoverEvent, Failure> {
        match self.swap_uncommitted().await {
            Ok(xid) => self.commit(xid).await,
            Err(not_swapped) => self.not_swapped(not_swapped).await,
        }
    }

    /// Whatever failed, failed before COMMIT: nothing has changed.
    async fn not_swapped(&mut self, why: NotSwapped) -> Result<CutoverEvent, Failure> {
        self.holder.batch_execute("ROLLBACK").await?;
        self.locked_at = None;
        match why {
            NotSwapped::InTheWay { reason } => {
                self.context.line(format!("no swap yet: {reason}"));
                Ok(CutoverEvent::SwapRolledBack { reason })
            }
            NotSwapped::Failed(failure) => Err(failure),
        }
    }

    /// Everything but the COMMIT; returns the transaction, which is written down (R29).
    async fn swap_uncommitted(&self) -> Result<Xid, NotSwapped> {
        self.move_tables().await?;
        let context = &self.context;
        let differences = self.checks.target_differences(&self.holder).await?;
        if !differences.is_empty() {
            let reason = format!(
                "the new table is not what was planned: {}",
                in_words(&differences)
            );
            return Err(NotSwapped::Failed(Failure::needs_operator(
                FailureCode::TargetChanged,
                reason,
                begin_again(context.direction),
            )));
        }
        let (phase, what) = match context.direction {
            Direction::Forward => (Phase::Swapped, "swapped"),
            Direction::Back => (Phase::RolledBack, "rolled back"),
        };
        let (name, holder) = (context.name(), &self.holder);
        // Sent at once: under the lock each answer that is waited for counts.
        let (xid, ..) = tokio::try_join!(
            async { NotSwapped::of(lock::current_xid(holder).await) },
            async { NotSwapped::of(state::set_phase(holder, name, phase).await) },
            async { NotSwapped::of(state::audit(holder, name, &context.host, what, None).await) },
            self.begin_way_back(),
        )?;
        state::record_swap_attempt(&self.witness, name, xid).await?;
        Ok(xid)
    }

    /// The reverse stream begins at this transaction's end (R31), and reads what is the source on the way back.
    async fn begin_way_back(&self) -> Result<(), NotSwapped> {
        let context = &self.context;
        if context.direction == Direction::Back {
            return Ok(());
        }
        wal::emit_here(&self.holder, &swap_message(&context.plan.name)).await?;
        let back = copy_step(&context.plan).towards(Direction::Back);
        let file = copy::file(&self.holder, &back.source).await?;
        state::trust_file(&self.holder, context.name(), Direction::Back, file).await?;
        Ok(())
    }

    /// The plan's statements. They need locks on what belongs to the tables, such as a sequence from which a waiting
    /// transaction has drawn; nobody waits behind us for longer than the hold budget because of that.
    async fn move_tables(&self) -> Result<(), NotSwapped> {
        let swap = self.context.statements(Stage::Swap);
        let statements: Vec<&str> = swap.iter().map(|(_, statement)| statement.sql.as_str()).collect();
        self.run_within_budget(&statements).await
    }

    async fn run_within_budget(&self, statements: &[&str]) -> Result<(), NotSwapped> {
        for statement in statements {
            let held = self.locked_at.map(|at| at.elapsed()).unwrap_or_default();
            let Some(left) = self.hold.budget.checked_sub(held) else {
                let reason = format!("the swap took longer than {:?}", self.hold.budget);
                return Err(NotSwapped::InTheWay { reason });
            };
            let bounds = self.hold.statement_bounds(left);
            let bounded = format!("{bounds}; {statement}");
            self.holder.batch_execute(&bounded).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, xid: Xid) -> Result<CutoverEvent, Failure> {
        let waiting = lock::waiting_behind(&self.witness, self.holder.pid())
            .await
            .unwrap_or(0);
        let committed = self.holder.batch_execute("COMMIT").await;
        let note = Note::Swapped {
            held: self.locked_at.take().map(|at| at.elapsed()).unwrap_or_default(),
            waiting: u32::try_from(waiting).unwrap_or(u32::MAX),
        };
        match committed {
            Ok(()) => {
                self.context.note(note);
                Ok(CutoverEvent::Swapped)
            }
            Err(error) if is_lost(&error) => {
                self.swap = Some((xid, note));
                Ok(CutoverEvent::SwapUnknown)
            }
            Err(error) => Ok(CutoverEvent::SwapRolledBack {
                reason: error.to_string(),
            }),
        }
    }

    /// Only `pg_xact_status` decides, once the transaction is no longer in progress (R29).
    async fn resolve(&mut self) -> Result<CutoverEvent, Failure> {
        let Some((xid, note)) = self.swap.take() else {
            return Ok(CutoverEvent::SwapRolledBack {
                reason: "no swap was sent".to_owned(),
            });
        };
        if resolve(&self.witness, xid).await? {
            // The shadow is where it belongs: there is nothing left to prepare for.
            self.context.note(note);
            return Ok(CutoverEvent::Swapped);
        }
        let fresh = Worker::open(Arc::clone(&self.context)).await?;
        (self.holder, self.checks, self.fetcher) = (fresh.holder, fresh.checks, fresh.fetcher);
        Ok(CutoverEvent::SwapRolledBack {
            reason: "the connection was lost at COMMIT".to_owned(),
        })
    }

    async fn fetch(&mut self, keys: Vec<FetchKey>) -> Result<Event, Failure> {
        let keys: Vec<KeyCells> = keys.into_iter().map(|fetch| fetch.key).collect();
        let Some(fetcher) = &self.fetcher else {
            return Err(FetchError::NoKey.into());
        };
        let fetched = match fetcher.fetch_here(&self.holder, &keys).await {
            Ok(fetched) => fetched,
            Err(error) => return not_fetched(&self.context, (&self.holder, fetcher), &keys, error).await,
        };
        // The batch must reach that position (R17), and the stream passes only what is flushed.
        wal::make_durable(&self.witness).await?;
        Ok(Event::Fetched {
            snapshot: fetched.snapshot,
            rows: fetched.rows,
            reach: fetched.insert_lsn,
        })
    }
}

/// Why a swap did not come as far as its COMMIT.
enum NotSwapped {
    /// Somebody's lock, or the time: to be tried again.
    InTheWay { reason: String },
    /// What trying again does not mend.
    Failed(Failure),
}

impl NotSwapped {
    fn of<T, E: Into<NotSwapped>>(done: Result<T, E>) -> Result<T, NotSwapped> {
        done.map_err(E::into)
    }
}

impl From<SqlError> for NotSwapped {
    fn from(error: SqlError) -> Self {
        match error.class() {
            SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock | SqlClass::Canceled => {
                NotSwapped::InTheWay {
                    reason: error.to_string(),
                }
            }
            SqlClass::Lost
            | SqlClass::UniqueViolation
            | SqlClass::ExclusionViolation
            | SqlClass::NotPermitted
            | SqlClass::Other => NotSwapped::Failed(error.into()),
        }
    }
}

impl From<CheckError> for NotSwapped {
    fn from(error: CheckError) -> Self {
        match error {
            CheckError::Sql(error) | CheckError::Catalog(CatalogError::Sql(error)) => error.into(),
            CheckError::Catalog(_) | CheckError::NoShadow { .. } | CheckError::Document(_) => {
                NotSwapped::Failed(unchecked(error))
            }
        }
    }
}

impl From<StateError> for NotSwapped {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Sql(error) => error.into(),
            StateError::Newer { .. }
            | StateError::Changed { .. }
            | StateError::Unknown { .. }
            | StateError::OtherPlan { .. }
            | StateError::TableTaken { .. }
            | StateError::Busy { .. }
            | StateError::NotEnding { .. }
            | StateError::Superseded { .. }
            | StateError::Unreadable { .. } => NotSwapped::Failed(error.into()),
        }
    }
}

const CANNOT_CHECK: &str = "Find out what became of the tables; before the swap `crossfade abort` gives up.";
/// What to do about a table that is not what was planned.
fn begin_again(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "The source is untouched. `crossfade abort`, then plan the change again.",
        Direction::Back => {
            "What is new is in its place and complete. Make the tables again what the plan says, then `crossfade \
             continue`; or end the migration with `crossfade complete`."
        }
    }
}

/// Between two looks at who blocks us.
const BLOCKERS_INTERVAL: Duration = Duration::from_millis(50);
/// How long a backend whose client is gone may take to notice.
const IN_PROGRESS_MAX: Duration = Duration::from_secs(60);

/// Waits until the swap that an engine sent which is gone has ended, if one is written down. Its phase is then final: it
/// was written in the swap's own transaction.
pub(crate) async fn settle_swap(session: &Session, name: &str) -> Result<(), Failure> {
    if let Some(xid) = state::swap_attempt(session, name).await? {
        // Of one that the server has forgotten no more is needed than that it has ended.
        fate(session, xid).await?;
        state::forget_swap_attempts_to(session, name, xid).await?;
    }
    Ok(())
}

/// Whether the transaction committed, once it is no longer in progress.
async fn resolve(session: &Session, xid: Xid) -> Result<bool, Failure> {
    let reason = || format!("the server no longer knows what became of transaction {xid}, the swap");
    let fate = fate(session, xid).await?;
    fate.ok_or_else(|| Failure::needs_operator(FailureCode::SwapUnresolved, reason(), LOOK_FOR_SWAP))
}

const LOOK_FOR_SWAP: &str =
    "Look at pg_locks for the transaction, and run `crossfade status` when it has ended.";

/// As [`resolve`]; `None`: so long ago that the server does not know.
async fn fate(session: &Session, xid: Xid) -> Result<Option<bool>, Failure> {
    let deadline = Instant::now() + IN_PROGRESS_MAX;
    loop {
        match lock::xact_status(session, xid).await? {
            XactStatus::Committed => return Ok(Some(true)),
            XactStatus::Aborted => return Ok(Some(false)),
            XactStatus::Forgotten => return Ok(None),
            XactStatus::InProgress if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            XactStatus::InProgress => {
                let reason = format!("transaction {xid}, the swap, is neither committed nor rolled back");
                return Err(Failure::needs_operator(
                    FailureCode::SwapUnresolved,
                    reason,
                    LOOK_FOR_SWAP,
                ));
            }
        }
    }
}

fn unchecked(error: CheckError) -> Failure {
    match error {
        CheckError::Sql(error) | CheckError::Catalog(CatalogError::Sql(error)) => error.into(),
        CheckError::Catalog(_) | CheckError::NoShadow { .. } | CheckError::Document(_) => {
            Failure::needs_operator(FailureCode::TablesNotChecked, in_one_line(&error), CANNOT_CHECK)
        }
    }
}

fn is_lost(error: &SqlError) -> bool {
    match error.class() {
        SqlClass::Lost | SqlClass::Canceled => true,
        SqlClass::LockTimeout
        | SqlClass::UniqueViolation
        | SqlClass::ExclusionViolation
        | SqlClass::SerializationOrDeadlock
        | SqlClass::NotPermitted
        | SqlClass::Other => false,
    }
}

fn describe(
    pid: i32,
    user: Option<String>,
    application: Option<String>,
    state: Option<String>,
    age: Option<f64>,
) -> String {
    let user = user.map(|user| format!("user {user}"));
    let application = application.filter(|name| !name.is_empty());
    let age = age.map(|age| format!("for {age:.1} s"));
    let known = [Some(format!("pid {pid}")), user, application, state, age];
    known.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn holder(blocker: lock::Blocker) -> Holder {
    let age = blocker.transaction_age_s;
    Holder {
        id: (blocker.pid, String::new()),
        description: describe(blocker.pid, blocker.user, blocker.application, blocker.state, age),
    }
}

fn names(holders: &[Holder]) -> String {
    let all: Vec<&str> = holders.iter().map(|holder| holder.description.as_str()).collect();
    if all.is_empty() {
        "its holder is not known".to_owned()
    } else {
        all.join("; ")
    }
}
