//! Asks the server, on a second socket, to give up what a connection is doing.

use std::fmt;

use bytes::BytesMut;
use crossfade_postgres::connect::{ConnectConfig, Route};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::TransportError;
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
    config: ConnectConfig,
    route: Route,
    key: BackendKey,
}

impl Canceller {
    pub(super) fn new(config: &ConnectConfig, route: Route, key: BackendKey) -> Self {
        Canceller {
            config: config.clone(),
            route,
            key,
        }
    }

    /// Delivers the request. Whether there was anything to interrupt shows on the connection itself: its
    /// command fails with SQLSTATE 57014, or has succeeded.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn cancel(&self) -> Result<(), TransportError> {
        let mut stream = self.route.open(&self.config).await?;
        let mut out = BytesMut::new();
        frontend::cancel_request(self.key.process, self.key.secret, &mut out);
        let written = async {
            stream.write_all(&out).await?;
            stream.flush().await
        };
        written.await.map_err(|source| WireError::Write { source })?;
        // The server closes the stream once it has passed the request on. How it does so says nothing, nor whether it
        // is done in time.
        drop(timeout(self.config.connect_timeout, stream.read(&mut [0])).await);
        Ok(())
    }
}
