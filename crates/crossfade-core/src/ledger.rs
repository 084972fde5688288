//! The ledger and the one rule (R1): a change of transaction T to a key whose home chunk was read under
//! snapshot S is applied if and only if T is not visible in S, and never before the chunk's rows are committed.
//!
//! ```text
//!            register(S), S sees every unproven drop          recorded
//!  Pending ───────────────────────────────────────► Copying(S) ──────► Copied(S)
//!     ▲                                                │
//!     └──────────────── failed ────────────────────────┘
//!
//!  key order:  … ] chunk 3 ] chunk 4 ] chunk 5 ]  the rest: Pending, not yet cut into chunks
//! ```
//!
//! Chunks are intervals of keys, open below and closed above, without gaps between them. A snapshot copy is the
//! case of one chunk without bounds, whose snapshot is the slot's.
//!
//! Judging and changing a chunk's state exclude each other: both take `&mut self`. At most one snapshot is taken
//! and not registered at a time, so while none is, what any snapshot sees is proven for all that follow (R7).
//!
//! A chunk is read when its snapshot sees what was dropped *in it*. Where that takes long the chunk is cut off and left
//! pending, and those behind it are read.

mod cutting;
mod unproven;

use crate::order::KeyOrder;
use crate::piece::{KeyCells, LedgerNote};
use crate::position::Xid;
use crate::snapshot::Snapshot;

use unproven::Unproven;

/// A chunk's number within its migration. Numbers rise with the keys, and leave room between them for the parts of a
/// chunk that is cut smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChunkId(pub u64);

/// Which keys are in a chunk: those above `lower`, up to `upper` and with it. `None`: without a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The last key of the chunk before.
    pub lower: Option<KeyCells>,
    /// The last key.
    pub upper: Option<KeyCells>,
}

/// A ledger row: a chunk whose rows are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedChunk {
    /// Its number.
    pub id: ChunkId,
    /// Its keys.
    pub span: Span,
    /// What it was read under.
    pub snapshot: Snapshot,
}

/// A chunk that may be read next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its number.
    pub id: ChunkId,
    /// The last key of the chunk before.
    pub lower: Option<KeyCells>,
    /// Where it ends at the latest; `None`: it has no bound yet.
    pub limit: Option<KeyCells>,
    /// It ends after so many rows, if there are more up to its limit; `None`: it cannot be cut.
    pub rows: Option<u64>,
}

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

impl ChunkState {
    /// What becomes of a change; `None`: the copy will have to see it.
    fn judge(&self, xid: Xid) -> Option<Verdict> {
        match self {
            ChunkState::Pending => None,
            ChunkState::Copying(snapshot) | ChunkState::Copied(snapshot) if snapshot.sees(xid) => {
                Some(Verdict::Drop)
            }
            ChunkState::Copying(_) => Some(Verdict::Hold),
            ChunkState::Copied(_) => Some(Verdict::Apply),
        }
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    id: ChunkId,
    upper: Option<KeyCells>,
    state: ChunkState,
}

/// Where a key is at home: the number of chunks below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home(pub u32);

/// What becomes of a change (R5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chunk's copy contains it, or will.
    Drop,
    /// Not in the copy, whose rows are not committed yet, or perhaps not in one whose snapshot was just taken: to be
    /// judged again when that is known.
    Hold,
    /// Not in the copy, which is committed.
    Apply,
}

/// What becomes of a truncate (R10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncation {
    /// Everything was read, or will be, under snapshots that see it.
    Drop,
    /// Copies run: to be judged again when none does.
    Hold,
    /// The whole target was read before it.
    Empty,
    /// A part of the target was read before it: that part cannot be told from the rest by the target's keys, so
    /// the target is emptied and the copy, of a source that was just emptied, begins again.
    Restart,
}

