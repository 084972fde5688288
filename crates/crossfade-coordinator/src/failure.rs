//! What can go wrong while commands are performed, by what must follow.

use crossfade_applier::{ApplyError, ApplyErrorClass};
use crossfade_copier::{CopyError, CopyErrorClass};
use crossfade_core::code::{FailureCode, RefusalCode};
use crossfade_postgres::apply::fetch::FetchError;
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::planner::PlanError;
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
        /// Which case it is.
        code: FailureCode,
        /// Why.
        reason: String,
    },
    /// The change is not run as things are; nothing was touched.
    #[error("{reason}")]
    Refused {
        /// Which case it is.
        code: RefusalCode,
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
        /// Which case it is.
        code: FailureCode,
        /// What failed.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
    /// An operator must decide.
    #[error("{reason}")]
    NeedsOperator {
        /// Which case it is.
        code: FailureCode,
        /// What was found.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
}

impl Failure {
    /// The server is out of reach, or does not let us.
    pub(crate) fn no_access(code: FailureCode, reason: impl std::fmt::Display) -> Self {
        Failure::NoAccess {
            code,
            reason: reason.to_string(),
        }
    }

    /// A failure that repeating does not mend.
    pub(crate) fn stopped(code: FailureCode, reason: impl std::fmt::Display, remedy: &str) -> Self {
        Failure::Stopped {
            code,
            reason: reason.to_string(),
            remedy: remedy.to_owned(),
        }
    }

    /// The same, with what it is about in front of the reason.
    pub(crate) fn about(mut self, what: &str) -> Self {
        match &mut self {
            Failure::NoAccess { reason, .. }
            | Failure::Refused { reason, .. }
            | Failure::Stopped { reason, .. }
            | Failure::NeedsOperator { reason, .. }
            | Failure::Lost { what: reason } => reason.insert_str(0, what),
            Failure::Superseded => {}
        }
        self
    }

    /// A state of things that only a person can judge.
    pub(crate) fn needs_operator(code: FailureCode, reason: impl std::fmt::Display, remedy: &str) -> Self {
        Failure::NeedsOperator {
            code,
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
            SqlClass::NotPermitted => Failure::no_access(FailureCode::NotPermitted, error),
            SqlClass::LockTimeout => Failure::stopped(
                FailureCode::LockNotGranted,
                error,
                "Find who holds the lock, then go on with `crossfade continue`.",
            ),
            SqlClass::UniqueViolation | SqlClass::ExclusionViolation | SqlClass::Other => Failure::stopped(
                FailureCode::StatementFailed,
                error,
                "Mend the cause, then go on with `crossfade continue`, or `crossfade abort`.",
            ),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        let code = error.code();
        match error {
            ConnectError::Stream(_) | ConnectError::CannotConnect { .. } | ConnectError::NoServer { .. } => {
                Failure::Lost {
                    what: in_one_line(&error),
                }
            }
            ConnectError::NotPermitted { .. }
            | ConnectError::NotLetIn { .. }
            | ConnectError::Pooled { .. }
            | ConnectError::Several { .. } => Failure::no_access(code, error),
            ConnectError::InRecovery { .. }
            | ConnectError::TooOld { .. }
            | ConnectError::OtherServer { .. } => Failure::needs_operator(
                code,
                error,
                "Point the connection at the server that the migration began on.",
            ),
        }
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error.class() {
            TransportErrorClass::CannotConnect | TransportErrorClass::Closed => Failure::Lost {
                what: in_one_line(&error),
            },
            TransportErrorClass::NotPermitted => match error {
                TransportError::WrongServer(error) => (*error).into(),
                TransportError::Pooler { .. } => Failure::no_access(FailureCode::Pooler, in_one_line(&error)),
                error => Failure::no_access(FailureCode::NotPermitted, in_one_line(&error)),
            },
            TransportErrorClass::Refused => Failure::stopped(
                FailureCode::ReplicationRefused,
                in_one_line(&error),
                "Mend what the server complains about (`crossfade plan` looks for it), then `crossfade continue`.",
            ),
            TransportErrorClass::Violation => Failure::stopped(
                FailureCode::ProtocolViolation,
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
                FailureCode::SlotSnapshotTooLarge,
                error,
                "Let transactions with very many subtransactions end first, then `crossfade continue`.",
            ),
            SlotError::Exists { .. } | SlotError::Missing { .. } => Failure::stopped(
                FailureCode::SlotChanged,
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
            DropSlotError::InUse { .. } => Failure::stopped(
                FailureCode::SlotInUse,
                error,
                "End that process, then `crossfade continue`.",
            ),
        }
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Sql(error) => error.into(),
            StateError::Superseded { .. } => Failure::Superseded,
            StateError::NotEnding { .. } => Failure::stopped(
                FailureCode::SessionsNotEnding,
                error,
                "Look for them in pg_stat_activity by application_name, and end them.",
            ),
            StateError::Busy { .. } => Failure::stopped(
                FailureCode::EngineBusy,
                error,
                "Stop that engine, or let it do the work.",
            ),
            StateError::Unknown { name } => Failure::Refused {
                code: RefusalCode::UnknownMigration,
                object: format!("migration {name}"),
                reason: "There is none of that name in this database.".to_owned(),
                remedy: "`crossfade status` lists all migrations.",
            },
            StateError::OtherPlan { name, phase } => Failure::Refused {
                code: RefusalCode::NameTaken,
                object: format!("migration {name}"),
                reason: format!("It is {phase}, and has another plan."),
                remedy: "Choose another --name, or go on with `crossfade continue`.",
            },
            StateError::TableTaken { table, name } => Failure::Refused {
                code: RefusalCode::TableTaken,
                object: table,
                reason: format!("Migration `{name}` works on it."),
                remedy: "Finish that migration, or `crossfade abort` it.",
            },
            StateError::Newer { .. } => Failure::needs_operator(
                FailureCode::StateSchemaNewer,
                error,
                "Use the release of crossfade that wrote it, or a later one.",
            ),
            StateError::Changed { .. } | StateError::Unreadable { .. } => Failure::needs_operator(
                FailureCode::StateSchemaChanged,
                error,
                "Somebody has changed the state schema: compare it with the release's.",
            ),
        }
    }
}

const MEND: &str =
    "The source is untouched. Mend the cause, then `crossfade continue`, or `crossfade abort`.";

/// Of what cannot be.
pub(crate) const DEFECT: &str = "This is a defect of crossfade: please report it.";

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
                CopyError::Row { .. } => {
                    Failure::stopped(FailureCode::RowNotCopied, in_one_line(&error), MEND_ROW)
                }
                CopyError::Key(error) => error.into(),
                CopyError::Snapshot(error) => SnapshotError::Parse(error).into(),
                CopyError::NoKey | CopyError::NotOpened => {
                    Failure::stopped(FailureCode::Defect, error, DEFECT)
                }
                CopyError::SourceChanged { .. } => Failure::needs_operator(
                    FailureCode::SourceRewritten,
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
                error => Failure::needs_operator(FailureCode::ChangeNotApplied, in_one_line(&error), MEND),
            },
        }
    }
}

