//! The way of the changes through the migration: from the stream to the feed, from the feed to the applier, and the
//! rounds of a drain.

use std::time::{Duration, Instant};

use super::{Activity, CAUGHT_UP_SHARE, Command, Migration, Stop};
use crate::change::{Row, StreamItem};
use crate::feed::{Feed, FeedStep};
use crate::phase::Phase;
use crate::position::Lsn;
use crate::snapshot::Snapshot;
use crate::verify::VerifyCommand;
use crate::way_back::Direction;

/// A snapshot that does not see a change yet is given this long to be followed by one that does, and twice as long each
/// time.
const FETCH_PAUSE: Duration = Duration::from_millis(2);
const FETCH_PAUSE_MAX: Duration = Duration::from_millis(500);

impl Migration {
    /// Gives the feed an answer, and performs what it wants next.
    pub(super) fn feed_step(&mut self, answer: impl FnOnce(&mut Feed) -> Option<FeedStep>) {
        let step = self.feed.as_mut().and_then(answer);
        self.perform(step);
    }

    pub(super) fn receive(&mut self, item: StreamItem) {
        let item = match self.direction() {
            Direction::Forward => Some(item),
            Direction::Back => self.back_item(item),
        };
        let Some(item) = item else { return };
        if let Some(Err(error)) = self.feed.as_mut().map(|feed| feed.receive(item)) {
            self.interrupt.get_or_insert(Stop::CannotFollow(error));
        }
    }

    pub(super) fn perform(&mut self, step: Option<FeedStep>) {
        let command = match step {
            None => return,
            Some(FeedStep::Fetch { keys, .. }) if self.is_aligning() => {
                Command::Verify(VerifyCommand::Fetch { keys })
            }
            Some(FeedStep::Apply(piece)) => Command::Apply(piece),
            Some(FeedStep::Route { keys, bounds }) => Command::Route { keys, bounds },
            Some(FeedStep::Classify(keys)) => Command::Classify(keys),
            // It would queue behind our own request for the lock, and then stand in its way.
            Some(step @ FeedStep::Fetch { .. }) if self.must_wait_for_lock() => {
                self.deferred_fetch = Some(step);
                return;
            }
            Some(FeedStep::Fetch { keys, same_snapshot }) => {
                let locked = self.cutover.is_locked();
                let same_snapshot = same_snapshot && self.fetch_open;
                self.fetch_open |= !locked;
                Command::Fetch {
                    keys,
                    same_snapshot,
                    locked,
                    pause: self.fetch_pause,
                }
            }
        };
        self.commands.push_back(command);
    }

    /// A fetch that came too early is asked again, less and less often: nothing tells when it is time (R16).
    pub(super) fn fetched(&mut self, now: Instant, snapshot: Snapshot, rows: Vec<Option<Row>>, reach: Lsn) {
        self.proofs.observe(&snapshot);
        let Some(feed) = self.feed.as_mut() else { return };
        let step = feed.fetched(snapshot, rows, reach);
        self.fetch_pause = match feed.unseen_by_fetch() {
            Some(xid) => {
                self.proofs.miss(now, xid);
                (self.fetch_pause * 2).clamp(FETCH_PAUSE, FETCH_PAUSE_MAX)
            }
            None => Duration::ZERO,
        };
        self.perform(step);
    }

    pub(super) fn piece_applied(&mut self) {
        let Some(feed) = self.feed.as_mut() else { return };
        feed.piece_applied();
        if feed.is_at_boundary() && std::mem::take(&mut self.reopening) {
            self.commands.push_back(Command::ReopenBack);
        }
        if feed.is_at_boundary() && std::mem::take(&mut self.fetch_open) {
            self.commands.push_back(Command::EndFetch);
        }
        if feed.applied() > self.acknowledged {
            self.acknowledged = feed.applied();
            self.commands.push_back(Command::Acknowledge(self.acknowledged));
        }
    }

    /// Keeps the applier busy, except while indexes are built (R25) and after the swap.
    pub(super) fn feed_on(&mut self, flush: bool) {
        let applying = match self.activity {
            Activity::DrainingBacklog | Activity::Draining | Activity::Analyzing => true,
            Activity::Ready | Activity::PreparingBack | Activity::FollowingBack => true,
            Activity::Copying => self.chunks.is_some(),
            Activity::Verifying => !self.verification.holds_applier(),
            Activity::CuttingOver => !self.cutover.is_locked() || self.cutover.is_draining(),
            Activity::Preparing
            | Activity::OpeningSnapshot
            | Activity::RecordingChunk
            | Activity::BuildingKeyIndex
            | Activity::BuildingIndexes
            | Activity::Finishing
            | Activity::SeekingSwap
            | Activity::BackClosed
            | Activity::Stopped => false,
        };
        let applying = applying && !self.waits_for_mending();
        let applied = self.feed.as_ref().map_or(Lsn(0), Feed::applied);
        // A round that is held back at its target must not write down every position that its own writing moves.
        let short = self.round.target.is_some_and(|target| applied < target);
        let flush = flush || short || self.marker_arrived();
        if applying {
            self.feed_step(|feed| feed.poll(flush));
        }
    }

    /// Ends a round of a drain when its position is applied; the round that took no time was the last. What begins at
    /// its end may have to wait.
    pub(super) fn round_on(&mut self, now: Instant) {
        // A position that was asked for before a truncate began the copy again is of no use to it.
        if self.activity == Activity::Copying {
            self.round.target = None;
        }
        let (Some(target), Some(feed)) = (self.round.target, self.feed.as_ref()) else {
            return;
        };
        let there = feed.applied() >= target && feed.is_at_boundary();
        if !there || self.is_held_back() || self.detector_keeps_cutover(target) {
            return;
        }
        let started = self.round.started.unwrap_or(now);
        self.round.target = None;
        if now.saturating_duration_since(started) > self.plan.limits.hold_budget() / CAUGHT_UP_SHARE {
            self.round.begin(Some(now));
            self.commands.push_back(Command::ReadInsertPosition);
        } else {
            self.caught_up(now);
        }
    }

    pub(super) fn caught_up(&mut self, now: Instant) {
        self.catching_up = false;
        if self.activity == Activity::CuttingOver {
            self.cutover.caught_up(now);
        } else if self.activity == Activity::DrainingBacklog && self.phase == Phase::Copying {
            self.settle();
        } else if self.activity == Activity::Verifying {
            self.open_pair(now);
        } else if self.activity == Activity::DrainingBacklog && self.phase < Phase::Following {
            self.build_indexes();
        } else if self.phase < Phase::Ready {
            self.activity = Activity::Analyzing;
            self.commands.push_back(Command::Analyze);
        } else if self.direction() == Direction::Forward {
            self.become_ready();
        }
    }
}
