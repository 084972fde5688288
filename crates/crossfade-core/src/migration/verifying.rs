//! The migration's side of the verification: when a pair of snapshots may be opened, and what follows from the result.
//!
//! Every pair begins with a round of a drain: at its end the feed is at a boundary and the target consistent (R25).
//! Nothing but the alignment is applied from there until the target's snapshot is taken.

use std::time::Instant;

use super::{Activity, Command, Invisible, Migration, Stop};
use crate::phase::Phase;
use crate::verify::{Obstacle, VerifyEvent};
use crate::way_back::Direction;

impl Migration {
    /// The target has caught up with all its indexes: it is ready once every row was compared, if that is wanted.
    pub(super) fn become_ready(&mut self) {
        if self.must_verify {
            self.must_verify = false;
            self.activity = Activity::Verifying;
            self.verification.start(std::mem::take(&mut self.must_repair));
        } else if self.phase < Phase::Ready {
            self.record(Phase::Ready);
        } else {
            self.activity = match self.direction() {
                Direction::Forward => Activity::Ready,
                Direction::Back => Activity::FollowingBack,
            };
        }
    }

    /// What an earlier engine has applied and aligned.
    pub(super) fn inherit(&mut self) {
        let (aligned, now, committing) = &self.inherited;
        if let Some(feed) = &mut self.feed {
            feed.inherit(aligned.as_ref(), now, committing);
        }
    }

    /// Nothing else goes on: a verification may begin.
    pub(super) fn is_following(&self) -> bool {
        matches!(self.activity, Activity::Ready | Activity::FollowingBack)
    }

    /// What is compared does not follow any more.
    pub(super) fn abandon_verification(&mut self) {
        if self.activity == Activity::Verifying {
            self.verification.abandon();
            self.send_verify_commands();
        }
    }

    /// The target is consistent, and stays so.
    pub(super) fn open_pair(&mut self, now: Instant) {
        if let Some(feed) = self.feed.as_mut() {
            feed.expect_alignment();
            self.verification.open(now);
        }
    }

    /// Between the snapshot of the source and that of the target.
    pub(super) fn is_aligning(&self) -> bool {
        self.verification.is_aligning()
    }

    pub(super) fn verify_event(&mut self, now: Instant, event: VerifyEvent) {
        // An answer to what was abandoned.
        if self.activity != Activity::Verifying {
            return;
        }
        match event {
            VerifyEvent::Opened {
                snapshot,
                position,
                file,
                repair,
            } => {
                self.reference = snapshot.xmax();
                self.proofs.observe(&snapshot);
                let Some(feed) = self.feed.as_mut() else { return };
                let stray = self
                    .detector
                    .as_ref()
                    .and_then(|found| found.missed_by(&snapshot));
                let aligned = match stray {
                    Some(xid) => Err(xid),
                    None => feed.align(snapshot, position, repair).map_err(|error| error.xid),
                };
                match aligned {
                    Ok(()) => {
                        let strays = self.seen().strays.count;
                        self.verification.align(position, strays, file);
                    }
                    Err(xid) => {
                        self.proofs.miss(now, xid);
                        self.verification
                            .give_up_pair(now, Obstacle::Invisible(Invisible { xid }));
                    }
                }
            }
            event @ (VerifyEvent::Pinned
            | VerifyEvent::Compared(_)
            | VerifyEvent::Drilled { .. }
            | VerifyEvent::Recorded) => {
                let held_back = self.is_held_back();
                self.verification.handle_event(now, event, held_back);
            }
        }
    }

    /// Before the feed forms its next piece.
    pub(super) fn verify_on(&mut self, now: Instant) {
        if self.activity != Activity::Verifying {
            return;
        }
        if self.verification.is_due() && !self.catching_up && !self.is_held_back() {
            self.catching_up = true;
            self.drain(Activity::Verifying);
        }
        self.alignment_on(now);
        self.send_verify_commands();
    }

    fn send_verify_commands(&mut self) {
        while let Some(command) = self.verification.poll_command() {
            self.commands.push_back(Command::Verify(command));
        }
    }

    fn alignment_on(&mut self, now: Instant) {
        if !self.verification.is_aligning() {
            return;
        }
        let Some(feed) = self.feed.as_mut() else { return };
        if !feed.is_aligning() {
            return self.verification.aligned();
        }
        let obstacle = if feed.is_crowded() {
            Some(Obstacle::Crowded)
        } else {
            self.verification.is_late().then_some(Obstacle::Late)
        };
        if let Some(obstacle) = obstacle
            && feed.give_alignment_up()
        {
            self.verification.give_up_pair(now, obstacle);
        }
    }

    /// After the result is written down.
    pub(super) fn verified(&mut self) {
        if self.activity != Activity::Verifying {
            return;
        }
        match self.verification.take_outcome() {
            None => {}
            Some(found) if found.is_equal() => {
                self.differs = false;
                if let Some(detector) = &mut self.detector {
                    detector.settle(found.strays);
                }
                self.become_ready();
            }
            // The retired table goes on following: it is the rollback that is refused.
            Some(_) if self.direction() == Direction::Back && !self.swap_asked => {
                self.differs = true;
                self.become_ready();
            }
            Some(found) => self.stop(Stop::NotEqual(Box::new(found))),
        }
    }
}