/// Why a chunk must not be read under a snapshot: release it, wait, take another.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unusable {
    /// It does not see a transaction of which a change was dropped, or that the slot will not send (R7).
    #[error("use a snapshot that does not see transaction {xid}, which the stream has passed")]
    NotProven {
        /// The transaction, decoded and not yet visible.
        xid: Xid,
    },
    /// The chunk was opened before the source was emptied.
    #[error("copy a chunk that was cut before the copy began again")]
    Outdated,
}

/// Every chunk's state, and the transactions of which a change was dropped before its chunk was read.
#[derive(Clone, Debug)]
pub struct Ledger {
    order: Option<KeyOrder>,
    chunks: Vec<Chunk>,
    /// What the slot's consistent point contains: none of it will be sent, so every copy must see it.
    slot: Option<Snapshot>,
    unproven: Unproven,
    /// A snapshot may have been taken for it and is not registered.
    opening: Option<ChunkId>,
    /// The chunk of that snapshot is none any more.
    outdated: bool,
    note: LedgerNote,
    counts: LedgerCounts,
}

/// How often which branch of the ledger was taken: a simulation that never took one proves nothing about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Touches dropped for a chunk still to be read.
    pub pending_dropped: u64,
    /// Touches of what is still to be read, held until it is known whether the snapshot that was taken is used.
    pub pending_held: u64,
    /// Touches dropped because the copy that runs sees them.
    pub copying_dropped: u64,
    /// Touches held for a copy that runs and does not see them.
    pub copying_held: u64,
    /// Touches dropped because the recorded copy has them.
    pub copied_dropped: u64,
    /// Touches applied.
    pub copied_applied: u64,
    /// Truncates that every copy sees, or will.
    pub truncate_dropped: u64,
    /// Truncates held until no copy runs.
    pub truncate_held: u64,
    /// Truncates applied to a target that was read before them.
    pub truncate_emptied: u64,
    /// Truncates that began the copy again.
    pub truncate_restarted: u64,
    /// Snapshots registered.
    pub registered: u64,
    /// Snapshots that do not see a dropped change.
    pub unseen_drop: u64,
    /// Snapshots that do not see what the slot will not send.
    pub unseen_by_slot: u64,
    /// Chunks that were passed over, since what stands in their way was waited for long enough.
    pub passed_over: u64,
    /// Chunks that were cut into smaller ones.
    pub cut_smaller: u64,
    /// Snapshots of chunks that are none any more.
    pub outdated: u64,
    /// Chunks that were copied in vain.
    pub failed: u64,
    /// Alignments.
    pub aligned: u64,
}

impl Ledger {
    /// Of a table that was copied whole under one snapshot.
    pub fn whole(snapshot: Snapshot) -> Self {
        let chunk = Chunk {
            id: ChunkId(0),
            upper: None,
            state: ChunkState::Copied(snapshot),
        };
        Ledger {
            order: None,
            chunks: vec![chunk],
            slot: None,
            unproven: Unproven::default(),
            opening: None,
            outdated: false,
            note: LedgerNote::default(),
            counts: LedgerCounts::default(),
        }
    }

    /// How often which branch was taken.
    pub fn branches(&self) -> LedgerCounts {
        self.counts
    }

    /// Of a table whose stream has passed the insert positions read after all snapshots of its copy: everything
    /// that is still to come is in none of them.
    pub fn settled() -> Self {
        Ledger::whole(Snapshot::new(Xid(0), Xid(0), []))
    }

    /// Of a table that is copied in chunks: those that are recorded, in the order of their numbers, and the
    /// unproven drops as they were recorded (R6). `slot` is the snapshot of the slot's consistent point.
    pub fn chunked(
        order: KeyOrder,
        slot: Snapshot,
        copied: Vec<CopiedChunk>,
        unproven: impl IntoIterator<Item = Xid>,
    ) -> Self {
        let mut ledger = Ledger {
            order: Some(order),
            chunks: Vec::new(),
            slot: Some(slot),
            unproven: Unproven::restore(unproven),
            opening: None,
            outdated: false,
            note: LedgerNote::default(),
            counts: LedgerCounts::default(),
        };
        for chunk in copied {
            ledger.restore(chunk);
        }
        ledger
    }

