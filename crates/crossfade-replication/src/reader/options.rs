//! What a reader is told before it starts.

use std::time::Duration;

use crossfade_core::position::Lsn;
use crossfade_postgres::connect::ConnectConfig;

use crate::assemble::PartLimits;
use crate::shape::Shape;
use crate::transport::SystemIdentity;

/// Everything a reader needs.
#[derive(Clone, Debug)]
pub struct ReaderOptions {
    /// The server.
    pub connect: ConnectConfig,
    /// The slot. It must not be older than the publication (R3).
    pub slot: String,
    /// The publication; it lists the tables of these shapes and nothing else.
    pub publication: String,
    /// The tables.
    pub shapes: Vec<Shape>,
    /// Rows in binary, of types that have that form.
    pub binary: bool,
    /// The applied LSN: everything committed at or before it is not delivered again.
    pub start: Lsn,
    /// The history the slot belongs to. `None`: that of the first connection.
    pub history: Option<History>,
    /// Bounds.
    pub limits: ReaderLimits,
}

/// Which log a position belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Names the cluster for life.
    pub system_identifier: u64,
    /// Rises with every promotion.
    pub timeline: u32,
}

impl From<&SystemIdentity> for History {
    fn from(identity: &SystemIdentity) -> Self {
        History {
            system_identifier: identity.system_identifier,
            timeline: identity.timeline,
        }
    }
}

/// Bounds of a reader. Its memory is at most about
/// `(batches_max + 2) × (batch_bytes_max + part.bytes_max)`, and one row more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderLimits {
    /// When a transaction is handed out in parts.
    pub part: PartLimits,
    /// A batch of at least this size waits for the owner, and the socket with it.
    pub batch_bytes_max: usize,
    /// Batches in the channel.
    pub batches_max: usize,
    /// The longest time between two status updates. Shortened to a third of the server's `wal_sender_timeout`.
    pub status_interval: Duration,
    /// A server that says nothing for this long, though asked to at half of it, is lost.
    pub silence_max: Duration,
    /// The wait before the first attempt to connect again. It doubles with each attempt…
    pub retry_first: Duration,
    /// … up to this.
    pub retry_max: Duration,
    /// Without a stream for this long, the reader gives up.
    pub lost_max: Duration,
}

impl Default for ReaderLimits {
    fn default() -> Self {
        ReaderLimits {
            part: PartLimits {
                changes_max: 8_192,
                bytes_max: 1 << 20,
            },
            batch_bytes_max: 1 << 20,
            batches_max: 4,
            status_interval: Duration::from_secs(5),
            silence_max: Duration::from_secs(60),
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            lost_max: Duration::from_secs(120),
        }
    }
}
