//! Faults of the seed: processes and servers die, connections break, everything stands still.

use std::time::Duration;

use crossfade_core::migration::Command;
use crossfade_core::piece::Piece;

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::planted::Planted;
use crate::row::SourceRow;
use crate::simulation::Simulation;
use crate::target;
use crate::world::Exclusive;

/// What a planted bug leaves running after its engine.
#[derive(Debug)]
pub(crate) enum Zombie {
    /// A batch that commits when it likes.
    Batch(Vec<Piece>),
    /// A range that was reported before it was committed.
    Range(Vec<SourceRow>),
}

impl Simulation {
    pub(crate) fn fault(&mut self) -> Result<(), Breach> {
        let interval = self.fault_interval();
        if interval == 0 || !self.dice.once_in(interval) {
            return Ok(());
        }
        match self.dice.below(10) {
            0..4 if self.engine.is_some() => {
                self.coverage.reach(Reached::EngineCrashed);
                self.note(|| "the engine is killed".into());
                self.end_engine()?;
            }
            4..6 if self.engine.is_some() => {
                self.coverage.reach(Reached::ConnectionLost);
                self.note(|| "the stream breaks; the engine begins at the durable state".into());
                self.end_engine()?;
                self.start_engine()?;
            }
            6..8 => self.crash_server(),
            _ => {
                self.coverage.reach(Reached::Stalled);
                self.now += Duration::from_millis(self.dice.below(600));
            }
        }
        Ok(())
    }

    /// Steps to a fault, on average. Under the lock and after the swap steps are few, so faults are many.
    fn fault_interval(&self) -> u64 {
        const UNDER_LOCK: u64 = 12;
        const AFTER_SWAP: u64 = 8;
        match self.scenario.fault_interval {
            _ if self.is_calm() => 0,
            0 => 0,
            _ if self.world.swapped => AFTER_SWAP,
            _ if self.world.exclusive == Exclusive::Held => UNDER_LOCK,
            interval => interval,
        }
    }

    fn crash_server(&mut self) {
        self.coverage.reach(Reached::ServerCrashed);
        self.note_feed();
        self.close_sessions();
        self.zombies.clear();
        let lost = self.world.crash();
        if lost > 0 {
            self.coverage.reach(Reached::CommitsLost);
        }
        self.note(|| format!("the server crashes and loses {lost} commits"));
    }

    /// The statement goes on without its engine, and nothing stops it.
    pub(crate) fn leave_zombie(&mut self, command: Command) {
        let Command::Apply(piece) = command else { return };
        let engine = self.engine.as_mut();
        let batch = engine.and_then(|engine| engine.batch.take());
        let mut pieces = batch.map_or(Vec::new(), |batch| batch.pieces);
        if piece.applied.is_some() {
            pieces.push(piece);
            self.zombies.push(Zombie::Batch(pieces));
        }
    }

    pub(crate) fn wake_zombies(&mut self) -> Result<(), Breach> {
        if self.zombies.is_empty() || !self.dice.once_in(12) {
            return Ok(());
        }
        let position = self.dice.index(self.zombies.len());
        match self.zombies.swap_remove(position) {
            Zombie::Batch(pieces) => self.commit_zombie(&pieces),
            Zombie::Range(rows) => self.insert_range(&rows),
        }
    }

    fn commit_zombie(&mut self, pieces: &[Piece]) -> Result<(), Breach> {
        if self.world.swapped || self.store.copied.is_none() {
            return Ok(());
        }
        self.note(|| "a statement of a dead engine commits".into());
        for piece in pieces {
            // What fails rolls back: the server is still the server.
            let mut rows = self.store.rows.clone();
            if target::apply(&mut rows, piece, self.scenario.mixed).is_ok() {
                self.store.rows = rows;
            }
        }
        let applied = pieces.last().and_then(|piece| piece.applied);
        if let (Some(applied), Some(copied)) = (applied, &mut self.store.copied) {
            copied.0 = applied;
        }
        Ok(())
    }

    /// A process that reported a range too early dies with it half of the time.
    pub(crate) fn report_early(&mut self, rows: Vec<SourceRow>) {
        debug_assert!(self.is_planted(Planted::RangeReportedEarly), "only that one does");
        self.zombies.push(Zombie::Range(rows));
    }
}
