//! The ledger and the one rule (R1): a change of transaction T to a key whose home chunk was read under
//! snapshot S is applied if and only if T is not visible in S, and never before the chunk's rows are committed.
//!
//! ```text
//!            register(S), S sees every unproven drop          recorded
//!  Pending ───────────────────────────────────────► Copying(S) ──────► Copied(S)
//!     ▲                                                │
//!     └──────────────── failed ────────────────────────┘
//! ```
//!
//! A snapshot copy is the case of one chunk, whose snapshot is the slot's.

use std::collections::BTreeSet;

use crate::position::Xid;
use crate::snapshot::Snapshot;

/// A chunk's number within its migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkId(pub u32);

/// The only chunk of a snapshot copy.
pub const WHOLE_TABLE: ChunkId = ChunkId(0);

/// What is known of a chunk's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ChunkState {
    /// Not read yet: whoever reads it must see every change dropped so far.
    Pending,
    /// Being copied under this snapshot; its rows are not committed.
    Copying(Snapshot),
    /// Its rows are committed in the target.
    Copied(Snapshot),
}

/// What becomes of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chunk's copy contains it, or will.
    Drop,
    /// Not in the copy, whose rows are not committed yet: to be applied when they are.
    Hold,
    /// Not in the copy, which is committed.
    Apply,
}

/// A snapshot that does not see a dropped change cannot read a pending chunk (R7): release it, wait, take another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("use a snapshot that does not see transaction {xid}, whose change was dropped for this copy")]
pub struct UnprovenDrop {
    /// The transaction, decoded and not yet visible.
    pub xid: Xid,
}

/// Every chunk's state, and the transactions of which a change was dropped before its chunk was read.
#[derive(Clone, Debug)]
pub struct Ledger {
    chunks: Vec<ChunkState>,
    unproven: BTreeSet<Xid>,
}

impl Ledger {
    /// A ledger of chunks none of which has been read; `unproven` as it was recorded (R6).
    pub fn new(chunks: u32, unproven: impl IntoIterator<Item = Xid>) -> Self {
        Ledger {
            chunks: (0..chunks).map(|_| ChunkState::Pending).collect(),
            unproven: unproven.into_iter().collect(),
        }
    }

    /// A ledger whose only chunk was there before every change: each is applied.
    pub fn nothing_copied() -> Self {
        Ledger {
            chunks: vec![ChunkState::Copied(Snapshot::new(Xid(0), Xid(0), []))],
            unproven: BTreeSet::new(),
        }
    }

    /// Judges one change (R5). Judging and changing a chunk's state exclude each other: both take `&mut self`.
    pub fn judge(&mut self, chunk: ChunkId, xid: Xid) -> Verdict {
        match &self.chunks[chunk.0 as usize] {
            ChunkState::Pending => {
                self.unproven.insert(xid);
                Verdict::Drop
            }
            ChunkState::Copying(snapshot) | ChunkState::Copied(snapshot) if snapshot.sees(xid) => {
                Verdict::Drop
            }
            ChunkState::Copying(_) => Verdict::Hold,
            ChunkState::Copied(_) => Verdict::Apply,
        }
    }

    /// A chunk is about to be read under `snapshot`.
    ///
    /// # Errors
    /// The snapshot does not see every unproven drop (R7).
    pub fn register(&mut self, chunk: ChunkId, snapshot: Snapshot) -> Result<(), UnprovenDrop> {
        if let Some(xid) = self.unproven.iter().find(|xid| !snapshot.sees(**xid)) {
            return Err(UnprovenDrop { xid: *xid });
        }
        self.chunks[chunk.0 as usize] = ChunkState::Copying(snapshot);
        Ok(())
    }

    /// The chunk's rows and its ledger row are committed (R11).
    pub fn recorded(&mut self, chunk: ChunkId) {
        let state = &mut self.chunks[chunk.0 as usize];
        if let ChunkState::Copying(snapshot) = state {
            *state = ChunkState::Copied(snapshot.clone());
        }
    }

    /// Restores a chunk from its ledger row.
    pub fn restore(&mut self, chunk: ChunkId, snapshot: Snapshot) {
        self.chunks[chunk.0 as usize] = ChunkState::Copied(snapshot);
    }

    /// The chunk's copy failed, or is known not to have committed (R8).
    pub fn failed(&mut self, chunk: ChunkId) {
        self.chunks[chunk.0 as usize] = ChunkState::Pending;
    }

    /// Every chunk's rows are committed in the target.
    pub fn is_whole(&self) -> bool {
        self.chunks
            .iter()
            .all(|state| matches!(state, ChunkState::Copied(_)))
    }

    /// Transactions of which a change was dropped and which no snapshot has been seen to contain yet.
    pub fn unproven(&self) -> &BTreeSet<Xid> {
        &self.unproven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(text: &str) -> Snapshot {
        text.parse().unwrap()
    }

    #[test]
    fn visible_changes_are_dropped_and_the_others_applied_whatever_their_order() {
        let mut ledger = Ledger::new(1, []);
        ledger.register(WHOLE_TABLE, snapshot("10:20:12")).unwrap();
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(11)), Verdict::Drop);
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(12)), Verdict::Hold);
        ledger.recorded(WHOLE_TABLE);
        assert_eq!(
            ledger.judge(WHOLE_TABLE, Xid(12)),
            Verdict::Apply,
            "older than 19 and yet not in the copy"
        );
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(19)), Verdict::Drop);
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(20)), Verdict::Apply);
    }

    #[test]
    fn a_snapshot_that_misses_a_dropped_change_is_not_registered() {
        let mut ledger = Ledger::new(1, []);
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(15)), Verdict::Drop);
        let refused = ledger.register(WHOLE_TABLE, snapshot("15:20:15"));
        assert_eq!(refused, Err(UnprovenDrop { xid: Xid(15) }));
        ledger.register(WHOLE_TABLE, snapshot("16:20:")).unwrap();
    }

    #[test]
    fn a_failed_copy_judges_as_if_it_had_not_been() {
        let mut ledger = Ledger::new(1, []);
        ledger.register(WHOLE_TABLE, snapshot("10:20:")).unwrap();
        ledger.failed(WHOLE_TABLE);
        assert_eq!(ledger.judge(WHOLE_TABLE, Xid(30)), Verdict::Drop);
        assert_eq!(ledger.unproven().len(), 1);
        assert!(!ledger.is_whole());
    }
}