impl From<SnapshotError> for Failure {
    fn from(error: SnapshotError) -> Self {
        match error {
            SnapshotError::Sql(error) => error.into(),
            SnapshotError::Parse(error) => Failure::stopped(
                FailureCode::SnapshotNotUnderstood,
                error,
                "This server's snapshots have a form that is not known: please report it.",
            ),
        }
    }
}

impl From<PlanError> for Failure {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Sql(error) => error.into(),
            error => Failure::stopped(FailureCode::Defect, in_one_line(&error), DEFECT),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        match error {
            FetchError::Sql(error) => error.into(),
            error => Failure::needs_operator(FailureCode::RowNotFetched, in_one_line(&error), MEND),
        }
    }
}

#[cfg(test)]
mod tests {
    use crossfade_core::code::Ending;

    use super::*;

    #[test]
    fn a_connection_that_is_not_made_ends_as_its_code_says() {
        let server = || "app@db:5432/shop".to_owned();
        let reason = || "no".to_owned();
        let errors = [
            ConnectError::NotLetIn {
                server: server(),
                reason: reason(),
            },
            ConnectError::NotPermitted {
                server: server(),
                reason: reason(),
            },
            ConnectError::Pooled { server: server() },
            ConnectError::Several {
                server: server(),
                first: server(),
                second: server(),
            },
            ConnectError::InRecovery { server: server() },
            ConnectError::TooOld { version_num: 130_000 },
            ConnectError::OtherServer {
                server: server(),
                expected: 1,
                found: 2,
            },
        ];
        for error in errors {
            let expected = error.code().ending();
            let found = match Failure::from(error) {
                Failure::NoAccess { .. } => Ending::NoAccess,
                Failure::NeedsOperator { .. } => Ending::NeedsOperator,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, expected);
        }
    }
}
