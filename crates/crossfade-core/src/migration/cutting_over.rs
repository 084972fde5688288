//! From ready to swapped, in either direction: what is prepared, when the cutover's machine begins, and how its lock
//! and the feed's fetches keep out of each other's way.

use std::time::Instant;

use super::{Activity, Command, Migration, Stop};
use crate::cutover::{CutoverCommand, CutoverEvent, Outcome};
use crate::phase::Phase;
use crate::piece::marker;
use crate::way_back::Direction;

impl Migration {
    pub(super) fn ready_on(&mut self, now: Instant) {
        if self.paused {
            return;
        }
        if self.must_verify && self.is_following() {
            self.become_ready();
        }
        if !self.swap_asked {
            return;
        }
        match self.activity {
            // Creating a slot waits for whoever is writing: never under the lock.
            Activity::Ready if self.has_way_back() && !self.back_prepared => {
                self.activity = Activity::PreparingBack;
                self.commands.push_back(Command::PrepareBack);
            }
            Activity::Ready => self.start_cutover(now),
            // A row that was refused may be refused again, and the drain would never end.
            Activity::FollowingBack if self.reopening => {}
            Activity::FollowingBack if self.is_in_doubt() => {
                self.must_verify = true;
                self.become_ready();
            }
            Activity::FollowingBack => self.start_cutover(now),
            _elsewhere => {}
        }
    }

    pub(super) fn back_prepared(&mut self, now: Instant) {
        self.back_prepared = true;
        self.activity = Activity::Ready;
        self.ready_on(now);
    }

    pub(super) fn start_cutover(&mut self, now: Instant) {
        self.swap_asked = false;
        self.activity = Activity::CuttingOver;
        self.cutover.start(now);
    }

    pub(super) fn cutover_event(&mut self, now: Instant, event: CutoverEvent) {
        if event == CutoverEvent::Locked {
            self.applied_at_lock = self.progress().feed.applied;
            // Attempts are numbered anew by every engine, and a former one's marker may have been replayed.
            if let Some(feed) = &mut self.feed {
                feed.forget_markers();
            }
        }
        self.must_verify |= event == CutoverEvent::Rewritten;
        self.cutover.handle_event(now, event);
    }

    /// A cutover ends with an answer or, between two attempts, with its time.
    pub(super) fn cutover_ended(&mut self) {
        if self.activity != Activity::CuttingOver {
            return;
        }
        match self.cutover.outcome().cloned() {
            None => {}
            Some(Outcome::Swapped) => {
                self.last_drain = self.progress().feed.applied - self.applied_at_lock;
                self.swapped();
            }
            Some(Outcome::GaveUp {
                mut obstacle,
                attempts,
            }) => {
                if let Some(invisible) = self.invisible {
                    obstacle = format!("{obstacle}; {invisible}");
                }
                self.stop(Stop::CutoverNotAchieved { obstacle, attempts });
            }
            Some(Outcome::Withdrawn) => {
                self.swap_asked = true;
                self.activity = match self.direction() {
                    Direction::Forward => Activity::Ready,
                    Direction::Back => Activity::FollowingBack,
                };
            }
        }
    }

    /// With a way back another machine begins, over the step backwards: nothing of this one may touch a table again.
    pub(super) fn swapped(&mut self) {
        // Whoever asked once more meanwhile asked for this one, and not for the way back.
        self.swap_asked = false;
        match (self.direction(), self.has_way_back()) {
            (Direction::Forward, true) => {
                self.phase = Phase::Swapped;
                self.stop(Stop::Again);
            }
            (Direction::Forward, false) => {
                self.phase = Phase::Swapped;
                self.finish();
            }
            (Direction::Back, _) => {
                self.phase = Phase::RolledBack;
                self.finish();
            }
        }
    }

    /// A fetch of a batch whose transaction is open must run, so that the batch can end and the lock, which waits
    /// for that, can be asked for. That of the batch behind it comes after the lock: under steady writes there always is
    /// one. While the lock is given back the cutover's session is nobody's.
    pub(super) fn must_wait_for_lock(&self) -> bool {
        let due = self.cutover.is_locking() && !self.fetch_open;
        due || self.cutover.is_unlocking()
    }

    pub(super) fn cutover_on(&mut self) {
        if self.cutover.is_catching_up() && !self.catching_up {
            self.catching_up = true;
            self.drain(self.activity);
        }
        if !self.must_wait_for_lock() {
            let step = self.deferred_fetch.take();
            self.perform(step);
        }
        while let Some(command) = self.deferred_lock.take().or_else(|| self.cutover.poll_command()) {
            if matches!(command, CutoverCommand::Lock { .. }) && self.fetch_open {
                self.deferred_lock = Some(command);
                return;
            }
            self.commands.push_back(Command::Cutover(command));
        }
    }

    /// A batch whose fetch does not get on keeps the lock from being asked for.
    pub(super) fn give_up_waiting(&mut self, now: Instant) {
        if self.deferred_lock.is_some() && self.cutover.give_up_waiting(now) {
            self.deferred_lock = None;
        }
    }

    /// The drain ends here. Positions before it, at which nothing was changed, would each be a commit under the lock, which
    /// the server would tell of in turn.
    pub(super) fn marker_arrived(&self) -> bool {
        let content = || marker(self.plan.name.as_str(), self.cutover.attempt());
        let Some(feed) = &self.feed else { return false };
        let of_cutover = self.cutover.is_draining() && feed.has_marker(&content());
        of_cutover
            || self
                .awaited
                .as_ref()
                .is_some_and(|marker| feed.has_marker(marker))
    }

    pub(super) fn drain_to_marker(&mut self) {
        if !self.cutover.is_draining() {
            return;
        }
        let Some(feed) = self.feed.as_ref() else { return };
        let content = marker(self.plan.name.as_str(), self.cutover.attempt());
        if feed.is_at_boundary() && feed.passed_marker(&content).is_some() {
            self.cutover.drained();
        }
    }
}
