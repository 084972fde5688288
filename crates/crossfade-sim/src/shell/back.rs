//! The way back: publication and slot before the cutover, the position where it begins, and its end when the retired
//! table does not take a row.

use crossfade_core::migration::Event;
use crossfade_core::position::Lsn;

use super::Task;
use crate::breach::Breach;
use crate::coverage::Reached;
use crate::simulation::Simulation;
use crate::world::By;

impl Simulation {
    /// The slot's creation waits for every transaction that is running. From here on it will send
    /// whatever is written to the new table: first of all what we carry there ourselves.
    pub(super) fn prepare_back(&mut self, task: &mut Task) {
        if task.stage == 0 {
            self.store.back_slot = None;
            task.waits_for = self.world.active.keys().copied().collect();
            task.stage = 1;
            return;
        }
        let running = |xid| self.world.active.contains_key(xid);
        if task.waits_for.iter().any(running) {
            return;
        }
        self.world.wal.flush();
        self.store.back_slot = Some(self.world.wal.insert_position());
        self.done_or_lost(task, Event::BackPrepared);
    }

    /// At the end of the swap's commit record, and nowhere else.
    pub(super) fn begin_back(&mut self, task: &mut Task, at: Lsn) -> Result<(), Breach> {
        let swap = self.world.in_place_since();
        if at != swap {
            return Err(Breach::BeginsElsewhere { at, swap });
        }
        let slot = self.store.back_slot.unwrap_or(at);
        let commits = self.world.wal.commits().iter();
        let own =
            commits.filter(|commit| commit.start >= slot && commit.end <= swap && commit.by == By::Engine);
        if own.clone().any(|commit| !commit.changes.is_empty()) {
            self.coverage.reach(Reached::OwnDrainSkipped);
        }
        if own.count() > 1 {
            self.coverage.reach(Reached::OwnMessagesSkipped);
        }
        self.world.engine_commit(&mut self.dice, None);
        self.store.back = Some(at);
        self.store.aligned = None;
        self.coverage.reach(Reached::BackBegun);
        self.done_or_lost(task, Event::BackBegun);
        Ok(())
    }

    pub(super) fn close_back(&mut self, task: &mut Task, since: Lsn) -> Result<(), Breach> {
        let applied = self.store.back.unwrap_or(Lsn(0));
        if since != applied {
            return Err(Breach::ClosedElsewhere { since, applied });
        }
        self.world.engine_commit(&mut self.dice, None);
        let place = if self.store.back_closed {
            Reached::BackClosedAgain
        } else {
            Reached::BackClosed
        };
        self.coverage.reach(place);
        self.store.back_closed = true;
        self.done_or_lost(task, Event::BackClosed);
        Ok(())
    }

    pub(super) fn reopen_back(&mut self, task: &mut Task) {
        self.world.engine_commit(&mut self.dice, None);
        self.coverage.reach(Reached::BackReopened);
        self.store.back_closed = false;
        self.done_or_lost(task, Event::BackReopened);
    }

    /// The work is done; its answer comes, or does not.
    fn done_or_lost(&mut self, task: &mut Task, event: Event) {
        task.lost = self.loses_answer();
        if task.lost {
            self.coverage.reach(Reached::BackAnswerLost);
        } else {
            task.answer = Some(event);
        }
    }
}
