//! WAL positions, and making one durable.
//!
//! The insert position is the only one that counts: the flush position is behind what an asynchronous commit has
//! made visible (R28). A position becomes durable with the flush of a later commit that must be flushed (§1).

use crossfade_core::piece::MESSAGE_PREFIX;
use crossfade_core::position::{Lsn, Xid};

use crate::session::{Session, SqlError};

/// How a transaction ended, as `pg_xact_status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XactStatus {
    /// Committed.
    Committed,
    /// Rolled back, or lost in a crash.
    Aborted,
    /// Neither, yet.
    InProgress,
    /// Too old for the server to know.
    Unknown,
}

/// The WAL insert position.
///
/// # Errors
/// As the server says.
pub async fn insert_position(session: &Session) -> Result<Lsn, SqlError> {
    let row = session.query_one(
        "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text",
        &[],
    );
    Ok(lsn(row.await?.get(0)))
}

/// Reads the insert position, then commits a message that is flushed: everything before the position is durable,
/// and a stream that delivers messages will pass it.
///
/// # Errors
/// As the server says.
pub async fn durable_insert_position(session: &Session) -> Result<Lsn, SqlError> {
    let position = insert_position(session).await?;
    emit(session, "position").await?;
    Ok(position)
}

/// Commits a transactional message of ours, flushed here whatever the session's `synchronous_commit` is.
///
/// # Errors
/// As the server says.
pub async fn emit(session: &Session, content: &str) -> Result<(), SqlError> {
    let emit = "SELECT pg_catalog.set_config('synchronous_commit', 'local', true),
                       pg_catalog.pg_logical_emit_message(true, $1, $2)::text";
    session.query_one(emit, &[&MESSAGE_PREFIX, &content]).await?;
    Ok(())
}

/// WAL written since `from`, in bytes.
///
/// # Errors
/// As the server says.
pub async fn written_since(session: &Session, from: Lsn) -> Result<u64, SqlError> {
    Ok(insert_position(session).await?.0.saturating_sub(from.0))
}

/// How that transaction ended.
///
/// # Errors
/// As the server says; the id may be in the future.
pub async fn xact_status(session: &Session, xid: Xid) -> Result<XactStatus, SqlError> {
    let row = session
        .query_one(
            "SELECT pg_catalog.pg_xact_status($1::text::xid8)",
            &[&xid.to_string()],
        )
        .await?;
    Ok(match row.get::<_, Option<&str>>(0) {
        Some("committed") => XactStatus::Committed,
        Some("aborted") => XactStatus::Aborted,
        Some("in progress") => XactStatus::InProgress,
        Some(_) | None => XactStatus::Unknown,
    })
}

/// The running transaction's id, given out now if it has none.
///
/// # Errors
/// As the server says.
pub async fn current_xid(session: &Session) -> Result<Option<Xid>, SqlError> {
    let row = session
        .query_one("SELECT pg_catalog.pg_current_xact_id()::text", &[])
        .await?;
    Ok(row.get::<_, &str>(0).parse().ok().map(Xid))
}

/// A byte count as the server prints it.
fn lsn(bytes: &str) -> Lsn {
    // `pg_lsn - '0/0'` is a whole number of at most 20 digits.
    Lsn(bytes.parse().unwrap_or(0))
}
