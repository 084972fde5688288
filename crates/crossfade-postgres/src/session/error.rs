//! What can go wrong between us and a server, classified for whoever must decide what follows.
//!
//! No row's value gets into an error: the server's DETAIL and CONTEXT are left out, and of messages about data
//! everything quoted is masked. Names of tables, columns and constraints stay.

use std::error::Error as _;

use crossfade_core::code::FailureCode;
use tokio_postgres::error::SqlState;

use crate::causes::in_one_line;
use crate::connect::{self, ConnectConfig, Next, StreamError};

/// How much of a statement an error shows, in characters.
const STATEMENT_SHOWN_MAX: usize = 120;

const PREPARED_ELSEWHERE: SqlState = SqlState::INVALID_SQL_STATEMENT_NAME;
const PREPARED_BEFORE: SqlState = SqlState::DUPLICATE_PSTATEMENT;

/// Why a session did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers, not in time, or not with the encryption that was asked for.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The server cannot take us, or not now.
    #[error("connect to {server}: {reason}")]
    CannotConnect {
        /// User, host, port and database.
        server: String,
        /// What happened.
        reason: String,
    },
    /// There is no line in its `pg_hba.conf` that lets us in this way, or the role may not log in.
    #[error("log in to {server}: {reason}")]
    NotLetIn {
        /// User, host, port and database.
        server: String,
        /// What the server said.
        reason: String,
    },
    /// None of several servers will do.
    #[error("connect to a server that takes writes: {reasons}")]
    NoServer {
        /// Of each why.
        reasons: String,
    },
    /// The server answers but does not let us in or do what we need.
    #[error("work on {server}: {reason}")]
    NotPermitted {
        /// User, host, port and database.
        server: String,
        /// What the server said.
        reason: String,
    },
    /// A pooler gives each transaction whatever session is free.
    #[error(
        "work on {server}: sessions there are shared, as by a pooler in transaction mode; connect to PostgreSQL itself, by \
         its own host and port"
    )]
    Pooled {
        /// User, host, port and database.
        server: String,
    },
    /// A balancer gives each connection whichever server it chooses.
    #[error(
        "work on {server}: the address leads to more than one server, to {first} and to {second}; connect to the one that \
         is meant, a primary, by its own host and port"
    )]
    Several {
        /// User, host, port and database.
        server: String,
        /// One of them.
        first: String,
        /// Another one.
        second: String,
    },
    /// A standby.
    #[error(
        "work on {server}: it is in recovery, as a standby, which takes no writes; connect to its primary"
    )]
    InRecovery {
        /// User, host, port and database.
        server: String,
    },
    /// Older than what is served.
    #[error("work on server version {version_num}: PostgreSQL 14 or later is needed")]
    TooOld {
        /// `server_version_num`.
        version_num: u32,
    },
    /// Another cluster than the one expected.
    #[error("recognize {server}: its system identifier is {found} and not {expected}")]
    OtherServer {
        /// User, host, port and database.
        server: String,
        /// The one of the plan.
        expected: u64,
        /// The one found.
        found: u64,
    },
}

impl ConnectError {
    /// Which case it is, for whoever reads `docs/errors.md`.
    pub fn code(&self) -> FailureCode {
        match self {
            ConnectError::Stream(_) | ConnectError::CannotConnect { .. } | ConnectError::NoServer { .. } => {
                FailureCode::CannotConnect
            }
            ConnectError::NotLetIn { .. } | ConnectError::NotPermitted { .. } => FailureCode::NotPermitted,
            ConnectError::Pooled { .. } => FailureCode::Pooler,
            ConnectError::Several { .. } => FailureCode::SeveralServers,
            ConnectError::InRecovery { .. } => FailureCode::InRecovery,
            ConnectError::TooOld { .. } => FailureCode::ServerTooOld,
            ConnectError::OtherServer { .. } => FailureCode::OtherServer,
        }
    }

    pub(super) fn opening(config: &ConnectConfig, error: &tokio_postgres::Error) -> Self {
        let told = SqlError::new("connection start", error);
        let nowhere = told.code() == Some(&SqlState::INVALID_CATALOG_NAME);
        // What is neither the server's word nor a lost connection is ours: no password, no binding, no proof.
        let ours = told.code().is_none() && told.class() == SqlClass::Other;
        if nowhere || ours {
            return ConnectError::NotPermitted {
                server: config.to_string(),
                reason: told.message().to_owned(),
            };
        }
        Self::preparing(config, &told)
    }

