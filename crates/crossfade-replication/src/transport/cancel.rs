//! Asks the server, on a second socket, to give up what a connection is doing.

use std::fmt;

use bytes::BytesMut;
use crossfade_postgres::connect::{ConnectConfig, Host};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Duration, timeout};

use super::TransportError;
use crate::socket::{self, Socket};
use crate::wire::WireError;

/// The numbers by which a server knows a session it is asked to interrupt.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct BackendKey {
    pub(super) process: i32,
    pub(super) secret: i32,
}

impl fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendKey({}, ***)", self.process)
    }
}

/// Interrupts the command that a [`Connection`](super::Connection) is running, from outside.
#[derive(Clone, Debug)]
pub struct Canceller {
    host: Host,
    port: u16,
    limit: Duration,
    key: BackendKey,
}

impl Canceller {
    pub(super) fn new(config: &ConnectConfig, key: BackendKey) -> Self {
        Canceller {
            host: config.host.clone(),
            port: config.port,
            limit: config.connect_timeout,
            key,
        }
    }

    /// Delivers the request. Whether there was anything to interrupt shows on the connection itself: its
    /// command fails with SQLSTATE 57014, or has succeeded.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), TransportError> {
        let address = || socket::address(&self.host, self.port);
        let deliver = async {
            let mut socket = Socket::open(&self.host, self.port).await.map_err(|source| {
                TransportError::CannotConnect {
                    address: address(),
                    source,
                }
            })?;
            let mut out = BytesMut::new();
            frontend::cancel_request(self.key.process, self.key.secret, &mut out);
            socket
                .write_all(&out)
                .await
                .map_err(|source| WireError::Write { source })?;
            // The server closes the socket once it has passed the request on. How it does so says nothing.
            drop(socket.read(&mut [0]).await);
            Ok(())
        };
        timeout(self.limit, deliver).await.unwrap_or_else(|_| {
            Err(TransportError::ConnectTimeout {
                address: address(),
                after: self.limit,
            })
        })
    }
}
