//! The snapshot copy: the whole table under the slot's snapshot, in ranges, by several copiers. To the ledger all
//! ranges are one chunk (R11): nothing counts before the last of them is copied.

use crate::migration::RangeId;
use crate::position::Lsn;
use crate::snapshot::Snapshot;

/// The ranges of one snapshot.
#[derive(Debug)]
pub(crate) struct Ranges {
    consistent_point: Lsn,
    snapshot: Snapshot,
    total: u32,
    next: u32,
    running: u32,
    done: u32,
    rows: u64,
}

impl Ranges {
    /// `total` ranges to read under `snapshot`, after which the stream begins at `consistent_point`.
    pub(crate) fn new(consistent_point: Lsn, snapshot: Snapshot, total: u32) -> Self {
        Ranges {
            consistent_point,
            snapshot,
            total,
            next: 0,
            running: 0,
            done: 0,
            rows: 0,
        }
    }

    pub(crate) fn consistent_point(&self) -> Lsn {
        self.consistent_point
    }

    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// How many there are, and how many are done.
    pub(crate) fn counts(&self) -> (u32, u32) {
        (self.total, self.done)
    }

    /// Rows copied.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// All are copied.
    pub(crate) fn is_done(&self) -> bool {
        self.done == self.total
    }

    /// The next range to copy, if one of `copiers` is free.
    pub(crate) fn begin(&mut self, copiers: usize) -> Option<RangeId> {
        if self.running >= copiers as u32 || self.next >= self.total {
            return None;
        }
        let range = RangeId(self.next);
        self.next += 1;
        self.running += 1;
        Some(range)
    }

    /// A range is copied.
    pub(crate) fn copied(&mut self, rows: u64) {
        self.running -= 1;
        self.done += 1;
        self.rows += rows;
    }
}