    pub(super) fn preparing(config: &ConnectConfig, error: &SqlError) -> Self {
        let server = config.to_string();
        let reason = error.message().to_owned();
        match error.class() {
            // What was prepared a moment ago is prepared in another session.
            _ if error
                .code()
                .is_some_and(|code| [PREPARED_ELSEWHERE, PREPARED_BEFORE].contains(code)) =>
            {
                ConnectError::Pooled { server }
            }
            _ if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
                ConnectError::NotLetIn { server, reason }
            }
            SqlClass::NotPermitted => ConnectError::NotPermitted { server, reason },
            SqlClass::Lost
            | SqlClass::LockTimeout
            | SqlClass::UniqueViolation
            | SqlClass::ExclusionViolation
            | SqlClass::SerializationOrDeadlock
            | SqlClass::Canceled
            | SqlClass::Other => ConnectError::CannotConnect { server, reason },
        }
    }
}

impl connect::Failure for ConnectError {
    fn next(&self) -> Next {
        match self {
            ConnectError::Stream(error) => error.next(),
            ConnectError::NotLetIn { .. } => Next::OtherEncryption,
            ConnectError::CannotConnect { .. } | ConnectError::InRecovery { .. } => Next::OtherServer,
            ConnectError::NotPermitted { .. }
            | ConnectError::TooOld { .. }
            | ConnectError::OtherServer { .. }
            | ConnectError::Pooled { .. }
            | ConnectError::Several { .. }
            | ConnectError::NoServer { .. } => Next::Stop,
        }
    }

    fn of_all(_: &ConnectConfig, reasons: String) -> Self {
        ConnectError::NoServer { reasons }
    }
}

/// A statement that failed.
#[derive(Debug, thiserror::Error)]
#[error("run `{}`: {}{}", .fields.statement, .fields.message, .fields.at())]
pub struct SqlError {
    fields: Box<Fields>,
}

#[derive(Debug)]
struct Fields {
    statement: String,
    code: Option<SqlState>,
    lost: bool,
    message: String,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl Fields {
    /// Code and names, in parentheses.
    fn at(&self) -> String {
        let named = |what: &str, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
        let code = self.code.as_ref().map(|code| format!("SQLSTATE {}", code.code()));
        let all = [
            code,
            named("constraint", &self.constraint),
            named("table", &self.table),
            named("column", &self.column),
        ];
        let shown: Vec<String> = all.into_iter().flatten().collect();
        if shown.is_empty() {
            String::new()
        } else {
            format!(" ({})", shown.join(", "))
        }
    }
}

/// What a failed statement means for whoever ran it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SqlClass {
    /// The connection is gone: what the statement did is not known.
    Lost,
    /// A lock was not granted in time.
    LockTimeout,
    /// A unique key is taken.
    UniqueViolation,
    /// An exclusion constraint stands in the way.
    ExclusionViolation,
    /// A serialization failure or a deadlock: the transaction may be tried again.
    SerializationOrDeadlock,
    /// Our role may not do this.
    NotPermitted,
    /// Somebody, perhaps we, canceled the statement.
    Canceled,
    /// Everything else.
    Other,
}

impl SqlError {
    pub(crate) fn new(statement: &str, error: &tokio_postgres::Error) -> Self {
        let told = error.as_db_error();
        let owned = |name: Option<&str>| name.map(str::to_owned);
        let fields = Fields {
            statement: shorten(statement),
            code: told.map(|told| told.code().clone()),
            lost: told.is_none() && is_lost(error),
            message: told.map_or_else(
                || chain(error),
                |told| without_values(told.code(), told.message()),
            ),
            table: owned(told.and_then(|told| told.table())),
            column: owned(told.and_then(|told| told.column())),
            constraint: owned(told.and_then(|told| told.constraint())),
        };
        SqlError {
            fields: Box::new(fields),
        }
    }

    /// It did not reach the server.
    pub(crate) fn unsent(statement: &str, error: &StreamError) -> Self {
        let fields = Fields {
            statement: shorten(statement),
            code: None,
            lost: true,
            message: in_one_line(error),
            table: None,
            column: None,
            constraint: None,
        };
        SqlError {
            fields: Box::new(fields),
        }
    }

