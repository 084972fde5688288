//! The cutover's session, the marker's, and the one that looks at old snapshots.

use std::time::Duration;

use crossfade_core::cutover::{CutoverCommand, CutoverEvent, Holder};
use crossfade_core::phase::Phase;
use crossfade_core::piece::marker;
use crossfade_core::way_back::swap_message;

use super::{Task, answer};
use crate::breach::Breach;
use crate::coverage::Reached;
use crate::history::History;
use crate::planted::Planted;
use crate::row::Table;
use crate::simulation::Simulation;
use crate::world::{Exclusive, Reader};

/// So often the swap of one run may fail, also when other faults are over.
const SWAP_FAULTS: u32 = 2;

impl Simulation {
    pub(super) fn cutover(&mut self, task: &mut Task, command: CutoverCommand) -> Result<(), Breach> {
        match command {
            CutoverCommand::ListOldSnapshots { round } => {
                let holders = self.old_snapshots();
                if !holders.is_empty() {
                    self.coverage.reach(Reached::OldReadersWaitedFor);
                }
                task.answer = answer(CutoverEvent::OldSnapshots { round, holders });
            }
            CutoverCommand::Lock { slice, order: _ } => self.lock(task, slice),
            CutoverCommand::PlantMarker { attempt } => {
                if !self.is_planted(Planted::MarkerBeforeLock) {
                    self.plant_marker(attempt);
                }
                task.answer = answer(CutoverEvent::MarkerPlanted);
            }
            CutoverCommand::Close => {
                let position = self.world.engine_commit(&mut self.dice, None);
                task.answer = answer(CutoverEvent::Closed { position });
            }
            CutoverCommand::Swap { attempt } => self.swap(task, attempt)?,
            CutoverCommand::Resolve => self.resolve(task)?,
            CutoverCommand::Unlock => {
                self.coverage.reach(Reached::LockGivenBack);
                self.world.release();
                task.answer = answer(CutoverEvent::Unlocked);
            }
        }
        Ok(())
    }

    /// Durable, in a session of its own.
    fn plant_marker(&mut self, attempt: u32) {
        let content = marker("sim", attempt);
        self.world.engine_commit(&mut self.dice, Some(content));
    }

    /// Sessions that wait for our own lock are not listed.
    fn old_snapshots(&self) -> Vec<Holder> {
        if self.is_planted(Planted::OldReadersUnlisted) {
            return Vec::new();
        }
        let held = self.world.exclusive != Exclusive::Free;
        let listed = |reader: &&Reader| !(held && reader.waits);
        let readers = self.world.readers.iter().filter(listed);
        readers
            .map(|reader| Holder {
                id: (reader.pid, format!("{}/1", reader.pid)),
                description: format!("reader {}", reader.pid),
            })
            .collect()
    }

    /// Queues for the lock; others queue behind, and nobody who has one is disturbed.
    fn lock(&mut self, task: &mut Task, slice: Duration) {
        if task.stage == 0 {
            task.stage = 1;
            self.world.exclusive = Exclusive::Wanted;
            if self.is_planted(Planted::MarkerBeforeLock)
                && let Some(engine) = &self.engine
            {
                let attempt = engine.machine.progress().attempts;
                self.plant_marker(attempt);
            }
        } else if !self.world.is_source_in_use() || self.is_planted(Planted::LockIsShared) {
            self.world.exclusive = Exclusive::Held;
            task.answer = answer(CutoverEvent::Locked);
        } else if self.now >= task.sent + slice {
            self.coverage.reach(Reached::LockTimedOut);
            self.world.release();
            let blockers = self.old_snapshots();
            task.answer = answer(CutoverEvent::LockTimedOut { blockers });
        }
    }

    fn swap(&mut self, task: &mut Task, attempt: u32) -> Result<(), Breach> {
        let may_fail = self.scenario.fault_interval > 0 && self.swap_faults < SWAP_FAULTS;
        let fails = may_fail && self.dice.once_in(4);
        let lost = may_fail && self.dice.once_in(3);
        self.swap_faults += u32::from(fails || lost);
        if !fails {
            self.commit_swap(attempt)?;
        }
        let event = match (fails, lost) {
            (false, false) => CutoverEvent::Swapped,
            (true, false) => {
                self.coverage.reach(Reached::SwapRolledBack);
                CutoverEvent::SwapRolledBack {
                    reason: "the catalogs differ".into(),
                }
            }
            (fails, true) => {
                self.coverage.reach(if fails {
                    Reached::SwapLostRolledBack
                } else {
                    Reached::SwapLostCommitted
                });
                CutoverEvent::SwapUnknown
            }
        };
        self.world.release();
        task.answer = answer(event);
        Ok(())
    }

    fn commit_swap(&mut self, attempt: u32) -> Result<(), Breach> {
        if self.has_swapped() {
            return Err(Breach::SwappedTwice);
        }
        let (phase, place) = match self.world.live {
            Table::Old => (Phase::Swapped, Reached::Swapped),
            Table::New => (Phase::RolledBack, Reached::RolledBack),
        };
        if self.world.exclusive != Exclusive::Held {
            return Err(Breach::SwapWithoutLock);
        }
        self.check_swap()?;
        self.coverage.reach(place);
        if attempt > 1 {
            self.coverage.reach(Reached::SecondAttempt);
        }
        self.note(|| "the swap commits".into());
        // Only the swap there says so: the reverse stream begins at its end.
        let says = (phase == Phase::Swapped).then(|| swap_message(&self.scenario.name()));
        let (former, target) = (self.world.live, self.target());
        let retired = self.world.swap(&mut self.dice, target, &self.store.rows, says);
        let next = self.world.wal.commits().len();
        self.history = History::new(retired.clone(), next, target, former);
        self.store.swapped(phase, retired, self.scenario.unique);
        self.steps_after_swap = 0;
        self.swap_faults = 0;
        Ok(())
    }

    /// The swap that this engine was made for is committed.
    fn has_swapped(&self) -> bool {
        let engine = self.engine.as_ref();
        engine.is_some_and(|engine| engine.source != self.world.live)
    }

    /// By the transaction's status alone.
    fn resolve(&mut self, task: &mut Task) -> Result<(), Breach> {
        if self.is_planted(Planted::SwapsAgain) {
            self.world.exclusive = Exclusive::Held;
            self.commit_swap(1)?;
        }
        task.answer = answer(if self.has_swapped() {
            CutoverEvent::Swapped
        } else {
            CutoverEvent::SwapRolledBack {
                reason: "the connection broke before the commit".into(),
            }
        });
        Ok(())
    }
}
