//! The incremental copy: the slot, chunks under snapshots of their own, keys and their homes.

use crossfade_core::ledger::{ChunkId, CopiedChunk, Opening, Span};
use crossfade_core::migration::{Command, Event, OpenedChunk};
use crossfade_core::piece::{KeyCells, LedgerNote};

use super::Task;
use crate::breach::Breach;
use crate::coverage::Reached;
use crate::engine::ChunkSession;
use crate::planted::Planted;
use crate::row::{Key, Row};
use crate::simulation::{CHUNKS_MIN, Simulation};
use crate::world::View;

/// A ledger row, and its snapshot as the world has it.
#[derive(Clone, Debug)]
pub(crate) struct StoredChunk {
    pub(crate) chunk: CopiedChunk,
    pub(crate) view: View,
}

impl StoredChunk {
    /// Whether a key is in it.
    pub(crate) fn has(&self, number: u8) -> bool {
        within(&self.chunk.span, number)
    }
}

fn within(span: &Span, number: u8) -> bool {
    let bound = |key: &Option<KeyCells>| key.as_ref().and_then(Key::from_cells).map(|key| key.number);
    bound(&span.lower).is_none_or(|lower| number > lower)
        && bound(&span.upper).is_none_or(|upper| number <= upper)
}

impl Simulation {
    /// Empties target and ledger; waits, as slot creation does, for every transaction that is running.
    pub(super) fn open_slot(&mut self, task: &mut Task) {
        if task.stage == 0 {
            self.store.rows.clear();
            self.store.chunks.clear();
            self.store.unproven.clear();
            self.store.copied = None;
            self.store.slot = None;
            task.waits_for = self.world.active.keys().copied().collect();
            task.stage = 1;
            return;
        }
        let running = |xid| self.world.active.contains_key(xid);
        if task.waits_for.iter().any(running) {
            return;
        }
        self.world.wal.flush();
        let position = self.world.wal.insert_position();
        let snapshot = self.world.snapshot_of_log().to_core();
        self.store.slot = Some(position);
        self.store.copied = Some((position, snapshot.clone()));
        task.answer = Some(Event::SlotOpened {
            consistent_point: position,
            snapshot,
        });
    }

    /// Lock, then snapshot, then the end of the chunk: after a few rows, whatever the size asked for.
    pub(super) fn open_chunk(&mut self, task: &mut Task, opening: &Opening) {
        let locks = !self.is_planted(Planted::ChunkWithoutLock);
        if self.world.is_truncating() && locks {
            return;
        }
        let view = self.world.snapshot();
        let mut span = Span {
            lower: opening.lower.clone(),
            upper: opening.limit.clone(),
        };
        if opening.rows.is_some() {
            let rows = self.world.heap.rows(&view);
            let mut inside = rows.filter(|row| within(&span, row.key.number));
            let skipped = if self.chunks_copied < CHUNKS_MIN {
                0
            } else {
                self.dice.below(4)
            };
            if let Some(end) = inside.nth(skipped as usize) {
                span.upper = Some(end.key.to_cells());
            }
        }
        if let Some(engine) = &self.engine
            && engine.machine.progress().invisible.is_some()
        {
            self.coverage.reach(Reached::ChunkOpenedAside);
        }
        let Some(engine) = &mut self.engine else { return };
        self.world.shares += u32::from(locks);
        let session = ChunkSession {
            locks,
            id: opening.id,
            view: view.clone(),
        };
        engine.chunks.push(session);
        task.answer = Some(Event::ChunkOpened(OpenedChunk {
            id: opening.id,
            span,
            snapshot: view.to_core(),
            file: 1,
            position: self.world.wal.insert_position(),
        }));
    }

    /// The request may come too early or too late, and then the copy goes on.
    pub(crate) fn cancel_chunk(&mut self, id: ChunkId) {
        if self.dice.chance(50) {
            return;
        }
        let copies =
            |task: &Task| matches!(&task.command, Command::CopyChunk { id: other, .. } if *other == id);
        let tasks = self.engine.iter_mut().flat_map(|engine| &mut engine.tasks);
        let task = tasks
            .into_iter()
            .find(|task| copies(task) && task.answer.is_none());
        if let Some(task) = task {
            task.answer = Some(Event::ChunkFailed { id });
            self.coverage.reach(Reached::ChunkCanceled);
            self.end_chunk(id);
        }
    }

