//! Measurements of the engine, as ratios to a named baseline in the same run.
//!
//! A figure alone says more about the machine than about the engine; a ratio to a baseline that ran beside it on
//! the same data can be compared. There are three suites: [`copy`], [`apply`] and [`stall`]. Each has cells, one for
//! each set of parameters; a [`record::Record`] keeps their samples, in a file if there is one, so that a run that was
//! interrupted goes on where it was.

pub mod apply;
pub mod compare;
pub mod copy;
mod engine;
pub mod ground;
pub mod html;
pub mod machine;
pub mod mix;
pub mod record;
pub mod report;
pub mod server;
pub mod stall;
pub mod stats;
mod table;

use crossfade_core::name::{InvalidMigrationName, TableName};
use crossfade_postgres::change::ArgumentError;
use crossfade_postgres::planner::PlanError;
use crossfade_postgres::session::{ConnectError, SqlError};
use crossfade_postgres::state::StateError;
use crossfade_replication::reader::ReadError;
use crossfade_replication::slot::SlotError;
use crossfade_replication::transport::TransportError;

use crate::engine::EngineError;
use crate::ground::GroundError;
use crate::mix::MixError;
use crate::record::RecordError;

/// Where our tables are, in a database of ours.
pub(crate) const SCHEMA: &str = "public";

/// The name of a table of ours.
pub(crate) fn table_name(name: &str) -> TableName {
    TableName::new(SCHEMA, name)
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No database to measure in.
    #[error(transparent)]
    Ground(#[from] GroundError),
    /// The results cannot be read or kept.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A task or thread of a measurement died.
    #[error("wait for a measurement in a task of its own")]
    Died(#[source] std::io::Error),
    /// The changes asked for cannot be made.
    #[error(transparent)]
    Mix(#[from] MixError),
    /// The name of our migration is none.
    #[error(transparent)]
    Name(#[from] InvalidMigrationName),
    /// The change that we make is none.
    #[error(transparent)]
    Change(#[from] ArgumentError),
    /// Our change was not planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The engine did not do what it was started for.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The state schema cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// No connection for replication.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// No slot.
    #[error(transparent)]
    Slot(#[from] SlotError),
    /// The stream ended.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is measured wrongly has no figures.
    #[error("measure {what}: {found} and not {expected}")]
    Wrong {
        /// What was counted or compared.
        what: String,
        /// What is there.
        found: String,
        /// What should be.
        expected: String,
    },
    /// It does not come.
    #[error("wait for {what}: it did not come in {seconds} s")]
    TooLate {
        /// What was waited for.
        what: String,
        /// How long.
        seconds: u64,
    },
}

impl From<tokio::task::JoinError> for BenchError {
    fn from(error: tokio::task::JoinError) -> Self {
        BenchError::Died(error.into())
    }
}
