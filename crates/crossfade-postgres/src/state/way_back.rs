//! The way back, as far as it is durable beside its position: whether it is closed, since when, and why.

use crossfade_core::position::Lsn;

use super::StateError;
use crate::session::Session;

/// A retired table that no longer follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Everything committed at or before it is in the retired table.
    pub since: Lsn,
    /// What was refused, and which row.
    pub reason: String,
}

/// Writes down that the retired table no longer follows.
///
/// # Errors
/// As the server says.
pub async fn close_way_back(session: &Session, name: &str, closed: &Closed) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.way_back_closed (migration, since_lsn, reason) VALUES ($1, $2::text::pg_lsn, $3)
    ON CONFLICT (migration) DO UPDATE SET since_lsn = excluded.since_lsn, reason = excluded.reason,
       closed_at = excluded.closed_at";
    session
        .execute(upsert, &[&name, &closed.since.to_string(), &closed.reason])
        .await?;
    Ok(())
}

/// Forgets it: the rows that were refused have been taken.
///
/// # Errors
/// As the server says.
pub async fn open_way_back(session: &Session, name: &str) -> Result<(), StateError> {
    let delete = "DELETE FROM crossfade.way_back_closed WHERE migration = $1";
    session.execute(delete, &[&name]).await?;
    Ok(())
}

/// Whether the retired table no longer follows.
///
/// # Errors
/// As the server says, or the row cannot be understood.
pub async fn way_back_closed(session: &Session, name: &str) -> Result<Option<Closed>, StateError> {
    let select = "SELECT since_lsn::text, reason FROM crossfade.way_back_closed WHERE migration = $1";
    let Some(row) = session.query_opt(select, &[&name]).await? else {
        return Ok(None);
    };
    let text: &str = row.get(0);
    let since = text.parse().map_err(|_| StateError::Unreadable {
        name: name.into(),
        what: format!("position {text}"),
    })?;
    Ok(Some(Closed {
        since,
        reason: row.get(1),
    }))
}
