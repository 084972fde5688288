//! Copies one range at a time into the target and reports what it copied.
//!
//! A [`SnapshotKeeper`] holds the source's lock and the snapshot for the whole copy; any number of [`Copier`]s, each
//! with a session of its own, or of [`Pipe`]s, each with one on either server, read under it. Which ranges, in which order and what follows from an outcome is
//! decided elsewhere. A [`ChunkCopier`] reads each chunk under a snapshot of its own, and writes the ledger row with
//! the rows.
//!
//! Invariants: the lock on the source is taken before the snapshot (R4), the source is still the file it was when
//! the snapshot was taken, every range is one transaction under the engine's generation (R24), and a duplicate is
//! an error.

mod chunk;
mod copier;
mod culprit;
mod keeper;
mod pipe;

use crossfade_core::snapshot::ParseSnapshotError;
use crossfade_postgres::apply::fetch::FetchError;
use crossfade_postgres::session::{SqlClass, SqlError};
use crossfade_postgres::state::StateError;

pub use crate::chunk::ChunkCopier;
pub use crate::copier::{Copied, Copier, Outcome};
pub use crate::keeper::{Kept, Locked, SnapshotKeeper, keep_tables};
pub use crate::pipe::Pipe;

/// Why a range was not copied, or a snapshot not taken over.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Another engine has taken over, or the state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A row's values do not fit the new table, or an expression of the change fails on them.
    #[error("copy the row of {table} where {key}")]
    Row {
        /// The source.
        table: String,
        /// The row's key, as SQL writes it.
        key: String,
        /// What the server said.
        #[source]
        source: SqlError,
    },
    /// The snapshot cannot be read.
    #[error(transparent)]
    Snapshot(#[from] ParseSnapshotError),
    /// Keys cannot be staged or read.
    #[error(transparent)]
    Key(#[from] FetchError),
    /// Chunks are ranges of keys.
    #[error("copy a table without a key in chunks")]
    NoKey,
    /// A chunk is opened before it is copied.
    #[error("copy a chunk whose snapshot was not taken")]
    NotOpened,
    /// The source was rewritten, dropped or replaced since the snapshot was taken.
    #[error("go on copying {table}: it has been rewritten or replaced since the copy began")]
    SourceChanged {
        /// The source.
        table: String,
    },
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyErrorClass {
    /// The connection is gone; another one may do.
    Lost,
    /// Another engine has taken over: stop.
    Superseded,
    /// Somebody asked for it to be canceled.
    Canceled,
    /// It met others' work, and may be tried again.
    Again,
    /// The data or the definition stand in the way: trying again will not help.
    Real,
}

impl CopyError {
    /// What follows from it.
    pub fn class(&self) -> CopyErrorClass {
        match self {
            CopyError::Sql(error)
            | CopyError::State(StateError::Sql(error))
            | CopyError::Key(FetchError::Sql(error)) => of_sql(error.class()),
            CopyError::State(StateError::Superseded { .. }) => CopyErrorClass::Superseded,
            CopyError::Row { .. }
            | CopyError::State(_)
            | CopyError::Snapshot(_)
            | CopyError::Key(_)
            | CopyError::NoKey
            | CopyError::NotOpened
            | CopyError::SourceChanged { .. } => CopyErrorClass::Real,
        }
    }
}

fn of_sql(class: SqlClass) -> CopyErrorClass {
    match class {
        SqlClass::Lost => CopyErrorClass::Lost,
        SqlClass::Canceled => CopyErrorClass::Canceled,
        SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock => CopyErrorClass::Again,
        SqlClass::UniqueViolation
        | SqlClass::ExclusionViolation
        | SqlClass::NotPermitted
        | SqlClass::Other => CopyErrorClass::Real,
    }
}
