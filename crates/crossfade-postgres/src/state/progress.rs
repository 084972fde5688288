//! What is done: ledger rows, the applied LSN, statements, swap attempts. Each is written in the transaction of
//! what it describes; the swap attempt alone is written by another session.

use crossfade_core::name::MigrationName;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;
use crossfade_core::way_back::Direction;

use super::StateError;
use crate::ident::literal;
use crate::session::Session;

/// The applied LSN of that direction.
///
/// # Errors
/// As the server says.
pub async fn position(
    session: &Session,
    name: &str,
    direction: Direction,
) -> Result<Option<Lsn>, StateError> {
    let select = "SELECT applied_lsn::text FROM crossfade.position WHERE migration = $1 AND direction = $2";
    let Some(row) = session.query_opt(select, &[&name, &direction.as_str()]).await? else {
        return Ok(None);
    };
    let text: &str = row.get(0);
    let lsn = text.parse();
    Ok(Some(lsn.map_err(|_| StateError::Unreadable {
        name: name.into(),
        what: format!("position {text}"),
    })?))
}

/// Sets where a direction starts: at the slot's consistent point, in the transaction of the ledger row; back at the
/// end of the swap's commit record.
///
/// # Errors
/// As the server says.
pub async fn start_position(
    session: &Session,
    name: &str,
    direction: Direction,
    start: Lsn,
) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.position (migration, direction, applied_lsn) VALUES ($1, $2, $3::text::pg_lsn)
    ON CONFLICT (migration, direction) DO UPDATE SET applied_lsn = excluded.applied_lsn, aligned_snapshot = NULL";
    session
        .execute(upsert, &[&name, &direction.as_str(), &start.to_string()])
        .await?;
    Ok(())
}

/// Moves the applied LSN, in the transaction of the rows; of an alignment with its snapshot (R26). Touches no row if
/// there is no position or it is beyond.
pub fn advance_statement(
    name: &MigrationName,
    direction: Direction,
    applied: Lsn,
    aligned: Option<&Snapshot>,
) -> String {
    let aligned = aligned.map(|snapshot| format!(", aligned_snapshot = {}", literal(&snapshot.to_string())));
    format!(
        "UPDATE crossfade.position SET applied_lsn = '{applied}'{} WHERE migration = {} AND direction = {} AND \
         applied_lsn <= '{applied}'",
        aligned.unwrap_or_default(),
        literal(name.as_str()),
        literal(direction.as_str())
    )
}

/// What the target was last aligned with.
///
/// # Errors
/// As the server says.
pub async fn aligned(
    session: &Session,
    name: &str,
    direction: Direction,
) -> Result<Option<Snapshot>, StateError> {
    let select = "SELECT aligned_snapshot FROM crossfade.position WHERE migration = $1 AND direction = $2";
    let row = session.query_opt(select, &[&name, &direction.as_str()]).await?;
    let text = row.and_then(|row| row.get::<_, Option<String>>(0));
    let parse = |text: String| {
        text.parse().map_err(|_| StateError::Unreadable {
            name: name.into(),
            what: format!("snapshot {text}"),
        })
    };
    text.map(parse).transpose()
}

/// Records that the plan's statement at this position is done, in its transaction.
///
/// # Errors
/// As the server says.
pub async fn record_statement(session: &Session, name: &str, statement: i32) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.statement_done (migration, statement) VALUES ($1, $2)";
    session.execute(insert, &[&name, &statement]).await?;
    Ok(())
}

/// The positions of the statements that are done.
///
/// # Errors
/// As the server says.
pub async fn done_statements(session: &Session, name: &str) -> Result<Vec<i32>, StateError> {
    let select = "SELECT statement FROM crossfade.statement_done WHERE migration = $1 ORDER BY statement";
    let rows = session.query(select, &[&name]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Forgets them: the copy begins again.
///
/// # Errors
/// As the server says.
pub async fn forget_statements(session: &Session, name: &str) -> Result<(), StateError> {
    session
        .execute(
            "DELETE FROM crossfade.statement_done WHERE migration = $1",
            &[&name],
        )
        .await?;
    Ok(())
}

/// Writes down the transaction of a swap, from another session than the swap's, before its COMMIT (R29).
///
/// # Errors
/// As the server says.
pub async fn record_swap_attempt(session: &Session, name: &str, xid: Xid) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.swap_attempt (migration, xid) VALUES ($1, $2::text::xid8)";
    session.execute(insert, &[&name, &xid.to_string()]).await?;
    Ok(())
}

/// The last one written down.
///
/// # Errors
/// As the server says.
pub async fn swap_attempt(session: &Session, name: &str) -> Result<Option<Xid>, StateError> {
    let select =
        "SELECT xid::text FROM crossfade.swap_attempt WHERE migration = $1 ORDER BY attempt DESC LIMIT 1";
    let row = session.query_opt(select, &[&name]).await?;
    Ok(row.and_then(|row| row.get::<_, &str>(0).parse().ok()).map(Xid))
}

/// Forgets that one and those before it: what became of them is known, and the server will not know it for ever. (Those
/// of an engine that has taken over meanwhile are not ours to forget.)
///
/// # Errors
/// As the server says.
pub async fn forget_swap_attempts_to(session: &Session, name: &str, xid: Xid) -> Result<(), StateError> {
    let delete = "\
DELETE FROM crossfade.swap_attempt
 WHERE migration = $1 AND attempt <= (SELECT pg_catalog.max(attempt) FROM crossfade.swap_attempt
                                       WHERE migration = $1 AND xid = $2::text::xid8)";
    session.execute(delete, &[&name, &xid.to_string()]).await?;
    Ok(())
}

/// Forgets them: what became of the last one is known for good, and the server will not know it for ever.
///
/// # Errors
/// As the server says.
pub async fn forget_swap_attempts(session: &Session, name: &str) -> Result<(), StateError> {
    let delete = "DELETE FROM crossfade.swap_attempt WHERE migration = $1";
    session.execute(delete, &[&name]).await?;
    Ok(())
}
