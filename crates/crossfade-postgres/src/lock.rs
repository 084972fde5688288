//! Locks in slices, who stands in our way, and what must have ended before a swap.
//!
//! Everything that looks at others runs in **another** session than the one that holds or waits for a lock, and in
//! autocommit: `pg_stat_activity` is cached per transaction.

mod observe;

use std::time::Duration;

use crossfade_core::position::Xid;
use tokio::time::Instant;

use crate::session::{Session, SqlClass, SqlError};

pub use self::observe::{
    Autovacuum, Blocker, OldSnapshot, SnapshotHolder, autovacuum_on, blockers, old_snapshots, waiting_behind,
};

/// What came of trying to lock.
#[derive(Debug)]
pub enum LockOutcome {
    /// All locks are held; the transaction is open.
    Locked,
    /// Not in time: everything has been given back, the transaction is gone.
    TimedOut,
}

/// Runs these `LOCK TABLE` statements in the order given, in the session's open transaction, each under a timeout of
/// what is left of `slice` at its turn (the server's timeout counts per lock, R27). When one is not granted in
/// time, or a deadlock is found, the transaction is rolled back: nobody queues behind a lock we may not get.
///
/// While we hold the first lock and ask for another, an application's transaction may hold that one and want the
/// first. After `deadlock_timeout` the server would end one of the two, perhaps the application's; so every
/// request but the first gives up in [`Hold::later_lock_max`]. From the first lock on, `hold` bounds the transaction.
///
/// # Errors
/// When a statement fails for another reason; then the transaction is rolled back too.
pub async fn try_lock(
    session: &Session,
    locks: &[String],
    slice: Duration,
    hold: Hold,
) -> Result<LockOutcome, SqlError> {
    match lock_all(session, locks, slice, hold).await {
        Ok(LockOutcome::Locked) => Ok(LockOutcome::Locked),
        Ok(LockOutcome::TimedOut) => {
            session.batch_execute("ROLLBACK").await?;
            Ok(LockOutcome::TimedOut)
        }
        Err(error) => {
            // The first error is the one to tell; a lost connection has rolled back by itself.
            let _ = session.batch_execute("ROLLBACK").await;
            Err(error)
        }
    }
}

/// Runs these `LOCK TABLE` statements on what nobody but the engine uses, before [`try_lock`] in the same transaction. An
/// autovacuum there gives way when the server looks for deadlocks, so the wait for each is longer than that.
///
/// # Errors
/// As [`try_lock`].
pub async fn lock_targets(session: &Session, locks: &[String], hold: Hold) -> Result<LockOutcome, SqlError> {
    let wait = hold.later_lock_max * 2 + YIELD_GRACE;
    let timeout = format!("SET LOCAL lock_timeout = {}", wait.as_millis());
    let statements: Vec<&str> = std::iter::once(timeout.as_str())
        .chain(locks.iter().map(String::as_str))
        .collect();
    match session.batch_execute(&statements.join("; ")).await {
        Ok(()) => Ok(LockOutcome::Locked),
        Err(error) => {
            let _ = session.batch_execute("ROLLBACK").await;
            match error.class() {
                SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock => Ok(LockOutcome::TimedOut),
                SqlClass::Lost
                | SqlClass::UniqueViolation
                | SqlClass::ExclusionViolation
                | SqlClass::NotPermitted
                | SqlClass::Canceled
                | SqlClass::Other => Err(error),
            }
        }
    }
}

/// What an autovacuum needs to end once it was canceled.
const YIELD_GRACE: Duration = Duration::from_secs(1);

async fn lock_all(
    session: &Session,
    locks: &[String],
    slice: Duration,
    hold: Hold,
) -> Result<LockOutcome, SqlError> {
    session.batch_execute(&hold.idle_statement()).await?;
    let deadline = Instant::now() + slice;
    for (number, lock) in locks.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = if number == 0 {
            left
        } else {
            left.min(hold.later_lock_max)
        }
        .as_millis();
        if left == 0 {
            return Ok(LockOutcome::TimedOut);
        }
        match session
            .batch_execute(&format!("SET LOCAL lock_timeout = {left}; {lock}"))
            .await
        {
            Ok(()) => {}
            Err(error) => match error.class() {
                SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock => {
                    return Ok(LockOutcome::TimedOut);
                }
                SqlClass::Lost
                | SqlClass::UniqueViolation
                | SqlClass::ExclusionViolation
                | SqlClass::NotPermitted
                | SqlClass::Canceled
                | SqlClass::Other => return Err(error),
            },
        }
    }
    session.batch_execute(&hold.statement_bounds(hold.budget)).await?;
    Ok(LockOutcome::Locked)
}

/// How long a transaction may hold its locks. The server itself ends it: an engine that was stopped, or cut off from
/// the server, gives nothing back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The longest that the first lock is to be held.
    pub budget: Duration,
    /// The longest wait for any further lock: half of the server's `deadlock_timeout`.
    pub later_lock_max: Duration,
}

/// An engine that lives gives its locks back at the budget's end; the server comes later.
const IDLE_GRACE: Duration = Duration::from_secs(1);

impl Hold {
    /// Ends the session when nothing has been heard of its client for longer than the whole budget. Until the
    /// transaction's end.
    fn idle_statement(self) -> String {
        let idle = (self.budget + IDLE_GRACE).as_millis();
        format!("SET LOCAL idle_in_transaction_session_timeout = {idle}")
    }

    /// Bounds each statement that follows in the transaction: it takes no longer than `left` of the budget, and
    /// waits for no lock longer than [`Hold::later_lock_max`].
    pub fn statement_bounds(self, left: Duration) -> String {
        // Zero would mean that there is no bound.
        let milliseconds = |duration: Duration| duration.as_millis().max(1);
        format!(
            "SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}",
            milliseconds(left),
            milliseconds(left.min(self.later_lock_max))
        )
    }
}

/// The server's `deadlock_timeout`.
///
/// # Errors
/// As the server says.
pub async fn deadlock_timeout(session: &Session) -> Result<Duration, SqlError> {
    let query = "SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'";
    let row = session.query_one(query, &[]).await?;
    Ok(Duration::from_millis(row.get::<_, i64>(0).cast_unsigned()))
}

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XactStatus {
    /// It committed.
    Committed,
    /// It did not, and will not.
    Aborted,
    /// It has not ended.
    InProgress,
    /// Too long ago for the server to say.
    Forgotten,
}

/// `pg_xact_status`: the only judge when the answer to a COMMIT was lost (R29).
///
/// # Errors
/// As the server says; an xid that it never gave out is an error.
pub async fn xact_status(session: &Session, xid: Xid) -> Result<XactStatus, SqlError> {
    let query = "SELECT pg_catalog.pg_xact_status($1::text::xid8)";
    let row = session.query_one(query, &[&xid.to_string()]).await?;
    Ok(match row.get::<_, Option<&str>>(0) {
        Some("committed") => XactStatus::Committed,
        Some("aborted") => XactStatus::Aborted,
        Some(_) => XactStatus::InProgress,
        None => XactStatus::Forgotten,
    })
}

/// The transaction id of the session's open transaction, given to it now if it has none.
///
/// # Errors
/// As the server says.
pub async fn current_xid(session: &Session) -> Result<Xid, SqlError> {
    let query = "SELECT pg_catalog.pg_current_xact_id()::text::int8";
    let row = session.query_one(query, &[]).await?;
    Ok(Xid(row.get::<_, i64>(0).cast_unsigned()))
}