    /// A part of the table is not cut into chunks yet.
    fn has_rest(&self) -> bool {
        self.chunks.last().is_none_or(|last| last.upper.is_some())
    }

    /// The bounds between chunks, by which the server finds keys' homes: a key's home is the number of bounds
    /// that are below it. Empty if there is nothing to find.
    pub fn bounds(&self) -> Vec<KeyCells> {
        self.chunks
            .iter()
            .filter_map(|chunk| chunk.upper.clone())
            .collect()
    }

    /// Where a key is at home; `None` if only the server knows.
    pub fn home(&self, key: &KeyCells) -> Option<Home> {
        let below = |chunk: &Chunk| -> Option<bool> {
            let Some(upper) = &chunk.upper else {
                return Some(false);
            };
            let order = self.order()?;
            Some(order.compare(upper, key).is_lt())
        };
        if let Some(first) = self.chunks.first() {
            below(first)?;
        }
        let home = self.chunks.partition_point(|chunk| below(chunk) == Some(true));
        Some(Home(home as u32))
    }

    /// Judges a change without its key, where all keys are judged alike.
    pub fn judge_alike(&self, xid: Xid) -> Option<Verdict> {
        match self.chunks.as_slice() {
            [chunk] if chunk.upper.is_none() => chunk.state.judge(xid),
            _chunks => None,
        }
    }

    /// Judges one change (R5), to `key` if there is one.
    pub fn judge(&mut self, home: Home, xid: Xid, key: Option<&KeyCells>) -> Verdict {
        let state = self.chunks.get(home.0 as usize).map(|chunk| &chunk.state);
        let verdict = state.and_then(|state| state.judge(xid));
        let copying = matches!(state, Some(ChunkState::Copying(_)));
        // The snapshot that is out may have been taken before this transaction committed: dropped now, the change would be
        // missed by that snapshot, and under steady writes by every other one that takes a while to be registered.
        let opening = self.opening.is_some() && !self.outdated;
        *match (verdict, copying) {
            (None, _) if opening => &mut self.counts.pending_held,
            (None, _) => &mut self.counts.pending_dropped,
            (Some(Verdict::Drop), true) => &mut self.counts.copying_dropped,
            (Some(Verdict::Drop), false) => &mut self.counts.copied_dropped,
            (Some(Verdict::Hold), _) => &mut self.counts.copying_held,
            (Some(Verdict::Apply), _) => &mut self.counts.copied_applied,
        } += 1;
        verdict.unwrap_or_else(|| {
            if opening {
                return Verdict::Hold;
            }
            self.drop_unproven(xid, key);
            Verdict::Drop
        })
    }

    fn drop_unproven(&mut self, xid: Xid, key: Option<&KeyCells>) {
        let key = key.filter(|_| self.order().is_some());
        if self.unproven.insert(xid, key) {
            self.note.drops.push(xid);
        }
    }

    /// `None`: only the server knows.
    fn order(&self) -> Option<&KeyOrder> {
        self.order.as_ref().filter(|order| order.is_known())
    }

