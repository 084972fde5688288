//! Locks in slices, who stands in the way, and old snapshots (R27, R28).
//!
//! Nobody queues behind a request of ours for longer than its slice. While we hold a first lock and ask for a
//! second, an application's transaction may hold the second and want the first: the server would end one of the
//! two after `deadlock_timeout`, and it might be the application's. So every request but the first gives up
//! before that.

use std::time::Duration;

use crossfade_core::cutover::Holder;
use tokio::time::Instant;

use crate::session::{Session, SqlError};

/// Begins a transaction and runs the `LOCK` statements in order, together within `slice`; on any failure the
/// transaction is rolled back.
///
/// # Errors
/// As the server says; of class `LockTimeout` when the slice has passed.
pub async fn take(session: &Session, statements: &[&str], slice: Duration) -> Result<(), SqlError> {
    let deadline = Instant::now() + slice;
    let later_max = deadlock_timeout(session).await? / 2;
    session
        .batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        .await?;
    for (number, statement) in statements.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let bound = if number == 0 { left } else { left.min(later_max) };
        let timeout = bound.as_millis().max(1); // 0 would mean: for ever
        let locked = session
            .batch_execute(&format!("SET LOCAL lock_timeout = {timeout}; {statement}"))
            .await;
        if let Err(error) = locked {
            // If the connection is gone the transaction is, too.
            let _ = session.batch_execute("ROLLBACK").await;
            return Err(error);
        }
    }
    session.batch_execute("SET LOCAL lock_timeout = 0").await
}

/// The server's `deadlock_timeout`.
///
/// # Errors
/// As the server says.
pub async fn deadlock_timeout(session: &Session) -> Result<Duration, SqlError> {
    let select = "SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'";
    let row = session.query_one(select, &[]).await?;
    Ok(Duration::from_millis(
        row.get::<_, i64>(0).try_into().unwrap_or(1_000),
    ))
}

/// What is shown of a session `a`; columns that our role may not see are left out.
const DESCRIPTION: &str = "\
pg_catalog.concat_ws(' ', 'pid', a.pid, 'user', pg_catalog.pg_get_userbyid(a.usesysid),
    nullif(a.application_name, ''), a.state,
    'for ' || extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::int8 || ' s')";

/// Who holds what the backend `pid` waits for. From another session than that one.
///
/// # Errors
/// As the server says.
pub async fn blockers(session: &Session, pid: i32) -> Result<Vec<Holder>, SqlError> {
    let select = format!(
        "SELECT a.pid, '', {DESCRIPTION}
           FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid)
           JOIN pg_catalog.pg_stat_get_activity(NULL) AS a ON a.pid = b.pid"
    );
    Ok(session
        .query(&select, &[&pid])
        .await?
        .iter()
        .map(holder)
        .collect())
}

/// How many sessions wait for what the backend `pid` holds or has asked for.
///
/// # Errors
/// As the server says.
pub async fn waiting_behind(session: &Session, pid: i32) -> Result<u32, SqlError> {
    let select = "\
SELECT count(DISTINCT w.pid)::int8 FROM pg_catalog.pg_locks AS w
 WHERE NOT w.granted AND w.locktype = 'relation' AND w.pid <> $1
   AND $1 = ANY (pg_catalog.pg_blocking_pids(w.pid))";
    Ok(session
        .query_one(select, &[&pid])
        .await?
        .get::<_, i64>(0)
        .try_into()
        .unwrap_or(0))
}

/// The autovacuum worker on the table, if there is one: a request shorter than `deadlock_timeout` never gets
/// past it.
///
/// # Errors
/// As the server says.
pub async fn autovacuum(session: &Session, table: u32) -> Result<Option<Holder>, SqlError> {
    let select = "\
SELECT l.pid, '', pg_catalog.concat_ws(' ', 'pid', l.pid, 'autovacuum')
  FROM pg_catalog.pg_locks AS l
  LEFT JOIN pg_catalog.pg_stat_get_activity(NULL) AS a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.relation = $1 AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
   AND a.usesysid IS NULL
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())";
    Ok(session.query_opt(select, &[&table]).await?.as_ref().map(holder))
}

/// This database's transactions that hold a snapshot, without those of sessions named `application_name` (ours),
/// without autovacuum, and without those that wait for `lock_holder`: these take a new snapshot afterwards.
/// From a session in autocommit: activity is cached for a transaction.
///
/// Every role may see `backend_xmin`; state and age only of sessions of roles that it is a member of, or with
/// `pg_read_all_stats`.
///
/// # Errors
/// As the server says.
pub async fn old_snapshots(
    session: &Session,
    application_name: &str,
    lock_holder: Option<i32>,
) -> Result<Vec<Holder>, SqlError> {
    let select = format!(
        "SELECT a.pid, l.virtualtransaction, {DESCRIPTION}
           FROM pg_catalog.pg_stat_get_activity(NULL) AS a
           JOIN pg_catalog.pg_locks AS l
             ON l.pid = a.pid AND l.locktype = 'virtualxid' AND l.virtualxid = l.virtualtransaction
          WHERE a.backend_xmin IS NOT NULL AND a.usesysid IS NOT NULL
            AND a.application_name IS DISTINCT FROM $1
            AND a.datid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
            AND NOT coalesce($2 = ANY (pg_catalog.pg_blocking_pids(a.pid)), false)"
    );
    Ok(session
        .query(&select, &[&application_name, &lock_holder])
        .await?
        .iter()
        .map(holder)
        .collect())
}

fn holder(row: &tokio_postgres::Row) -> Holder {
    Holder {
        id: (row.get(0), row.get(1)),
        description: row.get(2),
    }
}
