//! From a configuration to a connection that is logged in: which servers are tried, and with what encryption.

use std::error::Error;
use std::future::Future;

use tokio::time::timeout;

use super::stream::{self, Encryption, Stream, StreamError};
use super::tls::TlsMode;
use super::{ConnectConfig, Endpoint};
use crate::causes::in_one_line;

/// A way to a server that was found open: a request to cancel takes the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The server.
    pub endpoint: Endpoint,
    /// How the stream to it is.
    pub encryption: Encryption,
}

/// What can still be tried after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// Nothing: the server has said no.
    Stop,
    /// Another server.
    OtherServer,
    /// This server without encryption, which it does not offer; then another server.
    WithoutEncryption,
    /// This server the other way, with encryption or without: it does not take us this way. Then another server.
    OtherEncryption,
}

/// What an attempt fails with.
pub trait Failure: From<StreamError> + Error + 'static {
    /// What can still be tried.
    fn next(&self) -> Next;

    /// None of several servers would do; `reasons` says of each why.
    fn of_all(config: &ConnectConfig, reasons: String) -> Self;
}

impl StreamError {
    /// What can still be tried.
    pub fn next(&self) -> Next {
        match self {
            StreamError::NoTls { .. } => Next::WithoutEncryption,
            StreamError::Tls { .. } => Next::OtherEncryption,
            StreamError::Unreachable { .. } | StreamError::TimedOut { .. } => Next::OtherServer,
            StreamError::TlsFile { optional: true, .. } => Next::OtherEncryption,
            StreamError::TlsFile { optional: false, .. } => Next::Stop,
        }
    }
}

impl Route {
    /// Opens another stream this way, within the time that a connection has.
    ///
    /// # Errors
    /// [`StreamError`].
    pub async fn open(&self, config: &ConnectConfig) -> Result<Stream, StreamError> {
        let opening = Stream::open(config, &self.endpoint, self.encryption);
        let opened = timeout(config.connect_timeout, opening).await;
        opened.unwrap_or_else(|_| Err(timed_out(config, &self.endpoint)))
    }
}

/// Logs in to the first server that lets us, with the encryption that `sslmode` says. Each server has
/// `connect_timeout`. What is no failure to reach it, or to be let in by it, ends the search.
///
/// # Errors
/// The last server's failure, or all of them in one.
///
/// # Cancel safety
/// Dropping the future closes what is open.
pub async fn establish<T, E, L, F>(config: &ConnectConfig, login: L) -> Result<T, E>
where
    E: Failure,
    L: Fn(Route, Stream) -> F,
    F: Future<Output = Result<T, E>>,
{
    let mut failures: Vec<(&Endpoint, E)> = Vec::new();
    for endpoint in &config.endpoints {
        let attempt = timeout(config.connect_timeout, at(config, endpoint, &login)).await;
        match attempt.unwrap_or_else(|_| Err(timed_out(config, endpoint).into())) {
            Ok(established) => return Ok(established),
            Err(error) if error.next() == Next::Stop => return Err(error),
            Err(error) => failures.push((endpoint, error)),
        }
    }
    // Where every server says no, it is a no.
    let all_say_no = failures
        .iter()
        .all(|(_, error)| error.next() == Next::OtherEncryption);
    if (all_say_no || failures.len() == 1)
        && let Some((_, last)) = failures.pop()
    {
        return Err(last);
    }
    let reasons = failures
        .iter()
        .map(|(endpoint, error)| format!("{endpoint}: {}", in_one_line(error)));
    Err(E::of_all(config, reasons.collect::<Vec<_>>().join("; ")))
}

async fn at<T, E, L, F>(config: &ConnectConfig, endpoint: &Endpoint, login: &L) -> Result<T, E>
where
    E: Failure,
    L: Fn(Route, Stream) -> F,
    F: Future<Output = Result<T, E>>,
{
    let (first, second) = encryptions(config, endpoint);
    let once = async |encryption| {
        let stream = Stream::open(config, endpoint, encryption).await?;
        let mut route = Route {
            endpoint: endpoint.clone(),
            encryption,
        };
        route.endpoint.address = stream.address();
        login(route, stream).await
    };
    let error = match (once(first).await, second) {
        (Err(error), Some(_)) if error.next() >= Next::WithoutEncryption => error,
        (outcome, _) => return outcome,
    };
    let Some(second) = second else {
        return Err(error);
    };
    match once(second).await {
        // The way that was preferred says more than the other, unless it says only that it is closed.
        Err(other) if other.next() >= Next::WithoutEncryption && error.next() == Next::OtherEncryption => {
            Err(error)
        }
        outcome => outcome,
    }
}

/// The one to try, and the one to try then.
fn encryptions(config: &ConnectConfig, endpoint: &Endpoint) -> (Encryption, Option<Encryption>) {
    if endpoint.socket().is_some() {
        return (Encryption::Plain, None);
    }
    match config.tls.mode {
        TlsMode::Disable => (Encryption::Plain, None),
        TlsMode::Allow => (Encryption::Plain, Some(Encryption::Tls)),
        TlsMode::Prefer => (Encryption::Tls, Some(Encryption::Plain)),
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => (Encryption::Tls, None),
    }
}

fn timed_out(config: &ConnectConfig, endpoint: &Endpoint) -> StreamError {
    StreamError::TimedOut {
        address: stream::address(endpoint),
        after: config.connect_timeout,
    }
}
