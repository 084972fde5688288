//! Why there is no connection, or none any more.

use std::io;

use crossfade_postgres::connect::{ConnectConfig, Failure, Next, StreamError};
use crossfade_postgres::session::ConnectError;

use crate::server_error::{ServerError, Verdict};
use crate::violation::Violation;
use crate::wire::WireError;

/// `invalid_authorization_specification`: no line of `pg_hba.conf` lets us in this way.
const NOT_LET_IN: &str = "28000";

/// Why a connection could not be opened or a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nobody answers, not in time, or not with the encryption that was asked for.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It is not the server that is meant, or not alone.
    #[error(transparent)]
    WrongServer(Box<ConnectError>),
    /// None of several servers will do.
    #[error("connect to a server that takes writes: {reasons}")]
    NoServer {
        /// Of each why.
        reasons: String,
    },
    /// The server wants a password.
    #[error("log in: the server asks for a password and none is known")]
    PasswordMissing,
    /// The server wants something that is not built here.
    #[error("log in: the server asks for {method}, which is not supported")]
    MethodNotSupported {
        /// The method.
        method: &'static str,
    },
    /// `channel_binding=require`, and the exchange would not be bound to anything.
    #[error("log in: channel_binding=require, and {reason}")]
    NotBound {
        /// What is missing.
        reason: &'static str,
    },
    /// The SCRAM exchange failed on our side, for instance because the server does not know the password.
    #[error("log in: the SCRAM exchange failed")]
    Scram {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A name or command with a zero byte in it.
    #[error("{during}: it cannot be put into a message")]
    Encode {
        /// What was going on.
        during: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It does not know what a connection for replication is.
    #[error(
        "log in for replication: this is a pooler and not PostgreSQL itself, whose own host and port are needed"
    )]
    Pooler {
        /// What it said.
        #[source]
        source: Box<ServerError>,
    },
    /// The server refused.
    #[error("{during}")]
    Server {
        /// What was going on.
        during: &'static str,
        /// What it said.
        #[source]
        source: Box<ServerError>,
    },
    /// The connection broke or makes no sense.
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// What to do about a [`TransportError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportErrorClass {
    /// The server is not there, or not ready: later it may be.
    CannotConnect,
    /// We may not come in, or may not do this, or not there.
    NotPermitted,
    /// The connection was there and is gone.
    Closed,
    /// The server refused for a reason that the caller must look at.
    Refused,
    /// The other side does not speak our protocol.
    Violation,
}

impl TransportError {
    /// What to do about it.
    pub fn class(&self) -> TransportErrorClass {
        use TransportErrorClass::{CannotConnect, Closed, NotPermitted, Refused, Violation};
        match self {
            TransportError::Stream(_) | TransportError::NoServer { .. } => CannotConnect,
            TransportError::WrongServer(_)
            | TransportError::PasswordMissing
            | TransportError::MethodNotSupported { .. }
            | TransportError::NotBound { .. }
            | TransportError::Pooler { .. }
            | TransportError::Scram { .. } => NotPermitted,
            TransportError::Encode { .. } => Refused,
            TransportError::Server { source, .. } => match source.verdict() {
                Verdict::NotPermitted => NotPermitted,
                Verdict::TryLater => CannotConnect,
                Verdict::Again
                | Verdict::InUse
                | Verdict::Missing
                | Verdict::Exists
                | Verdict::Unusable
                | Verdict::Other => Refused,
            },
            TransportError::Wire(WireError::Violation(_)) => Violation,
            TransportError::Wire(WireError::Closed | WireError::Read { .. } | WireError::Write { .. }) => {
                Closed
            }
        }
    }
}

impl Failure for TransportError {
    fn next(&self) -> Next {
        match self {
            TransportError::Stream(error) => error.next(),
            TransportError::WrongServer(error) => error.next(),
            TransportError::Server { source, .. } if source.sqlstate == NOT_LET_IN => Next::OtherEncryption,
            error => match error.class() {
                TransportErrorClass::CannotConnect | TransportErrorClass::Closed => Next::OtherServer,
                TransportErrorClass::NotPermitted
                | TransportErrorClass::Refused
                | TransportErrorClass::Violation => Next::Stop,
            },
        }
    }

    fn of_all(_: &ConnectConfig, reasons: String) -> Self {
        TransportError::NoServer { reasons }
    }
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        TransportError::WrongServer(Box::new(error))
    }
}

impl From<Violation> for TransportError {
    fn from(violation: Violation) -> Self {
        TransportError::Wire(WireError::Violation(violation))
    }
}