    /// The session's transaction ends, and its lock with it.
    pub(crate) fn end_chunk(&mut self, id: ChunkId) -> Option<View> {
        let engine = self.engine.as_mut()?;
        let position = engine.chunks.iter().position(|session| session.id == id)?;
        let session = engine.chunks.swap_remove(position);
        self.world.shares -= u32::from(session.locks);
        Some(session.view)
    }

    pub(crate) fn end_chunks(&mut self) {
        while let Some(id) = self
            .engine
            .as_ref()
            .and_then(|engine| engine.chunks.first())
            .map(|session| session.id)
        {
            self.end_chunk(id);
        }
    }

    /// Rows and ledger row, in one transaction.
    pub(super) fn copy_chunk(&mut self, task: &mut Task, id: ChunkId, span: &Span) -> Result<(), Breach> {
        if self.engine.as_ref().is_some_and(|engine| engine.chunks.len() > 1) {
            self.coverage.reach(Reached::ChunksSideBySide);
        }
        if !self.is_calm() && self.dice.once_in(12) {
            self.coverage.reach(Reached::ChunkFailed);
            self.end_chunk(id);
            task.answer = Some(Event::ChunkFailed { id });
            return Ok(());
        }
        task.lost = self.loses_answer();
        let Some(view) = self.end_chunk(id) else {
            return Ok(());
        };
        if task.lost {
            self.coverage.reach(Reached::ChunkAnswerLost);
            if self.dice.chance(50) {
                return Ok(());
            }
        }
        let rows = self.world.heap.rows(&view);
        let rows: Vec<Row> = rows.filter(|row| within(span, row.key.number)).collect();
        self.insert_range(&rows)?;
        let target = self.target();
        // The batch that is open is another transaction on the same table: both commit.
        if let Some(batch) = self.engine.as_mut().and_then(|engine| engine.batch.as_mut()) {
            let own = target.default_own();
            let copied = rows.iter().map(|row| Row { own, ..*row });
            batch.rows.extend(copied.map(|row| (row.key.number, row)));
        }
        let chunk = CopiedChunk {
            id,
            span: span.clone(),
            snapshot: view.to_core(),
        };
        self.chunks_copied += 1;
        self.store.chunks.push(StoredChunk { chunk, view });
        self.store.chunks.sort_by_key(|stored| stored.chunk.id);
        self.store.last_apply = self.world.clock;
        task.answer = Some(Event::ChunkCopied {
            id,
            rows: rows.len() as u64,
        });
        Ok(())
    }

    /// For each key the number of bounds below it, by the world's own order.
    pub(super) fn route(
        &mut self,
        task: &mut Task,
        keys: &[KeyCells],
        bounds: &[KeyCells],
    ) -> Result<(), Breach> {
        self.coverage.reach(Reached::KeysRouted);
        let numbers = |keys: &[KeyCells]| -> Option<Vec<u8>> {
            keys.iter()
                .map(|key| Key::from_cells(key).map(|key| key.number))
                .collect()
        };
        let (keys, bounds) = numbers(keys).zip(numbers(bounds)).ok_or(Breach::Unreadable)?;
        let below = |key: &u8| bounds.iter().filter(|bound| *bound < key).count() as u32;
        task.answer = Some(Event::Routed(keys.iter().map(below).collect()));
        Ok(())
    }

    /// What the applier writes of the ledger, with the applied LSN.
    pub(super) fn write_note(&mut self, note: &LedgerNote) {
        if note.restart {
            self.coverage.reach(Reached::CopyRestarted);
            self.store.chunks.clear();
        }
        if note.forget && !self.store.unproven.is_empty() {
            self.coverage.reach(Reached::DropsProven);
            self.store.unproven.clear();
        }
        if !note.drops.is_empty() {
            self.coverage.reach(Reached::DropRecorded);
        }
        if !self.is_planted(Planted::DropsNotRecorded) {
            self.store.unproven.extend(&note.drops);
        }
    }
}
