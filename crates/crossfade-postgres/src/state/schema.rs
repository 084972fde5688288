//! The runner: numbered files, embedded, applied once each, in order, under a lock, never changed afterwards.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::StateError;
use crate::session::Session;

const FILES: &[(i32, &str)] = &[
    (1, include_str!("../../../../migrations/0001_state.sql")),
    (2, include_str!("../../../../migrations/0002_publication.sql")),
    (3, include_str!("../../../../migrations/0003_move.sql")),
];

/// Serializes the engines that bring the schema up to date.
const LOCK: &str = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('crossfade schema')::bigint)";
const CREATE: &str = "\
CREATE SCHEMA IF NOT EXISTS crossfade;
CREATE TABLE IF NOT EXISTS crossfade.schema_version (
    version    integer PRIMARY KEY,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// Whether the schema is there. Needs no privilege.
///
/// # Errors
/// As the server says.
pub async fn exists(session: &Session) -> Result<bool, StateError> {
    let row = session
        .query_one(
            "SELECT pg_catalog.to_regclass('crossfade.migration') IS NOT NULL",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

/// Creates the schema or brings it up to date. Everything happens in one transaction.
///
/// # Errors
/// The schema is newer than this release, or a file differs from the one that was applied.
pub async fn ensure(session: &Session) -> Result<(), StateError> {
    if is_current(session).await? {
        return Ok(());
    }
    session.batch_execute("BEGIN").await?;
    let done = bring_up(session).await;
    session
        .batch_execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })
        .await?;
    done
}

/// Looks first, so that a role that may only use the schema need not be able to create it.
async fn is_current(session: &Session) -> Result<bool, StateError> {
    if !exists(session).await? {
        return Ok(false);
    }
    let applied = applied(session).await?;
    check(&applied)?;
    Ok(applied.len() == FILES.len())
}

async fn bring_up(session: &Session) -> Result<(), StateError> {
    session.query_one(LOCK, &[]).await?;
    let there = session.query_one(
        "SELECT pg_catalog.to_regclass('crossfade.schema_version') IS NOT NULL",
        &[],
    );
    if !there.await?.get::<_, bool>(0) {
        session.batch_execute(CREATE).await?;
    }
    let applied = applied(session).await?;
    check(&applied)?;
    for (version, text) in FILES.iter().skip(applied.len()) {
        session.batch_execute(text).await?;
        let insert = "INSERT INTO crossfade.schema_version (version, checksum) VALUES ($1, $2)";
        session.execute(insert, &[version, &checksum(text)]).await?;
    }
    Ok(())
}

async fn applied(session: &Session) -> Result<Vec<(i32, String)>, StateError> {
    let rows = session
        .query(
            "SELECT version, checksum FROM crossfade.schema_version ORDER BY version",
            &[],
        )
        .await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn check(applied: &[(i32, String)]) -> Result<(), StateError> {
    let known = FILES.last().map_or(0, |(version, _)| *version);
    for (version, sum) in applied {
        match FILES.iter().find(|(file, _)| file == version) {
            None => {
                return Err(StateError::Newer {
                    found: *version,
                    known,
                });
            }
            Some((_, text)) if checksum(text) != *sum => {
                return Err(StateError::Changed { version: *version });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn checksum(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_numbered_from_one_without_gaps() {
        let numbers: Vec<i32> = FILES.iter().map(|(version, _)| *version).collect();
        assert_eq!(numbers, (1..=FILES.len() as i32).collect::<Vec<_>>());
    }

    #[test]
    fn a_newer_schema_and_a_changed_file_are_refused() {
        assert!(matches!(
            check(&[(99, String::new())]),
            Err(StateError::Newer { found: 99, .. })
        ));
        assert!(matches!(
            check(&[(1, "other".into())]),
            Err(StateError::Changed { version: 1 })
        ));
        assert!(check(&[(1, checksum(FILES[0].1))]).is_ok());
    }
}
