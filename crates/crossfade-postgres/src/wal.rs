//! WAL positions, making one durable, and marker messages.

use crossfade_core::piece::MESSAGE_PREFIX;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::{ParseSnapshotError, Snapshot};
use tokio_postgres::types::PgLsn;

use crate::copy;
use crate::session::{Session, SqlError};

/// The WAL insert position: where the next record will go. What it follows may not be flushed yet; see
/// [`make_durable`].
///
/// # Errors
/// As the server says.
pub async fn insert_position(session: &Session) -> Result<Lsn, SqlError> {
    let query = "SELECT pg_catalog.pg_current_wal_insert_lsn()";
    let row = session.query_one(query, &[]).await?;
    Ok(Lsn(row.get::<_, PgLsn>(0).into()))
}

/// Flushes the WAL at least to everything that was inserted before the call: commits a message, with a commit
/// that waits for the local flush. A transaction that merely took an xid would not be flushed. Not inside a
/// transaction.
///
/// # Errors
/// As the server says.
pub async fn make_durable(session: &Session) -> Result<(), SqlError> {
    emit(session, b"durable").await.map(|_| ())
}

/// The WAL insert position, durable.
///
/// # Errors
/// As the server says.
pub async fn durable_insert_position(session: &Session) -> Result<Lsn, SqlError> {
    let position = insert_position(session).await?;
    make_durable(session).await?;
    Ok(position)
}

/// What a transaction that begins now sees.
///
/// # Errors
/// As the server says; a snapshot that cannot be read.
pub async fn snapshot(session: &Session) -> Result<Snapshot, SnapshotError> {
    let query = "SELECT pg_catalog.pg_current_snapshot()::text";
    let row = session.query_one(query, &[]).await?;
    Ok(row.get::<_, &str>(0).parse()?)
}

/// What an exported snapshot sees. Not inside a transaction.
///
/// # Errors
/// As [`snapshot`]; there is no snapshot of that name any more.
pub async fn imported_snapshot(session: &Session, name: &str) -> Result<Snapshot, SnapshotError> {
    session.batch_execute(copy::BEGIN_IMPORT).await?;
    session.batch_execute(&copy::import_snapshot(name)).await?;
    let imported = snapshot(session).await;
    session.batch_execute("COMMIT").await?;
    imported
}

/// Transactions that can have committed without being visible to a snapshot: not those of another database, nor one whose
/// session waits for its client. (A session of another role does not show what it is at: then it counts.)
///
/// # Errors
/// As the server says.
pub async fn committing(session: &Session, snapshot: &Snapshot) -> Result<Vec<Xid>, SqlError> {
    let query = "\
SELECT backend_xid::text FROM pg_catalog.pg_stat_activity
 WHERE backend_xid IS NOT NULL
   AND (datname IS DISTINCT FROM pg_catalog.current_database() OR state LIKE 'idle in transaction%')";
    let rows = session.query(query, &[]).await?;
    let cannot = rows
        .iter()
        .filter_map(|row| row.get::<_, &str>(0).parse::<u32>().ok());
    let cannot: Vec<Xid> = cannot.map(|xid| Xid::widen(xid, snapshot.xmax())).collect();
    Ok(snapshot
        .in_progress()
        .filter(|xid| !cannot.contains(xid))
        .collect())
}

/// No snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The server did not answer.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// It answered in a form that is not known.
    #[error(transparent)]
    Parse(#[from] ParseSnapshotError),
}

/// Emits a transactional message with our prefix in a transaction of its own that waits for the local flush, and
/// no standby. Returns the message's position, which is before its commit. Not inside a transaction.
///
/// # Errors
/// As the server says.
pub async fn emit(session: &Session, content: &[u8]) -> Result<Lsn, SqlError> {
    session
        .batch_execute("BEGIN; SET LOCAL synchronous_commit = local")
        .await?;
    match emit_here(session, content).await {
        Ok(position) => {
            session.batch_execute("COMMIT").await?;
            Ok(position)
        }
        Err(error) => {
            session.batch_execute("ROLLBACK").await?;
            Err(error)
        }
    }
}

/// Emits a transactional message with our prefix in the caller's transaction.
///
/// # Errors
/// As the server says.
pub async fn emit_here(session: &Session, content: &[u8]) -> Result<Lsn, SqlError> {
    let query = "SELECT pg_catalog.pg_logical_emit_message(true, $1, $2::bytea)";
    let row = session.query_one(query, &[&MESSAGE_PREFIX, &content]).await?;
    Ok(Lsn(row.get::<_, PgLsn>(0).into()))
}
