//! The reader: a task that follows one slot and hands the source's changes to its owner, in order.
//!
//! ```text
//!             ┌─ the task ──────────────────────────────────────────────┐
//!  server ──► │ frames ► messages ► assemble ► batch ──► bounded channel │──► owner
//!         ◄── │ status ◄────────────────────── acknowledged position ◄── │ ◄── ReaderHandle::acknowledge
//!             └─────────────────────────────────────────────────────────┘
//! ```
//!
//! - Only what the owner acknowledged is ever confirmed to the server, as written, flushed and applied alike
//!   (R22). Until it has acknowledged something, nothing is.
//! - When the owner falls behind, the batch grows to its limit, then the socket is left unread; the server is
//!   still told that we live.
//! - A connection lost between transactions is opened again and goes on after the last transaction that was
//!   handed out. One lost within a transaction of which parts are out ends the reader: only the owner knows
//!   what has become of them.

mod error;
mod follow;
mod options;
mod retry;
mod session;

use std::sync::Arc;

use crossfade_core::change::StreamItem;
use crossfade_core::position::Lsn;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

pub use self::error::{ReadError, ReadErrorClass};
pub use self::options::{History, ReaderLimits, ReaderOptions};

use self::follow::Follower;

/// Starts readers.
#[derive(Debug)]
pub struct Reader;

/// The owner's end of a running reader. Dropping it stops the reader.
#[derive(Debug)]
pub struct ReaderHandle {
    acknowledged: watch::Sender<Lsn>,
    urgent: Arc<Notify>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ReadError>>,
}

impl Reader {
    /// Spawns a task that connects and follows the slot; call it within a tokio runtime. The channel's end, after
    /// all that was handed out, means that the reader has ended: [`ReaderHandle::join`] tells why.
    ///
    /// Receiving from the channel is cancel safe.
    pub fn start(options: ReaderOptions) -> (ReaderHandle, mpsc::Receiver<Vec<StreamItem>>) {
        let (items, receiver) = mpsc::channel(options.limits.batches_max.max(1));
        let (acknowledged, acknowledged_seen) = watch::channel(Lsn::default());
        let (stop, stopped) = watch::channel(false);
        let urgent = Arc::new(Notify::new());
        let follower = Follower::new(options, items, acknowledged_seen, Arc::clone(&urgent));
        let task = tokio::spawn(until_stopped(stopped, follower));
        let handle = ReaderHandle {
            acknowledged,
            urgent,
            stop,
            task,
        };
        (handle, receiver)
    }
}

/// Everything that the follower waits for may be dropped: what it had not handed out was not acknowledged.
async fn until_stopped(mut stopped: watch::Receiver<bool>, follower: Follower) -> Result<(), ReadError> {
    tokio::select! {
        biased;
        // An error means that the handle is gone, which stops the reader too.
        _ = stopped.wait_for(|stopped| *stopped) => Ok(()),
        error = follower.run() => Err(error),
    }
}

impl ReaderHandle {
    /// Everything up to `lsn` is applied and durable. Never goes back. The server learns it with the next status
    /// update, within [`ReaderLimits::status_interval`].
    pub fn acknowledge(&self, lsn: Lsn) {
        self.acknowledged.send_if_modified(|acknowledged| {
            let ahead = lsn > *acknowledged;
            *acknowledged = lsn.max(*acknowledged);
            ahead
        });
    }

    /// As [`ReaderHandle::acknowledge`], and the server is told at once.
    pub fn acknowledge_now(&self, lsn: Lsn) {
        self.acknowledge(lsn);
        self.urgent.notify_one();
    }

    /// Asks the reader to end: the socket is closed, and what has not been received yet may never come.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the reader's end; `Ok` if it was stopped.
    ///
    /// # Errors
    /// Why it ended by itself.
    ///
    /// # Cancel safety
    /// Dropping the future drops the handle and so stops the reader.
    ///
    /// # Panics
    /// If the reader's task panicked, with its panic.
    pub async fn join(mut self) -> Result<(), ReadError> {
        match (&mut self.task).await {
            Ok(ended) => ended,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime is shutting down.
            Err(_) => Ok(()),
        }
    }
}
