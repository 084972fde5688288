//! Why there is no connection, or none any more.

use std::io;
use std::time::Duration;

use crate::server_error::{ServerError, Verdict};
use crate::violation::Violation;
use crate::wire::WireError;

/// Why a connection could not be opened or a command could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is nobody at the address.
    #[error("reach the server at {address}")]
    CannotConnect {
        /// Host and port, or the socket's path.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Opening took too long.
    #[error("reach the server at {address} within {after:?}")]
    ConnectTimeout {
        /// Host and port, or the socket's path.
        address: String,
        /// The limit.
        after: Duration,
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
    /// We may not come in, or may not do this.
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
            TransportError::CannotConnect { .. } | TransportError::ConnectTimeout { .. } => CannotConnect,
            TransportError::PasswordMissing
            | TransportError::MethodNotSupported { .. }
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

impl From<Violation> for TransportError {
    fn from(violation: Violation) -> Self {
        TransportError::Wire(WireError::Violation(violation))
    }
}
