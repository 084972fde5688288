//! The audit trail: who did what and when. Append-only; outlives the migration.

use super::StateError;
use crate::session::Session;

/// Adds a line. `host` is the machine of the engine or of the operator.
///
/// # Errors
/// As the server says.
pub async fn audit(
    session: &Session,
    migration: &str,
    host: &str,
    what: &str,
    statement: Option<&str>,
) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.audit (migration, host, what, statement) VALUES ($1, $2, $3, $4)";
    session
        .execute(insert, &[&migration, &host, &what, &statement])
        .await?;
    Ok(())
}
