//! Results of verifications: written when one has ended, read by whoever wants to cut over.

use crossfade_core::position::Lsn;
use crossfade_core::verify::{Difference, Verified};
use crossfade_core::way_back::Direction;

use super::StateError;
use crate::session::Session;

/// A verification that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredVerification {
    /// Its number among all.
    pub id: i64,
    /// When its first pair of snapshots was asked for, as text in UTC.
    pub began_at: String,
    /// When its result was written down.
    pub ended_at: String,
    /// What came of it.
    pub found: Verified,
    /// Columns that were not compared, because the server alone fills them.
    pub unverified: Vec<String>,
    /// Which of the two tables had to be like the other.
    pub direction: Direction,
}

/// The server's clock, as text that [`record_verification`] takes.
///
/// # Errors
/// As the server says.
pub async fn server_time(session: &Session) -> Result<String, StateError> {
    let row = session
        .query_one("SELECT pg_catalog.clock_timestamp()::text", &[])
        .await?;
    Ok(row.get(0))
}

/// Writes a result down.
///
/// # Errors
/// As the server says.
pub async fn record_verification(
    session: &Session,
    name: &str,
    direction: Direction,
    began_at: &str,
    found: &Verified,
    unverified: &[String],
) -> Result<(), StateError> {
    let insert = "\
INSERT INTO crossfade.verification (migration, began_at, aligned_lsn, whole, more, pairs, slices, slices_different,
                                    rows, differences, unverified, direction, repaired, repair_follows)
VALUES ($1, $2::text::timestamptz, $3::text::pg_lsn, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    let differences = serde_json::to_string(&found.differences).unwrap_or_default();
    session
        .execute(
            insert,
            &[
                &name,
                &began_at,
                &found.aligned.to_string(),
                &found.whole,
                &found.more,
                &number(found.pairs),
                &number(found.slices),
                &number(found.slices_different),
                &i64::try_from(found.rows).unwrap_or(i64::MAX),
                &differences,
                &unverified,
                &direction.as_str(),
                &number(found.repaired),
                &found.repair_follows,
            ],
        )
        .await?;
    Ok(())
}

/// From now on this is the file of a source whose every row the target has; `None`: nobody knows which.
///
/// # Errors
/// As the server says.
pub async fn trust_file(
    session: &Session,
    name: &str,
    direction: Direction,
    file: Option<u32>,
) -> Result<(), StateError> {
    let upsert = "\
INSERT INTO crossfade.source_file (migration, direction, file) VALUES ($1, $2, $3)
    ON CONFLICT (migration, direction) DO UPDATE SET file = excluded.file";
    session
        .execute(upsert, &[&name, &direction.as_str(), &file])
        .await?;
    Ok(())
}

/// See [`trust_file`].
///
/// # Errors
/// As the server says.
pub async fn trusted_file(
    session: &Session,
    name: &str,
    direction: Direction,
) -> Result<Option<u32>, StateError> {
    let select = "SELECT file FROM crossfade.source_file WHERE migration = $1 AND direction = $2";
    let row = session.query_opt(select, &[&name, &direction.as_str()]).await?;
    Ok(row.and_then(|row| row.get(0)))
}

/// The newest result; with `since` only one that began at that server time or later, and is the last word.
///
/// # Errors
/// As the server says.
pub async fn last_verification(
    session: &Session,
    name: &str,
    since: Option<&str>,
) -> Result<Option<StoredVerification>, StateError> {
    let select = "\
SELECT id, began_at::text, ended_at::text, aligned_lsn::text, whole, more, pairs, slices, slices_different, rows,
       differences, unverified, direction, repaired, repair_follows
  FROM crossfade.verification
 WHERE migration = $1 AND ($2::text IS NULL OR began_at >= $2::text::timestamptz AND NOT repair_follows)
 ORDER BY id DESC LIMIT 1";
    let Some(row) = session.query_opt(select, &[&name, &since]).await? else {
        return Ok(None);
    };
    let unreadable = |what: &str| StateError::Unreadable {
        name: name.into(),
        what: format!("the {what} of a verification"),
    };
    let aligned: Result<Lsn, _> = row.get::<_, &str>(3).parse();
    let differences: Result<Vec<Difference>, _> = serde_json::from_str(row.get(10));
    let number = |column: usize| u32::try_from(row.get::<_, i32>(column)).unwrap_or_default();
    Ok(Some(StoredVerification {
        id: row.get(0),
        began_at: row.get(1),
        ended_at: row.get(2),
        found: Verified {
            aligned: aligned.map_err(|_| unreadable("position"))?,
            whole: row.get(4),
            more: row.get(5),
            pairs: number(6),
            slices: number(7),
            slices_different: number(8),
            rows: row.get::<_, i64>(9).try_into().unwrap_or_default(),
            differences: differences.map_err(|_| unreadable("differences"))?,
            repaired: number(13),
            repair_follows: row.get(14),
            file: None,
            // Of interest to whoever runs it only: what it settled is written down with it.
            strays: 0,
        },
        unverified: row.get(11),
        direction: Direction::from_word(row.get(12)).ok_or_else(|| unreadable("direction"))?,
    }))
}
