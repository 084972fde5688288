//! Why a piece was not applied.

use crossfade_core::position::Lsn;
use crossfade_postgres::apply::encode::EncodeError;
use crossfade_postgres::session::{SqlClass, SqlError};

/// Why a piece was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The piece cannot be sent.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Another engine has taken over.
    #[error("apply a batch of {name}: another engine has taken over")]
    Superseded {
        /// The migration's name.
        name: String,
    },
    /// Puts keep columns of rows that the target does not have (R16).
    #[error("keep unchanged columns in {table}: {missing} of its rows are missing")]
    KeepWithoutRow {
        /// The target.
        table: String,
        /// How many.
        missing: u64,
    },
    /// The rows violate a constraint of the target, also with all touched rows taken out first (R19).
    #[error("write {rows} rows to {table}: they violate its constraint {constraint}")]
    Violation {
        /// The target.
        table: String,
        /// The constraint.
        constraint: String,
        /// Rows written by the statement's piece.
        rows: usize,
        /// What the server said.
        #[source]
        source: SqlError,
    },
    /// The same, in a batch with rows that were fetched: these come from the future, and what they collide with may be
    /// changed by a later piece. Taken anew, later, the batch holds more of it.
    #[error(
        "write {rows} rows to {table}: they violate its constraint {constraint}, perhaps only because some were fetched"
    )]
    ViolationAhead {
        /// The target.
        table: String,
        /// The constraint.
        constraint: String,
        /// Rows written by the statement's piece.
        rows: usize,
    },
    /// Rows to remove, in a table without a key.
    #[error("remove rows from {table}: it has no key")]
    NoKey {
        /// The target.
        table: String,
    },
    /// A first piece while a batch is open, or another one while none is.
    #[error("apply a piece out of its batch's order")]
    OutOfOrder,
    /// There is no position, or it is already beyond.
    #[error("move the applied position to {to}: there is none, or it is already beyond")]
    PositionNotMoved {
        /// Where to.
        to: Lsn,
    },
}

/// What follows from an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyErrorClass {
    /// The connection is gone; another one may do.
    Lost,
    /// Another engine has taken over: stop.
    Superseded,
    /// Somebody was in the way or canceled it: the batch may be tried again.
    Transient,
    /// The data or the definition stand in the way: stop and say so.
    Real,
}

impl ApplyError {
    /// As an error of a batch that has, or has not, rows that were fetched.
    pub(crate) fn of_batch(self, fetched: bool) -> Self {
        match self {
            ApplyError::Violation {
                table,
                constraint,
                rows,
                ..
            } if fetched => ApplyError::ViolationAhead {
                table,
                constraint,
                rows,
            },
            error => error,
        }
    }

    /// See [`SqlError::lies_in_a_row`].
    pub fn lies_in_a_row(&self) -> bool {
        match self {
            ApplyError::Sql(error) | ApplyError::Violation { source: error, .. } => error.lies_in_a_row(),
            ApplyError::Encode(_)
            | ApplyError::Superseded { .. }
            | ApplyError::KeepWithoutRow { .. }
            | ApplyError::ViolationAhead { .. }
            | ApplyError::NoKey { .. }
            | ApplyError::OutOfOrder
            | ApplyError::PositionNotMoved { .. } => false,
        }
    }

    /// What follows from it.
    pub fn class(&self) -> ApplyErrorClass {
        match self {
            ApplyError::Sql(error) => of_sql(error.class()),
            ApplyError::Superseded { .. } => ApplyErrorClass::Superseded,
            ApplyError::ViolationAhead { .. } => ApplyErrorClass::Transient,
            ApplyError::Encode(_)
            | ApplyError::KeepWithoutRow { .. }
            | ApplyError::Violation { .. }
            | ApplyError::NoKey { .. }
            | ApplyError::OutOfOrder
            | ApplyError::PositionNotMoved { .. } => ApplyErrorClass::Real,
        }
    }
}

fn of_sql(class: SqlClass) -> ApplyErrorClass {
    match class {
        SqlClass::Lost => ApplyErrorClass::Lost,
        SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock | SqlClass::Canceled => {
            ApplyErrorClass::Transient
        }
        SqlClass::UniqueViolation
        | SqlClass::ExclusionViolation
        | SqlClass::NotPermitted
        | SqlClass::Other => ApplyErrorClass::Real,
    }
}

/// Whether taking all touched rows out first may help.
pub(crate) fn may_be_swapped_values(error: &SqlError) -> bool {
    match error.class() {
        SqlClass::UniqueViolation | SqlClass::ExclusionViolation => true,
        SqlClass::Lost
        | SqlClass::LockTimeout
        | SqlClass::SerializationOrDeadlock
        | SqlClass::NotPermitted
        | SqlClass::Canceled
        | SqlClass::Other => false,
    }
}
