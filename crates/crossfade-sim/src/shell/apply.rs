//! Pieces into the target, rows from the source.

use crossfade_core::migration::Event;
use crossfade_core::piece::{FetchKey, Piece};
use crossfade_core::position::Lsn;
use crossfade_core::way_back::{Direction, carried_back_message};

use super::Task;
use crate::breach::Breach;
use crate::coverage::Reached;
use crate::engine::{FetchSession, OpenBatch};
use crate::planted::Planted;
use crate::row::Key;
use crate::simulation::Simulation;
use crate::target::{self, Rows, Shape, repeated_code};
use crate::world::Exclusive;

impl Simulation {
    /// Applies a piece in the batch's transaction and commits that with the last.
    pub(super) fn apply(&mut self, task: &mut Task, piece: Piece) -> Result<(), Breach> {
        if task.stage == 1 {
            return self.commit_rows_late(task);
        }
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        if piece.first == engine.batch.is_some() {
            return Err(Breach::PieceOutOfTurn);
        }
        let mut batch = engine.batch.take().unwrap_or_else(|| OpenBatch {
            rows: self.store.rows.clone(),
            pieces: Vec::new(),
            changes: Vec::new(),
            fetched: false,
        });
        if let Some(key) = self.apply_to(&mut batch, &piece)? {
            self.coverage.reach(Reached::RowRefused);
            let reason = format!("the row {key}: it does not fit");
            task.answer = Some(Event::PieceRefused { reason });
            return Ok(());
        }
        let end = piece.applied;
        batch.pieces.push(piece);
        match end {
            Some(end) => self.commit_batch(task, batch, end),
            None => {
                self.keep_open(batch);
                task.answer = Some(Event::PieceApplied);
                Ok(())
            }
        }
    }

    fn keep_open(&mut self, batch: OpenBatch) {
        if let Some(engine) = &mut self.engine {
            engine.batch = Some(batch);
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            source: self.world.live,
            target: self.target(),
            mixed: self.scenario.mixed,
            forgets_own: self.is_planted(Planted::RetryForgetsColumns),
            forgets_kept: self.is_planted(Planted::RetryForgetsKept),
        }
    }

    /// Returns the key of a row that the target does not take.
    fn apply_to(&mut self, batch: &mut OpenBatch, piece: &Piece) -> Result<Option<u8>, Breach> {
        batch.fetched |= piece.fetched;
        let nothing = piece.deletes.is_empty() && piece.puts.is_empty() && !piece.truncate;
        let shape = self.shape();
        let mut applied = if self.is_planted(Planted::PutsBeforeDeletes) {
            apply_backwards(&mut batch.rows, piece, shape)?
        } else {
            target::apply(&mut batch.rows, piece, shape)?
        };
        batch.changes.append(&mut applied.changes);
        if applied.refused.is_some() {
            return Ok(applied.refused);
        }
        let back = self.direction() == Direction::Back;
        let reached = [
            (
                piece.applied.is_none() && !batch.fetched,
                Reached::PieceInsideTransaction,
            ),
            (piece.fetched, Reached::PieceFetched),
            (nothing && piece.first, Reached::IdlePositionApplied),
            (piece.truncate, Reached::TruncateApplied),
            (applied.kept, Reached::ValueKept),
            (applied.replaced, Reached::RowReplaced),
            (applied.retried && self.store.unique_index, Reached::UniqueRetried),
            (back && piece.fetched, Reached::PieceFetchedBack),
            (back && piece.truncate, Reached::TruncateAppliedBack),
            (back && applied.kept, Reached::ValueKeptBack),
            (back && applied.replaced, Reached::RowReplacedBack),
            (
                back && applied.retried && self.scenario.unique,
                Reached::UniqueRetriedBack,
            ),
        ];
        self.reach_all(reached);
        // A fetched row comes from the future, so its unique values may still belong to another row until the
        // batch ends (R17, R19).
        if batch.fetched && piece.applied.is_none() {
            return Ok(None);
        }
        match repeated_code(&batch.rows).filter(|_| self.store.unique_index) {
            Some(code) => Err(Breach::NotUnique { code }),
            None => Ok(None),
        }
    }

    fn commit_batch(&mut self, task: &mut Task, batch: OpenBatch, end: Lsn) -> Result<(), Breach> {
        if batch.pieces.len() > 1 {
            self.coverage.reach(Reached::BatchOfManyPieces);
        }
        task.lost = self.loses_answer();
        if task.lost && self.dice.chance(50) {
            self.coverage.reach(Reached::PieceAnswerLost);
            return Ok(());
        }
        if task.lost {
            self.coverage.reach(Reached::PieceAnswerLostCommitted);
        }
        let (direction, target) = (self.direction(), self.target());
        let says = (direction == Direction::Back).then(|| carried_back_message(&self.scenario.name()));
        let changes = batch.changes.as_slice().into();
        self.world.engine_write(&mut self.dice, target, changes, says);
        self.store.advance(direction, end);
        if let Some(last) = batch.pieces.last() {
            let note = last.ledger.clone();
            self.write_note(&note);
        }
        if let Some(aligned) = batch.pieces.last().and_then(|piece| piece.aligned.clone()) {
            self.store.aligned = Some(aligned);
            self.note_alignment(end);
        }
        if self.is_planted(Planted::ApplyNotAtomic) && !task.lost {
            self.keep_open(batch);
            task.stage = 1;
            return Ok(());
        }
        self.store.rows = batch.rows;
        self.store.last_apply = self.world.clock;
        task.answer = Some(Event::PieceApplied);
        self.check_target(end)
    }