    /// A snapshot that was taken by now. Where none is out for a chunk, all that are to come see what it sees.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        if self.opening.is_none() {
            self.prove(snapshot);
        }
    }

    fn prove(&mut self, snapshot: &Snapshot) {
        if self.unproven.prove(snapshot) {
            self.note.forget = true;
            self.note.drops = self.unproven.xids().collect();
        }
    }

    /// That transaction was waited for long enough: chunks that it has not touched are read meanwhile.
    pub fn wait_aside(&mut self, xid: Xid) {
        self.unproven.set_late(xid);
    }

    /// Judges a truncate (R10). After [`Truncation::Restart`] every chunk is pending.
    pub fn judge_truncate(&mut self, xid: Xid) -> Truncation {
        let truncation = self.find_truncation(xid);
        *match truncation {
            Truncation::Drop => &mut self.counts.truncate_dropped,
            Truncation::Hold => &mut self.counts.truncate_held,
            Truncation::Empty => &mut self.counts.truncate_emptied,
            Truncation::Restart => &mut self.counts.truncate_restarted,
        } += 1;
        truncation
    }

    fn find_truncation(&mut self, xid: Xid) -> Truncation {
        let copying = |chunk: &Chunk| matches!(chunk.state, ChunkState::Copying(_));
        let read_before = |chunk: &Chunk| match &chunk.state {
            ChunkState::Pending => false,
            ChunkState::Copying(snapshot) | ChunkState::Copied(snapshot) => !snapshot.sees(xid),
        };
        if !self.chunks.iter().any(read_before) {
            if !self.is_whole() {
                self.drop_unproven(xid, None);
            }
            Truncation::Drop
        } else if self.is_whole() && self.chunks.iter().all(read_before) {
            Truncation::Empty
        } else if self.chunks.iter().any(copying) {
            Truncation::Hold
        } else {
            self.chunks.clear();
            self.outdated = self.opening.is_some();
            self.note.restart = true;
            self.drop_unproven(xid, None);
            Truncation::Restart
        }
    }

    /// The chunk's rows and its ledger row are committed (R11).
    pub fn recorded(&mut self, id: ChunkId) {
        if let Some(chunk) = self.chunk(id)
            && let ChunkState::Copying(snapshot) = &chunk.state
        {
            chunk.state = ChunkState::Copied(snapshot.clone());
        }
    }

    /// Whether a copy contains that transaction, if it has committed. The slot's exported snapshot may see one that is
    /// not visible to others yet: it is made from the log.
    pub fn has_read(&self, xid: Xid) -> bool {
        self.chunks.iter().any(|chunk| match &chunk.state {
            ChunkState::Pending => false,
            ChunkState::Copying(snapshot) | ChunkState::Copied(snapshot) => snapshot.sees(xid),
        })
    }

    /// The target was aligned with the source under this snapshot (R26): from now on it is as if the whole table had
    /// been read under it. Only of a ledger that is whole.
    pub fn align(&mut self, snapshot: &Snapshot) {
        self.counts.aligned += 1;
        *self = Ledger {
            counts: self.counts,
            ..Ledger::whole(snapshot.clone())
        };
    }

    /// The stream has passed every snapshot of the copy: see [`Ledger::settled`].
    pub fn settle(&mut self) {
        *self = Ledger {
            counts: self.counts,
            ..Ledger::settled()
        };
    }

    /// The chunk's copy failed, or is known not to have committed (R8).
    pub fn failed(&mut self, id: ChunkId) {
        self.counts.failed += 1;
        if let Some(chunk) = self.chunk(id) {
            chunk.state = ChunkState::Pending;
        }
    }

    fn chunk(&mut self, id: ChunkId) -> Option<&mut Chunk> {
        self.chunks.iter_mut().find(|chunk| chunk.id == id)
    }

    /// Every chunk's rows are committed in the target, and nothing is left to cut into chunks.
    pub fn is_whole(&self) -> bool {
        let copied = |chunk: &Chunk| matches!(chunk.state, ChunkState::Copied(_));
        !self.has_rest() && self.chunks.iter().all(copied)
    }

    /// Chunks known so far, and how many are copied.
    pub fn counts(&self) -> (u32, u32) {
        let copied = self
            .chunks
            .iter()
            .filter(|chunk| matches!(chunk.state, ChunkState::Copied(_)));
        (self.chunks.len() as u32, copied.count() as u32)
    }

    /// Transactions of which a change was dropped and which no snapshot has been seen to contain yet.
    pub fn unproven(&self) -> impl Iterator<Item = Xid> {
        self.unproven.xids()
    }

    /// What has to be written down with the next applied LSN (R6).
    pub fn take_note(&mut self) -> LedgerNote {
        std::mem::take(&mut self.note)
    }
}

#[cfg(test)]
mod tests;
