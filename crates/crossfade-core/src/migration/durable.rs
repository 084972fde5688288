//! What a machine is told once, at its start: how to run, and what the state schema holds.

use crate::cutover::OldSnapshots;
use crate::detector::Seen;
use crate::feed::FeedLimits;
use crate::ledger::CopiedChunk;
use crate::phase::Phase;
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

/// What a machine is told once, at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sessions that copy at the same time.
    pub copiers: usize,
    /// Cut over without being asked.
    pub cutover_when_ready: bool,
    /// After the swap, go back without being asked.
    pub roll_back: bool,
    /// See [`OldSnapshots`].
    pub old_snapshots: OldSnapshots,
    /// Compare every row before the migration is ready.
    pub verify: bool,
    /// Compare every row, and repair those that differ.
    pub repair: bool,
    /// Bounds of pieces and queue.
    pub feed: FeedLimits,
}

/// What the state schema holds of a migration.
#[derive(Clone, Debug)]
pub struct Durable {
    /// How far it has come.
    pub phase: Phase,
    /// Held back.
    pub paused: bool,
    /// What the target holds.
    pub copy: CopyState,
    /// The applied LSN of the reverse stream, once it has begun.
    pub back: Option<Lsn>,
    /// The retired table refused a row that comes behind it.
    pub back_closed: bool,
    /// What the detector has seen (R31).
    pub detected: Seen,
    /// What the target was last aligned with: it has all of what this sees.
    pub aligned: Option<Snapshot>,
    /// Whether the last verification found every row equal; `None`: there was none.
    pub equal: Option<bool>,
    /// A snapshot of this server's life, taken after the position was read, in or after a transaction that was begun
    /// after that: every transaction applied so far is seen, or listed as in progress.
    pub now: Snapshot,
    /// Of the transactions that `now` lists as in progress those that may have committed already, and only are not visible
    /// yet: not those of other databases, nor those whose session waits for its client.
    pub committing: Vec<Xid>,
}

/// What is known durably of the copy.
#[derive(Clone, Debug)]
pub enum CopyState {
    /// Nothing that can be gone on with.
    Nothing,
    /// The whole table was copied under one snapshot.
    Whole {
        /// The applied LSN.
        applied: Lsn,
        /// That of the copy.
        snapshot: Snapshot,
    },
    /// The table is copied in chunks.
    Chunked {
        /// The applied LSN.
        applied: Lsn,
        /// The snapshot of the slot's consistent point.
        slot: Snapshot,
        /// The ledger rows, in the order of their numbers.
        chunks: Vec<CopiedChunk>,
        /// Rows in them.
        rows: u64,
        /// Transactions of which a change was dropped for a chunk that was still to be read (R6).
        unproven: Vec<Xid>,
    },
}
