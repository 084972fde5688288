//! Requests of operators to a running engine.

use super::StateError;
use crate::session::Session;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Hold back.
    Pause,
    /// Go on.
    Continue,
    /// Cut over when ready.
    Cutover,
    /// Go back after the swap.
    Rollback,
    /// Compare every row when ready.
    Verify,
    /// The same, and repair rows that differ.
    Repair,
}

impl Verb {
    /// The word in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Pause => "pause",
            Verb::Continue => "continue",
            Verb::Cutover => "cutover",
            Verb::Rollback => "rollback",
            Verb::Verify => "verify",
            Verb::Repair => "repair",
        }
    }

    fn from_word(word: &str) -> Option<Verb> {
        [
            Verb::Pause,
            Verb::Continue,
            Verb::Cutover,
            Verb::Rollback,
            Verb::Verify,
            Verb::Repair,
        ]
        .into_iter()
        .find(|verb| verb.as_str() == word)
    }
}

/// Leaves a request.
///
/// # Errors
/// As the server says.
pub async fn ask(session: &Session, name: &str, verb: Verb) -> Result<(), StateError> {
    let insert = "INSERT INTO crossfade.request (migration, verb) VALUES ($1, $2)";
    session.execute(insert, &[&name, &verb.as_str()]).await?;
    Ok(())
}

/// Takes all requests that nobody has taken, in order.
///
/// # Errors
/// As the server says.
pub async fn take(session: &Session, name: &str) -> Result<Vec<Verb>, StateError> {
    let take = "\
WITH taken AS (UPDATE crossfade.request SET taken_at = pg_catalog.clock_timestamp()
                WHERE migration = $1 AND taken_at IS NULL RETURNING id, verb)
SELECT verb FROM taken ORDER BY id";
    let rows = session.query(take, &[&name]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| Verb::from_word(row.get(0)))
        .collect())
}