    /// Planted: the rows after their position.
    fn commit_rows_late(&mut self, task: &mut Task) -> Result<(), Breach> {
        let batch = self.engine.as_mut().and_then(|engine| engine.batch.take());
        if let Some(batch) = batch {
            self.store.rows = batch.rows;
            self.store.last_apply = self.world.clock;
        }
        task.answer = Some(Event::PieceApplied);
        Ok(())
    }

    /// Reads rows under a snapshot, then a durable insert position.
    pub(super) fn fetch(
        &mut self,
        task: &mut Task,
        keys: &[FetchKey],
        same_snapshot: bool,
        locked: bool,
    ) -> Result<(), Breach> {
        if task.stage == 0 && !self.open_fetch(task, same_snapshot, locked)? {
            return Ok(());
        }
        // Writers go on between the snapshot and the position.
        if self.dice.chance(65) {
            return Ok(());
        }
        let position = if self.is_planted(Planted::ReachBeforeSnapshot) {
            task.position
        } else {
            self.world.engine_commit(&mut self.dice, None)
        };
        let Some(session) = self.engine.as_mut().and_then(|engine| engine.fetch.as_mut()) else {
            return Ok(());
        };
        // Once for a snapshot: a later position would draw in more than the rows can come from.
        let reach = *session.reach.get_or_insert(position);
        let snapshot = session.snapshot.clone();
        let mut rows = Vec::with_capacity(keys.len());
        for fetch in self.held_at_once(keys) {
            let key = Key::from_cells(&fetch.key).ok_or(Breach::Unreadable)?;
            rows.push(self.world.heap.row(&snapshot, key.number));
        }
        if rows.iter().any(Option::is_none) {
            self.coverage.reach(Reached::FetchedRowGone);
        }
        let table = self.world.live;
        task.answer = Some(Event::Fetched {
            snapshot: snapshot.to_core(),
            rows: rows
                .into_iter()
                .map(|row| row.map(|row| row.to_core(table)))
                .collect(),
            reach,
        });
        Ok(())
    }

    /// Those whose rows are told now: mostly all of them, and one at least.
    pub(super) fn held_at_once<'a>(&mut self, keys: &'a [FetchKey]) -> &'a [FetchKey] {
        if keys.len() < 2 || !self.dice.chance(25) {
            return keys;
        }
        self.coverage.reach(Reached::FetchAnsweredInPart);
        &keys[..1 + self.dice.index(keys.len() - 1)]
    }

    /// Lock, then snapshot. False while the lock is somebody else's.
    fn open_fetch(&mut self, task: &mut Task, same_snapshot: bool, locked: bool) -> Result<bool, Breach> {
        match (locked, self.world.exclusive) {
            (true, Exclusive::Held) | (false, Exclusive::Free) => {}
            (true, Exclusive::Free | Exclusive::Wanted) => return Err(Breach::FetchWithoutOwnLock),
            (false, Exclusive::Wanted | Exclusive::Held) => return Err(Breach::FetchBehindOwnLock),
        }
        let open = self.engine.as_ref().and_then(|engine| engine.fetch.as_ref());
        let again = open.is_some();
        task.stage = 1;
        if same_snapshot {
            if !again || locked {
                return Err(Breach::NoFetchOpen);
            }
            self.coverage.reach(Reached::FetchInSameSnapshot);
            return Ok(true);
        }
        self.end_fetch();
        let takes_lock = !locked && !self.is_planted(Planted::FetchWithoutLock);
        if takes_lock && self.world.is_truncating() {
            task.stage = 0;
            return Ok(false);
        }
        if again {
            self.coverage.reach(Reached::FetchAskedAgain);
        }
        if locked {
            self.coverage.reach(Reached::FetchUnderLock);
        }
        if takes_lock {
            self.world.shares += 1;
        }
        task.position = self.world.wal.flushed();
        let session = FetchSession {
            snapshot: self.world.snapshot(),
            reach: None,
            locks: takes_lock,
        };
        if let Some(engine) = &mut self.engine {
            engine.fetch = Some(session);
        }
        Ok(true)
    }
}

/// Planted: what is put is deleted again.
fn apply_backwards(rows: &mut Rows, piece: &Piece, shape: Shape) -> Result<target::Applied, Breach> {
    let puts = Piece {
        deletes: Vec::new(),
        ..piece.clone()
    };
    let deletes = Piece {
        truncate: false,
        puts: Vec::new(),
        ..piece.clone()
    };
    let applied = target::apply(rows, &puts, shape)?;
    target::apply(rows, &deletes, shape)?;
    Ok(applied)
}
