//! What outlives an engine: the state schema, the target, the slots.

use std::collections::BTreeSet;

use crossfade_core::migration::CopyState;
use crossfade_core::phase::Phase;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;
use crossfade_core::way_back::Direction;

use crate::shell::chunks::StoredChunk;
use crate::target::Rows;

/// All that a new engine finds.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    /// The applied LSN and the copy's snapshot.
    pub(crate) copied: Option<(Lsn, Snapshot)>,
    /// The applied LSN of the reverse stream.
    pub(crate) back: Option<Lsn>,
    /// The retired table has refused a row.
    pub(crate) back_closed: bool,
    /// What the target was last aligned with, in this direction.
    pub(crate) aligned: Option<Snapshot>,
    /// The last verification found no difference.
    pub(crate) equal: Option<bool>,
    /// The ledger rows of the incremental copy, whose slot's snapshot is in `copied`.
    pub(crate) chunks: Vec<StoredChunk>,
    pub(crate) unproven: BTreeSet<Xid>,
    /// The target's: the shadow table's, after the swap the retired table's.
    pub(crate) rows: Rows,
    pub(crate) unique_index: bool,
    /// The slot's `confirmed_flush_lsn`.
    pub(crate) slot: Option<Lsn>,
    /// The same of the slot of the way back.
    pub(crate) back_slot: Option<Lsn>,
    /// Transactions that committed after the slot's consistent point and that the copy contains.
    pub(crate) copied_late: BTreeSet<Xid>,
    /// From here on the target is consistent at every boundary: the insert position after the copy's snapshot.
    pub(crate) consistent_from: Lsn,
    /// When rows were last applied, on the world's clock.
    pub(crate) last_apply: u64,
}

impl Store {
    pub(crate) fn new() -> Self {
        Store {
            phase: Phase::Planned,
            paused: false,
            copied: None,
            back: None,
            back_closed: false,
            aligned: None,
            equal: None,
            chunks: Vec::new(),
            unproven: BTreeSet::new(),
            rows: Rows::new(),
            unique_index: false,
            slot: None,
            back_slot: None,
            copied_late: BTreeSet::new(),
            consistent_from: Lsn(0),
            last_apply: 0,
        }
    }

    /// What is known of the copy, as the next engine reads it.
    pub(crate) fn copy_state(&self, incremental: bool) -> CopyState {
        match self.copied.clone() {
            Some((applied, slot)) if incremental => CopyState::Chunked {
                applied,
                slot,
                chunks: self.chunks.iter().map(|stored| stored.chunk.clone()).collect(),
                rows: 0,
                unproven: self.unproven.iter().copied().collect(),
            },
            Some((applied, snapshot)) => CopyState::Whole { applied, snapshot },
            None => CopyState::Nothing,
        }
    }

    /// The applied LSN of that direction.
    pub(crate) fn applied(&self, direction: Direction) -> Option<Lsn> {
        match direction {
            Direction::Forward => self.copied.as_ref().map(|(applied, _)| *applied),
            Direction::Back => self.back,
        }
    }

    /// Moves it, with the rows.
    pub(crate) fn advance(&mut self, direction: Direction, to: Lsn) {
        let position = match direction {
            Direction::Forward => self.copied.as_mut().map(|(applied, _)| applied),
            Direction::Back => self.back.as_mut(),
        };
        if let Some(position) = position {
            *position = to;
        }
    }

    /// What the slot of that direction was told last.
    pub(crate) fn slot_of(&mut self, direction: Direction) -> &mut Option<Lsn> {
        match direction {
            Direction::Forward => &mut self.slot,
            Direction::Back => &mut self.back_slot,
        }
    }

    /// The tables have changed their places: what is known of the target is known of another one.
    pub(crate) fn swapped(&mut self, phase: Phase, retired: Rows, unique: bool) {
        self.phase = phase;
        self.rows = retired;
        self.unique_index = unique;
        self.aligned = None;
        self.copied_late.clear();
        self.consistent_from = Lsn(0);
    }
}
