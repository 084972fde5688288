//! What can go wrong while commands are performed, by what must follow.

use crossfade_applier::{ApplyError, ApplyErrorClass};
use crossfade_copier::{CopyError, CopyErrorClass};
use crossfade_postgres::apply::fetch::FetchError;
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::session::{ConnectError, SqlClass, SqlError};
use crossfade_postgres::slot::DropSlotError;
use crossfade_postgres::state::StateError;
use crossfade_postgres::wal::SnapshotError;
use crossfade_replication::slot::SlotError;
use crossfade_replication::transport::{TransportError, TransportErrorClass};

/// A command that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A connection is gone, and with it whatever was not committed. The engine begins again from its durable
    /// state.
    #[error("{what}")]
    Lost {
        /// What was being done.
        what: String,
    },
    /// Another engine has taken this migration over (R24).
    #[error("go on: another engine works on this migration, or it was aborted")]
    Superseded,
    /// The server cannot be reached, or does not let us do what we need.
    #[error("{reason}")]
    NoAccess {
        /// Why.
        reason: String,
    },
    /// The change is not run as things are; nothing was touched.
    #[error("{reason}")]
    Refused {
        /// A stable word.
        code: &'static str,
        /// What it is about.
        object: String,
        /// Why.
        reason: String,
        /// What to do next, as a sentence.
        remedy: &'static str,
    },
    /// Something failed that will fail again; the source is untouched.
    #[error("{reason}")]
    Stopped {
        /// What failed.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
    /// An operator must decide.
    #[error("{reason}")]
    NeedsOperator {
        /// What was found.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
}

impl Failure {
    /// A failure that repeating does not mend.
    pub(crate) fn stopped(reason: impl std::fmt::Display, remedy: &str) -> Self {
        Failure::Stopped {
            reason: reason.to_string(),
            remedy: remedy.to_owned(),
        }
    }

    /// The same, with what it is about in front of the reason.
    pub(crate) fn about(mut self, what: &str) -> Self {
        match &mut self {
            Failure::NoAccess { reason }
            | Failure::Refused { reason, .. }
            | Failure::Stopped { reason, .. }
            | Failure::NeedsOperator { reason, .. }
            | Failure::Lost { what: reason } => reason.insert_str(0, what),
            Failure::Superseded => {}
        }
        self
    }

    /// A state of things that only a person can judge.
    pub(crate) fn needs_operator(reason: impl std::fmt::Display, remedy: &str) -> Self {
        Failure::NeedsOperator {
            reason: reason.to_string(),
            remedy: remedy.to_owned(),
        }
    }
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        match error.class() {
            SqlClass::Lost | SqlClass::Canceled | SqlClass::SerializationOrDeadlock => Failure::Lost {
                what: error.to_string(),
            },
            SqlClass::NotPermitted => Failure::NoAccess {
                reason: error.to_string(),
            },
            SqlClass::LockTimeout => Failure::stopped(
                error,
                "Find who holds the lock, then go on with `crossfade continue`.",
            ),
            SqlClass::UniqueViolation | SqlClass::ExclusionViolation | SqlClass::Other => Failure::stopped(
                error,
                "Mend the cause, then go on with `crossfade continue`, or `crossfade abort`.",
            ),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Stream(_) | ConnectError::CannotConnect { .. } | ConnectError::NoServer { .. } => {
                Failure::Lost {
                    what: in_one_line(&error),
                }
            }
            ConnectError::NotPermitted { .. }
            | ConnectError::NotLetIn { .. }
            | ConnectError::Pooled { .. } => Failure::NoAccess {
                reason: error.to_string(),
            },
            ConnectError::InRecovery | ConnectError::TooOld { .. } | ConnectError::OtherServer { .. } => {
                Failure::needs_operator(
                    error,
                    "Point the connection at the server that the migration began on.",
                )
            }
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error.class() {
            TransportErrorClass::CannotConnect | TransportErrorClass::Closed => Failure::Lost {
                what: in_one_line(&error),
            },
            TransportErrorClass::NotPermitted => Failure::NoAccess {
                reason: in_one_line(&error),
            },
            TransportErrorClass::Refused => Failure::stopped(
                in_one_line(&error),
                "Mend what the server complains about (`crossfade plan` looks for it), then `crossfade continue`.",
            ),
            TransportErrorClass::Violation => Failure::stopped(
                in_one_line(&error),
                "Connect to PostgreSQL itself, not through a pooler.",
            ),
        }
    }
}

impl From<SlotError> for Failure {
    fn from(error: SlotError) -> Self {
        match error {
            SlotError::Transport(error) => error.into(),
            SlotError::SnapshotTooLarge { .. } => Failure::stopped(
                error,
                "Let transactions with very many subtransactions end first, then `crossfade continue`.",
            ),
            SlotError::Exists { .. } | SlotError::Missing { .. } => Failure::stopped(
                error,
                "See who made or dropped it (`pg_replication_slots`), then `crossfade continue`.",
            ),
        }
    }
}

impl From<DropSlotError> for Failure {
    fn from(error: DropSlotError) -> Self {
        match error {
            DropSlotError::Sql(error) => error.into(),
            DropSlotError::InUse { .. } => {
                Failure::stopped(error, "End that process, then `crossfade continue`.")
            }
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Sql(error) => error.into(),
            StateError::Superseded { .. } => Failure::Superseded,
            StateError::NotEnding { .. } => Failure::stopped(
                error,
                "Look for them in pg_stat_activity by application_name, and end them.",
            ),
            StateError::Busy { .. } => Failure::stopped(error, "Stop that engine, or let it do the work."),
            StateError::Unknown { name } => Failure::Refused {
                code: "unknown_migration",
                object: format!("migration {name}"),
                reason: "There is none of that name in this database.".to_owned(),
                remedy: "`crossfade status` lists all migrations.",
            },
            StateError::OtherPlan { name, phase } => Failure::Refused {
                code: "name_taken",
                object: format!("migration {name}"),
                reason: format!("It is {phase}, and has another plan."),
                remedy: "Choose another --name, or go on with `crossfade continue`.",
            },
            StateError::TableTaken { table, name } => Failure::Refused {
                code: "table_taken",
                object: table,
                reason: format!("Migration `{name}` works on it."),
                remedy: "Finish that migration, or `crossfade abort` it.",
            },
            StateError::Newer { .. } => Failure::needs_operator(
                error,
                "Use the release of crossfade that wrote it, or a later one.",
            ),
            StateError::Changed { .. } | StateError::Unreadable { .. } => Failure::needs_operator(
                error,
                "Somebody has changed the state schema: compare it with the release's.",
            ),
        }
    }
}

const MEND: &str =
    "The source is untouched. Mend the cause, then `crossfade continue`, or `crossfade abort`.";

const MEND_ROW: &str = "The source is untouched. Change that row, then `crossfade continue`; or `crossfade abort`, and \
                        change the expression.";

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Self {
        match error.class() {
            CopyErrorClass::Lost | CopyErrorClass::Canceled => Failure::Lost {
                what: error.to_string(),
            },
            CopyErrorClass::Superseded => Failure::Superseded,
            CopyErrorClass::Again | CopyErrorClass::Real => match error {
                CopyError::Sql(error) => error.into(),
                CopyError::State(error) => error.into(),
                CopyError::Row { .. } => Failure::stopped(in_one_line(&error), MEND_ROW),
                CopyError::Key(error) => error.into(),
                CopyError::Snapshot(_) | CopyError::NoKey | CopyError::NotOpened => {
                    Failure::stopped(error, MEND)
                }
                CopyError::SourceChanged { .. } => Failure::needs_operator(
                    error,
                    "The source is untouched. `crossfade abort`, then plan the change again.",
                ),
            },
        }
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        match error.class() {
            ApplyErrorClass::Lost | ApplyErrorClass::Transient => Failure::Lost {
                what: error.to_string(),
            },
            ApplyErrorClass::Superseded => Failure::Superseded,
            ApplyErrorClass::Real => match error {
                ApplyError::Sql(error) => error.into(),
                error => Failure::needs_operator(in_one_line(&error), MEND),
            },
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Sql(error) => error.into(),
            SnapshotError::Parse(error) => Failure::stopped(
                error,
                "This server's snapshots have a form that is not known: please report it.",
            ),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Sql(error) => error.into(),
            error => Failure::needs_operator(in_one_line(&error), MEND),
        }
    }
}
