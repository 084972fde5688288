//! What the state store refuses.

use crate::session::SqlError;

/// Why the state store did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The server refused or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The schema was written by a later release.
    #[error("use the schema `crossfade`: it has version {found}, and this release knows {known}")]
    Newer {
        /// The schema's version.
        found: i32,
        /// The newest that we know.
        known: i32,
    },
    /// A file of ours is not the one that was applied.
    #[error(
        "use the schema `crossfade`: version {version} was applied from another text than this release has"
    )]
    Changed {
        /// Which version.
        version: i32,
    },
    /// There is no migration of that name.
    #[error("find a migration named `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// A migration of that name exists, with another plan.
    #[error("run another plan under the name `{name}`: that migration is {phase}")]
    OtherPlan {
        /// The name.
        name: String,
        /// How far it is.
        phase: String,
    },
    /// The table has an unfinished migration.
    #[error("migrate {table}: migration `{name}` works on it")]
    TableTaken {
        /// The table.
        table: String,
        /// Whose it is.
        name: String,
    },
    /// Another engine is at work.
    #[error("take over `{name}`: its engine runs on {host} as process {process}")]
    Busy {
        /// The migration.
        name: String,
        /// Where.
        host: String,
        /// Which process there.
        process: i64,
    },
    /// What an earlier engine left behind does not end.
    #[error("take over `{name}`: {sessions} sessions of an earlier engine do not end")]
    NotEnding {
        /// The migration.
        name: String,
        /// How many.
        sessions: usize,
    },
    /// A later engine has taken over; nothing that this one sends may commit (R24).
    #[error("write as generation {generation} of `{name}`: another engine has taken over")]
    Superseded {
        /// The migration.
        name: String,
        /// Ours.
        generation: i64,
    },
    /// What stands in the state schema is not what we write there.
    #[error("understand the state of `{name}`: {what}")]
    Unreadable {
        /// The migration.
        name: String,
        /// What is wrong.
        what: String,
    },
}
