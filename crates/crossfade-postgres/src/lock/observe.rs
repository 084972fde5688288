//! Looking at other sessions: blockers, autovacuum, old snapshots. Never a query's text: it may hold values.

use crate::session::{Session, SqlError};

/// A session that a lock of ours waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocker {
    /// Its process; 0 for a prepared transaction.
    pub pid: i32,
    /// Its role; `None` for a background process or when we may not know.
    pub user: Option<String>,
    /// Its `application_name`.
    pub application: Option<String>,
    /// `active`, `idle in transaction`, …; `None` when we may not know.
    pub state: Option<String>,
    /// `client backend`, `autovacuum worker`, …
    pub kind: Option<String>,
    /// Seconds since its current statement began.
    pub query_age_s: Option<f64>,
    /// Seconds since its transaction began.
    pub transaction_age_s: Option<f64>,
}

const BLOCKERS: &str = "\
SELECT b.pid, a.usename::text, a.application_name, a.state, a.backend_type,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.query_start),
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start)
  FROM (SELECT DISTINCT pid FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS pid) b
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
 ORDER BY b.pid";

/// Who the backend `pid` waits for.
///
/// # Errors
/// As the server says.
pub async fn blockers(observer: &Session, pid: i32) -> Result<Vec<Blocker>, SqlError> {
    let rows = observer.query(BLOCKERS, &[&pid]).await?;
    let blocker = |row: &tokio_postgres::Row| Blocker {
        pid: row.get(0),
        user: row.get(1),
        application: row.get(2),
        state: row.get(3),
        kind: row.get(4),
        query_age_s: row.get(5),
        transaction_age_s: row.get(6),
    };
    Ok(rows.iter().map(blocker).collect())
}

const WAITING_BEHIND: &str = "\
SELECT pg_catalog.count(*)
  FROM (SELECT DISTINCT pid FROM pg_catalog.pg_locks WHERE NOT granted AND pid <> $1) w
 WHERE $1 = ANY (pg_catalog.pg_blocking_pids(w.pid))";

/// How many sessions wait for a lock that the backend `pid` holds or waits for ahead of them.
///
/// # Errors
/// As the server says.
pub async fn waiting_behind(observer: &Session, pid: i32) -> Result<u64, SqlError> {
    let row = observer.query_one(WAITING_BEHIND, &[&pid]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// A vacuum of the server's own at work on a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autovacuum {
    /// Its process.
    pub pid: i32,
    /// It must prevent wraparound, and so does not give way to anybody.
    pub against_wraparound: bool,
}

/// A worker shows as a holder of SHARE UPDATE EXCLUSIVE without a user.
const AUTOVACUUM: &str = "\
SELECT l.pid,
       pg_catalog.age(c.relfrozenxid) > pg_catalog.current_setting('autovacuum_freeze_max_age')::int8
       OR pg_catalog.mxid_age(c.relminmxid) > pg_catalog.current_setting('autovacuum_multixact_freeze_max_age')::int8
  FROM pg_catalog.pg_locks l
  JOIN pg_catalog.pg_class c ON c.oid = l.relation
  JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
 WHERE l.locktype = 'relation' AND l.relation = $1 AND l.mode = 'ShareUpdateExclusiveLock'
   AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
   AND a.usesysid IS NULL
 LIMIT 1";

/// The autovacuum at work on a table, given by oid.
///
/// # Errors
/// As the server says.
pub async fn autovacuum_on(observer: &Session, table: u32) -> Result<Option<Autovacuum>, SqlError> {
    let row = observer.query_opt(AUTOVACUUM, &[&table]).await?;
    Ok(row.map(|row| Autovacuum {
        pid: row.get(0),
        against_wraparound: row.get(1),
    }))
}

/// A snapshot that may be older than the last apply. Two listings show the same one if and only if they are equal
/// in holder and transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct OldSnapshot {
    /// Who has it.
    pub holder: SnapshotHolder,
    /// The virtual transaction, `backend/number`: a session's next transaction has another. `None` for feedback.
    pub transaction: Option<String>,
    /// Role, for the message.
    pub user: Option<String>,
    /// `application_name`, for the message.
    pub application: Option<String>,
    /// Seconds since the transaction began.
    pub age_s: Option<f64>,
    /// It waits for a lock of `cutover_pid`: it cannot end before we do, and what it will read is decided by its
    /// isolation level. Reported, not waited for.
    pub waits_for_us: bool,
}

/// Who keeps a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotHolder {
    /// A session of this database.
    Backend {
        /// Its process.
        pid: i32,
    },
    /// A standby with feedback and no slot, seen through its walsender.
    Walsender {
        /// The walsender's process.
        pid: i32,
    },
    /// A standby with feedback and a slot.
    Slot {
        /// The slot.
        name: String,
    },
}

/// Sessions of this database, then walsenders to standbys, then slots with a data xmin. (Logical slots have only a
/// `catalog_xmin`, so ours is not among them.) Of other roles' sessions `backend_type` is hidden, so background
/// workers are told by having no user, and walsenders by having no database.
const OLD_SNAPSHOTS: &str = "\
SELECT 'backend', a.pid, NULL::text, v.virtualtransaction, a.usename::text, a.application_name,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.xact_start),
       $1 = ANY (pg_catalog.pg_blocking_pids(a.pid))
  FROM pg_catalog.pg_stat_activity a
  LEFT JOIN pg_catalog.pg_locks v ON v.pid = a.pid AND v.locktype = 'virtualxid' AND v.granted
                                 AND v.virtualxid = v.virtualtransaction
 WHERE a.backend_xmin IS NOT NULL AND a.datname = pg_catalog.current_database()
   AND a.application_name IS DISTINCT FROM $2 AND a.usesysid IS NOT NULL
UNION ALL
SELECT 'walsender', a.pid, NULL, NULL, a.usename::text, a.application_name, NULL, false
  FROM pg_catalog.pg_stat_activity a
 WHERE a.backend_xmin IS NOT NULL AND a.datid IS NULL AND a.usesysid IS NOT NULL
UNION ALL
SELECT 'slot', NULL, s.slot_name::text, NULL, NULL, NULL, NULL, false
  FROM pg_catalog.pg_replication_slots s
 WHERE s.xmin IS NOT NULL";

/// Snapshots that may be older than now: those of other transactions in this database, and the feedback of
/// standbys. `cutover_pid` holds the lock; `application_name` is that of the engine's own sessions.
///
/// # Errors
/// As the server says.
pub async fn old_snapshots(
    observer: &Session,
    cutover_pid: i32,
    application_name: &str,
) -> Result<Vec<OldSnapshot>, SqlError> {
    let rows = observer
        .query(OLD_SNAPSHOTS, &[&cutover_pid, &application_name])
        .await?;
    Ok(rows.iter().map(old_snapshot).collect())
}

fn old_snapshot(row: &tokio_postgres::Row) -> OldSnapshot {
    let holder = match (row.get::<_, Option<i32>>(1), row.get::<_, Option<String>>(2)) {
        (_, Some(name)) => SnapshotHolder::Slot { name },
        (pid, None) if row.get::<_, &str>(0) == "walsender" => SnapshotHolder::Walsender {
            pid: pid.unwrap_or_default(),
        },
        (pid, None) => SnapshotHolder::Backend {
            pid: pid.unwrap_or_default(),
        },
    };
    OldSnapshot {
        holder,
        transaction: row.get(3),
        user: row.get(4),
        application: row.get(5),
        age_s: row.get(6),
        waits_for_us: row.get(7),
    }
}
