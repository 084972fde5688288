//! Faults of the seed: processes and servers die, connections break, everything stands still.

use std::time::Duration;

use crossfade_core::migration::Command;
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::way_back::Direction;

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::planted::Planted;
use crate::row::Row;
use crate::simulation::Simulation;
use crate::target::{self, Shape};
use crate::world::Exclusive;

/// Longer than any run.
const DEAD: Duration = Duration::from_secs(1_000_000);

/// What a planted bug leaves running after its engine.
#[derive(Debug)]
pub(crate) enum Zombie {
    /// A batch that commits when it likes.
    Batch(Shape, Vec<Piece>),
    /// An applier of the way there that goes on after the swap, from this commit of the log.
    Echo(usize),
    /// A range that was reported before it was committed.
    Range(Vec<Row>),
}

impl Simulation {
    pub(crate) fn fault(&mut self) -> Result<(), Breach> {
        let interval = self.fault_interval();
        let by_chance = interval > 0 && self.dice.once_in(interval);
        if !by_chance && !self.is_surely_due() {
            return Ok(());
        }
        self.faults += 1;
        let back = self.direction() == Direction::Back;
        let at = |there: Reached, on_the_way_back: Reached| if back { on_the_way_back } else { there };
        match self.dice.below(12) {
            0..4 if self.engine.is_some() => {
                self.coverage
                    .reach(at(Reached::EngineCrashed, Reached::EngineCrashedBack));
                self.note(|| "the engine is killed".into());
                self.end_engine()?;
            }
            4..6 if self.engine.is_some() => {
                self.coverage
                    .reach(at(Reached::ConnectionLost, Reached::ConnectionLostBack));
                self.note(|| "the stream breaks; the engine begins at the durable state".into());
                self.end_engine()?;
                self.start_engine()?;
            }
            6..8 => {
                self.coverage
                    .reach(at(Reached::ServerCrashed, Reached::ServerCrashedBack));
                self.crash_server();
            }
            8 => self.slow_down(false),
            9 => self.slow_down(true),
            _ => {
                self.coverage.reach(at(Reached::Stalled, Reached::StalledBack));
                self.now += Duration::from_millis(self.dice.below(600));
            }
        }
        Ok(())
    }

    /// One connection is slow, or dead: then its answer never comes.
    fn slow_down(&mut self, dead: bool) {
        let until = self.now + Duration::from_millis(20 + self.dice.below(if dead { 100 } else { 400 }));
        let Some(engine) = &mut self.engine else { return };
        let position = self.dice.index(engine.tasks.len() + 1);
        let never = self.start + DEAD;
        match engine.tasks.get_mut(position) {
            Some(task) => task.slow_until = if dead { never } else { until },
            None => engine.stream_slow_until = if dead { never } else { until },
        }
        if dead {
            engine.dead_until = Some(until);
        }
        self.coverage.reach(if dead {
            Reached::ConnectionDead
        } else {
            Reached::ConnectionSlow
        });
        self.note(|| format!("a connection is {}", if dead { "dead" } else { "slow" }));
    }

    /// An engine whose connection is dead begins at the durable state.
    pub(crate) fn notice_dead(&mut self) -> Result<(), Breach> {
        let due = self.engine.as_ref().and_then(|engine| engine.dead_until);
        if due.is_none_or(|due| due > self.now) {
            return Ok(());
        }
        self.note(|| "the engine finds a connection dead".into());
        self.end_engine()?;
        self.start_engine()
    }

    /// Steps to a fault, on average. Under the lock and after the swap steps are few, so faults are many.
    fn fault_interval(&self) -> u64 {
        const UNDER_LOCK: u64 = 12;
        const AFTER_SWAP: u64 = 12;
        const STEPS_AFTER_SWAP: u64 = 40;
        match self.scenario.fault_interval {
            _ if self.is_calm() => 0,
            0 => 0,
            _ if self.store.phase >= Phase::Swapped && self.steps_after_swap < STEPS_AFTER_SWAP => AFTER_SWAP,
            _ if self.world.exclusive == Exclusive::Held => UNDER_LOCK,
            interval => interval,
        }
    }

    /// No seed is without a fault.
    fn is_surely_due(&self) -> bool {
        self.faults == 0 && self.steps >= self.scenario.sure_fault_at
    }

    fn crash_server(&mut self) {
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
            self.zombies.push(Zombie::Batch(self.shape(), pieces));
        }
    }

    pub(crate) fn wake_zombies(&mut self) -> Result<(), Breach> {
        if self.zombies.is_empty() || !self.dice.once_in(12) {
            return Ok(());
        }
        let position = self.dice.index(self.zombies.len());
        match self.zombies.swap_remove(position) {
            Zombie::Batch(shape, pieces) => {
                self.commit_zombie(shape, &pieces);
                Ok(())
            }
            Zombie::Echo(next) => {
                let next = self.world.echo(&mut self.dice, next);
                self.zombies.push(Zombie::Echo(next));
                Ok(())
            }
            Zombie::Range(rows) => self.insert_range(&rows),
        }
    }

    fn commit_zombie(&mut self, shape: Shape, pieces: &[Piece]) {
        // After a swap the table that it names is elsewhere.
        if shape.source != self.world.live || self.store.applied(self.direction()).is_none() {
            return;
        }
        self.note(|| "a statement of a dead engine commits".into());
        for piece in pieces {
            // What fails rolls back: the server is still the server.
            let mut rows = self.store.rows.clone();
            if target::apply(&mut rows, piece, shape).is_ok_and(|applied| applied.refused.is_none()) {
                self.store.rows = rows;
            }
        }
        let applied = pieces.last().and_then(|piece| piece.applied);
        if let Some(applied) = applied {
            self.store.advance(self.direction(), applied);
        }
    }

    /// A process that reported a range too early dies with it half of the time.
    pub(crate) fn report_early(&mut self, rows: Vec<Row>) {
        debug_assert!(self.is_planted(Planted::RangeReportedEarly), "only that one does");
        self.zombies.push(Zombie::Range(rows));
    }
}
