//! One writer: transaction after transaction, each as fast as the one before it ends, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::operation::Operation;
use super::planner::{Effects, Planner, Shape};
use super::session::{Failure, Session};
use super::statistics::Statistics;
use crate::ledger::Ledger;

const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What all writers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// End after the transaction at hand.
    pub(super) stop: AtomicBool,
    /// Changes acknowledged so far.
    pub(super) changes: AtomicU64,
    /// Transactions failed so far.
    pub(super) failed: AtomicU64,
    /// Transactions so far that the server's crashes took along.
    pub(super) lost: AtomicU64,
    /// Commits so far that were not answered.
    pub(super) in_doubt: AtomicU64,
}

/// How a transaction ended.
enum End {
    Committed { effects: Effects, changes: u32 },
    RolledBack,
    Failed(String),
    Lost,
    InDoubt(Effects),
}

/// What a transaction has done so far.
#[derive(Clone, Default)]
struct Work {
    effects: Effects,
    changes: u32,
}

/// A writer's state.
pub(super) struct Writer {
    pub(super) connection: String,
    pub(super) planner: Planner,
    pub(super) ledger: Ledger,
    pub(super) statistics: Statistics,
    pub(super) shared: Arc<Shared>,
}

impl Writer {
    /// Writes until told to stop, opening another session whenever one ends.
    pub(super) async fn run(mut self, mut session: Session) -> (Ledger, Statistics) {
        let mut intended = Instant::now();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let shape = self.planner.shape();
            let end = self.transaction(&session, shape).await;
            let now = Instant::now();
            let is_open = self.record(end, now);
            if !is_open {
                match self.reconnect().await {
                    Some(next) => session = next,
                    None => break,
                }
            }
            // A writer that had to reconnect has waited for that, too.
            let now = if is_open { now } else { Instant::now() };
            self.statistics.wait(intended, now);
            intended = now;
        }
        (self.ledger, self.statistics)
    }

    /// Takes down how a transaction ended, and says whether the session is still open.
    fn record(&mut self, end: End, now: Instant) -> bool {
        match end {
            End::Committed { effects, changes } => {
                self.statistics.commit(now, changes);
                self.shared
                    .changes
                    .fetch_add(u64::from(changes), Ordering::Relaxed);
                self.planner.remember(&effects, self.ledger.size());
                self.ledger.commit(effects);
                true
            }
            End::RolledBack => {
                self.statistics.rolled_back_transactions += 1;
                true
            }
            End::Failed(failure) => {
                self.shared.failed.fetch_add(1, Ordering::Relaxed);
                self.statistics.fail(failure);
                true
            }
            End::Lost => {
                self.statistics.lost_transactions += 1;
                self.shared.lost.fetch_add(1, Ordering::Relaxed);
                false
            }
            End::InDoubt(effects) => {
                self.statistics.in_doubt_transactions += 1;
                self.shared.in_doubt.fetch_add(1, Ordering::Relaxed);
                self.ledger.doubt(effects);
                false
            }
        }
    }

    /// Another session, or none if told to stop before there is one.
    async fn reconnect(&self) -> Option<Session> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if let Ok(session) = Session::open(&self.connection).await {
                return Some(session);
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
        None
    }

    async fn transaction(&mut self, session: &Session, shape: Shape) -> End {
        if shape == Shape::Single {
            return self.single(session).await;
        }
        match self.block(session, shape).await {
            Ok(work) => commit(session, work).await,
            Err(None) => match session.command("ROLLBACK").await {
                Ok(()) => End::RolledBack,
                Err(Failure::Refused(failure)) => End::Failed(failure),
                Err(Failure::Lost) => End::Lost,
            },
            Err(Some(Failure::Refused(failure))) => match session.command("ROLLBACK").await {
                Ok(()) | Err(Failure::Refused(_)) => End::Failed(failure),
                Err(Failure::Lost) => End::Lost,
            },
            Err(Some(Failure::Lost)) => End::Lost,
        }
    }

    async fn single(&mut self, session: &Session) -> End {
        let operation = self.planner.operation(&self.ledger, &Effects::new(), false);
        let effects = operation.effects(None).into_iter().collect();
        match session.send(&operation).await {
            Ok(done) if done.rows == 1 => End::Committed {
                effects,
                changes: operation.changes(),
            },
            Ok(done) => End::Failed(wrong_rows(&operation, done.rows)),
            Err(Failure::Refused(failure)) => End::Failed(failure),
            Err(Failure::Lost) => End::InDoubt(effects),
        }
    }

    /// Everything from BEGIN to before the end. `Err(None)` is a transaction that is to be rolled back.
    async fn block(&mut self, session: &Session, shape: Shape) -> Result<Work, Option<Failure>> {
        let mut work = Work::default();
        session.command("BEGIN").await?;
        match shape {
            Shape::Single => {}
            Shape::Block(statements) => self.statements(session, statements, &mut work).await?,
            Shape::RolledBack(statements) => {
                self.statements(session, statements, &mut work).await?;
                return Err(None);
            }
            Shape::Savepoint(statements) => {
                self.statements(session, statements, &mut work).await?;
                let saved = work.clone();
                session.command("SAVEPOINT before_second_thoughts").await?;
                self.statements(session, statements, &mut work).await?;
                session
                    .command("ROLLBACK TO SAVEPOINT before_second_thoughts")
                    .await?;
                work = saved;
                self.statements(session, 1, &mut work).await?;
            }
        }
        Ok(work)
    }

    async fn statements(&mut self, session: &Session, count: u32, work: &mut Work) -> Result<(), Failure> {
        for _ in 0..count {
            let operation = self.planner.operation(&self.ledger, &work.effects, true);
            let done = session.send(&operation).await?;
            if done.rows != 1 {
                return Err(Failure::Refused(wrong_rows(&operation, done.rows)));
            }
            work.effects.extend(operation.effects(done.id));
            work.changes += operation.changes();
        }
        Ok(())
    }
}

async fn commit(session: &Session, work: Work) -> End {
    match session.command("COMMIT").await {
        Ok(()) => End::Committed {
            effects: work.effects,
            changes: work.changes,
        },
        Err(Failure::Refused(failure)) => End::Failed(failure),
        Err(Failure::Lost) => End::InDoubt(work.effects),
    }
}

/// The application's own view of a lost row.
fn wrong_rows(operation: &Operation, rows: u64) -> String {
    let what = match operation {
        Operation::Insert { id, .. } => format!("insert of order {id}"),
        Operation::InsertNext { .. } => "insert of an order".to_owned(),
        Operation::Update { id, .. } => format!("update of order {id}"),
        Operation::Move { from, to, .. } => format!("change of order {from}'s key to {to}"),
        Operation::Delete { id } => format!("delete of order {id}"),
        Operation::InsertItem { id } => format!("insert of an item of order {id}"),
    };
    format!("{what} changed {rows} rows")
}