    /// The server's code; `None` when the server did not answer.
    pub fn code(&self) -> Option<&SqlState> {
        self.fields.code.as_ref()
    }

    /// The server's message, or why there is none. Holds no values.
    pub fn message(&self) -> &str {
        &self.fields.message
    }

    /// The beginning of the statement.
    pub fn statement(&self) -> &str {
        &self.fields.statement
    }

    /// The constraint that was violated.
    pub fn constraint(&self) -> Option<&str> {
        self.fields.constraint.as_deref()
    }

    /// It lies in the values of a row, whatever else is in the table: a data exception, a NULL where none may be, a
    /// check, or two rows of one key that come of it.
    pub fn lies_in_a_row(&self) -> bool {
        let code = self.code().map_or("", SqlState::code);
        code.starts_with("22") || matches!(code, "21000" | "23502" | "23514")
    }

    /// What the failure means.
    pub fn class(&self) -> SqlClass {
        match self.code() {
            Some(code) => classify(code),
            None if self.fields.lost => SqlClass::Lost,
            None => SqlClass::Other,
        }
    }
}

fn classify(code: &SqlState) -> SqlClass {
    match code.code() {
        "55P03" => SqlClass::LockTimeout,
        "23505" => SqlClass::UniqueViolation,
        "23P01" => SqlClass::ExclusionViolation,
        "40001" | "40P01" => SqlClass::SerializationOrDeadlock,
        "42501" | "28000" | "28P01" => SqlClass::NotPermitted,
        "57014" => SqlClass::Canceled,
        "57P01" | "57P02" | "57P03" | "57P04" | "57P05" => SqlClass::Lost,
        other if other.starts_with("08") => SqlClass::Lost,
        _ => SqlClass::Other,
    }
}

fn is_lost(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.source().is_some_and(|source| source.is::<std::io::Error>())
}

/// The messages of an error and its causes, each once.
fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let of_tls = source.downcast_ref().and_then(connect::tls_reason);
        let next = of_tls.unwrap_or_else(|| source.to_string());
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = source.source();
    }
    text
}

fn shorten(statement: &str) -> String {
    let line = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(STATEMENT_SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Messages of class 22 (data exceptions) quote what they could not read, and those that functions raise hold
/// whatever their author put in.
fn without_values(code: &SqlState, message: &str) -> String {
    match code.code().get(..2) {
        Some("22") => mask_quoted(message),
        Some("P0") => "a function raised an error (its text may hold values and is not shown)".to_owned(),
        _ => message.to_owned(),
    }
}

/// `for type integer: "abc"` becomes `for type integer: "…"`, from the first quote to the last.
fn mask_quoted(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}\"…\"{}", &message[..first], &message[last + 1..])
        }
        (Some(first), _) => format!("{}\"…", &message[..first]),
        (None, _) => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_reach_messages() {
        let text = |code: &str, message| without_values(&SqlState::from_code(code), message);
        let input = r#"invalid input syntax for type integer: "secret "quoted" value""#;
        assert_eq!(
            text("22P02", input),
            r#"invalid input syntax for type integer: "…""#
        );
        assert_eq!(
            text("22003", r#"value "99" is out of range"#),
            r#"value "…" is out of range"#
        );
        assert!(!text("P0001", "no such customer: Ann").contains("Ann"));
        let unique = r#"duplicate key value violates unique constraint "t_pkey""#;
        assert_eq!(text("23505", unique), unique);
    }

    #[test]
    fn statements_are_shown_short_and_on_one_line() {
        assert_eq!(shorten("SELECT 1\n  FROM t"), "SELECT 1 FROM t");
        assert_eq!(shorten(&"x".repeat(500)).chars().count(), STATEMENT_SHOWN_MAX + 1);
    }

    #[test]
    fn codes_are_classified() {
        let class = |code: &str| classify(&SqlState::from_code(code));
        assert_eq!(class("55P03"), SqlClass::LockTimeout);
        assert_eq!(class("57P01"), SqlClass::Lost);
        assert_eq!(class("40001"), SqlClass::SerializationOrDeadlock);
        assert_eq!(class("42P01"), SqlClass::Other);
    }
}
