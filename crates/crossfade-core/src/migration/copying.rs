//! The migration's side of the copy: ranges under the slot's snapshot, or chunks each under its own while changes are
//! applied beside them; and what follows when the last one is recorded.

use std::time::Instant;

use super::{Activity, Command, Migration, OpenedChunk, Stop, copy_step};
use crate::copy::{Chunks, Ranges, SourceRewritten};
use crate::feed::Feed;
use crate::ledger::{ChunkId, CopiedChunk, Ledger};
use crate::order::KeyOrder;
use crate::phase::Phase;
use crate::plan::CopyMode;
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

impl Migration {
    pub(super) fn snapshot_opened(&mut self, consistent_point: Lsn, snapshot: Snapshot, ranges: u32) {
        self.reference = snapshot.xmax();
        // The server has to read what the copy writes, too, before it comes to what was written behind that: better while
        // rows are copied than afterwards. Nothing is applied before the copy's ledger row is there (R11).
        self.follow_from(Ledger::whole(snapshot.clone()), consistent_point);
        self.ranges = Some(Ranges::new(consistent_point, snapshot, ranges));
        self.activity = Activity::Copying;
    }

    pub(super) fn slot_opened(&mut self, consistent_point: Lsn, snapshot: Snapshot) {
        self.reference = snapshot.xmax();
        self.follow_chunks(consistent_point, snapshot, Vec::new(), 0, Vec::new());
    }

    pub(super) fn chunk_opened(&mut self, opened: OpenedChunk) {
        self.proofs.observe(&opened.snapshot);
        if let Some(chunks) = &mut self.chunks {
            chunks.opened(opened);
        }
    }

    pub(super) fn chunk_copied(&mut self, now: Instant, id: ChunkId, rows: u64) {
        if let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) {
            chunks.copied(now, id, rows);
            feed.chunk_recorded(id);
            self.pace.rest(now);
        }
    }

    pub(super) fn chunk_failed(&mut self, now: Instant, id: ChunkId) {
        if let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) {
            chunks.failed(now, id);
            feed.chunk_failed(id);
        }
    }

    /// Chunks are applied to while they are copied: their index comes first.
    pub(super) fn key_index_built(&mut self) {
        if self.chunks.is_some() {
            self.activity = Activity::Copying;
        } else if self.phase == Phase::Copied && !self.has_backlog() && !self.is_held_back() {
            self.build_indexes();
        } else {
            self.drain(Activity::DrainingBacklog);
        }
    }

    /// Ranges are being copied under one snapshot: what the stream brings meanwhile waits for the last of them.
    pub(super) fn is_copying_whole(&self) -> bool {
        self.chunks.is_none() && self.phase < Phase::Copied
    }

    /// More than a piece waits: with all indexes that would take twice as long as without.
    fn has_backlog(&self) -> bool {
        let full = |feed: &Feed| feed.waiting() > self.options.feed.piece_changes_max || !feed.has_capacity();
        self.feed.as_ref().is_some_and(full)
    }

    pub(super) fn open_copy(&mut self) {
        self.activity = Activity::OpeningSnapshot;
        self.due = Some(match copy_step(&self.plan).copy_mode {
            CopyMode::Snapshot => Command::OpenSnapshot,
            CopyMode::Incremental => Command::OpenSlot,
        });
    }

    /// Keeps every copier busy, unless held back.
    pub(super) fn copy_on(&mut self) {
        let copiers = self.copiers();
        let Some(ranges) = self.ranges.as_mut() else {
            return;
        };
        if self.activity != Activity::Copying {
            return;
        }
        while let Some(range) = ranges.begin(copiers) {
            self.commands.push_back(Command::CopyRange(range));
        }
        if ranges.is_done() {
            self.activity = Activity::RecordingChunk;
            self.commands.push_back(Command::RecordChunk {
                consistent_point: ranges.consistent_point(),
                snapshot: ranges.snapshot().clone(),
                rows: ranges.rows(),
            });
        }
    }

    /// How many may be at work.
    fn copiers(&self) -> usize {
        if self.is_held_back() {
            0
        } else {
            self.options.copiers
        }
    }

    pub(super) fn range_copied(&mut self, now: Instant, rows: u64) {
        if let Some(ranges) = &mut self.ranges {
            ranges.copied(rows);
            self.pace.rest(now);
        }
    }

    pub(super) fn chunk_recorded(&mut self) {
        self.phase = Phase::Copied;
        self.commands.push_back(Command::CloseSnapshot);
        self.activity = Activity::BuildingKeyIndex;
        // The index of a table that is full is as much work as any other.
        self.due = Some(Command::BuildKeyIndex);
    }

    /// From here on the copy's chunks and the stream go on side by side.
    pub(super) fn follow_chunks(
        &mut self,
        applied: Lsn,
        slot: Snapshot,
        copied: Vec<CopiedChunk>,
        rows: u64,
        unproven: Vec<Xid>,
    ) {
        let step = copy_step(&self.plan);
        let Some(key) = &step.source.key else { return };
        let order = KeyOrder::new(key, &step.source.columns);
        self.chunks = Some(Chunks::new(&step.estimate, &self.plan.limits, rows));
        self.follow(Ledger::chunked(order, slot, copied, unproven), applied);
    }

    /// The stream has passed every snapshot of the chunks: the target is consistent, and stays so at every boundary.
    pub(super) fn settle(&mut self) {
        self.activity = Activity::RecordingChunk;
        if let Some(feed) = &mut self.feed {
            feed.settle();
        }
        self.record(Phase::Copied);
    }

    /// Goes on with the chunks of the incremental copy.
    pub(super) fn chunks_on(&mut self, now: Instant) {
        let copiers = self.copiers();
        let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) else {
            return;
        };
        match self.activity {
            // A truncate that came behind the last chunk has emptied the ledger.
            Activity::DrainingBacklog if self.phase == Phase::Copying && !feed.is_whole() => {
                self.activity = Activity::Copying;
                self.round.target = None;
            }
            Activity::Copying => {}
            _elsewhere => return,
        }
        match chunks.go_on(now, feed, &mut self.proofs, copiers) {
            Ok(commands) => self.commands.extend(commands),
            Err(SourceRewritten) => {
                self.interrupt.get_or_insert(Stop::SourceRewritten);
            }
        }
        if feed.is_whole() && chunks.is_idle() {
            self.drain(Activity::DrainingBacklog);
        }
    }
}
