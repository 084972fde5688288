//! Does one address lead to several servers, as a balancer's does? A snapshot, a slot or a lock of one is not on the other.
//!
//! A server that is not the one that is meant may also be there alone: it is said that there are several only once two of
//! them were seen. Where several hosts are named there is nothing to say.

use std::fmt;

use super::{ConnectError, Session, SessionOptions};
use crate::connect::{self, ConnectConfig};

/// How many sessions are opened to see another server, before anything is begun.
pub(super) const LOOKS_FIRST: usize = 3;

/// The same where the server that was met is not the one that is meant: of two between which a balancer draws lots, one
/// hides from so many less often than once in a hundred times.
const LOOKS_MAX: usize = 8;

/// A server, as it knows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) system_identifier: u64,
    pub(super) in_recovery: bool,
    /// When its postmaster was: it tells apart the servers of one cluster too, and stays what it is at a promotion.
    pub(super) started: String,
    /// Host and port as it sees them; `None` by a socket.
    pub(super) address: Option<(String, i32)>,
}

impl Server {
    pub(super) fn is(&self, other: &Server) -> bool {
        self.system_identifier == other.system_identifier && self.started == other.started
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some((host, port)) if host.contains(':') => write!(f, "[{host}]:{port}")?,
            Some((host, port)) => write!(f, "{host}:{port}")?,
            None => f.write_str("one by its socket")?,
        }
        let what = if self.in_recovery {
            "a standby"
        } else {
            "a primary"
        };
        write!(f, " ({what}, system identifier {})", self.system_identifier)
    }
}

impl ConnectError {
    /// That there are several servers, if that is why the one that was met is not the one that is meant.
    pub async fn or_several(self, config: &ConnectConfig) -> ConnectError {
        let wrong = matches!(
            self,
            ConnectError::InRecovery { .. } | ConnectError::OtherServer { .. }
        );
        match wrong {
            true => look(config, LOOKS_MAX).await.unwrap_or(self),
            false => self,
        }
    }
}

/// Opens sessions beside each other until two of them are on different servers. They stay open meanwhile: a balancer may
/// give each new one to whichever server has fewest.
pub(super) async fn look(config: &ConnectConfig, looks: usize) -> Option<ConnectError> {
    if config.endpoints.len() > 1 {
        return None;
    }
    let options = SessionOptions::default();
    let mut held: Vec<Session> = Vec::new();
    while held.len() < looks {
        let opening = connect::establish(config, |route, stream| {
            Session::log_in(config, &options, route, stream)
        });
        let session = opening.await.ok()?;
        if let Some(other) = held.iter().find(|other| !other.server.is(&session.server)) {
            return Some(ConnectError::Several {
                server: config.to_string(),
                first: other.server.to_string(),
                second: session.server.to_string(),
            });
        }
        // A balancer that takes turns gives the same server to whoever asks for encryption first, and then without it, by
        // two connections each: one more in between shifts that.
        if held.len() % 2 == 1 {
            session.way.route.open(config).await.ok();
        }
        held.push(session);
    }
    None
}
