//! After the swap: the retired table follows the new one, until `rollback` or `complete` (R30–R32).
//!
//! ```text
//!  finish ─► seeking the swap ─► following back ─► cutover, backwards ─► finish
//!                                      │ ▲
//!                    a row is refused  ▼ │ continue
//!                                   closed
//! ```
//!
//! The feed, the drain and the cutover are those of the way there, over the step backwards. Its ledger holds
//! nothing that was copied: from the end of the swap's commit record on every change is applied, and before it
//! none. Beside it the detector looks at who else writes to the retired table (see `detecting.rs`). A row that the retired table refuses closes the way back and touches nothing else.

use super::{Activity, Command, Migration, Stop, copy_step};
use crate::change::StreamItem;
use crate::feed::Feed;
use crate::ledger::Ledger;
use crate::phase::Phase;
use crate::position::Lsn;
use crate::way_back::{Direction, Threshold, carried_back_message, swap_message};

impl Migration {
    /// Which way rows are carried now.
    pub fn direction(&self) -> Direction {
        Direction::at(self.phase, self.has_way_back())
    }

    pub(super) fn has_way_back(&self) -> bool {
        copy_step(&self.plan).back.is_some()
    }

    /// What comes after the swap is done: the retired table follows, or that was all.
    pub(super) fn finished(&mut self) {
        if self.phase != Phase::Swapped || !self.has_way_back() {
            return self.stop(Stop::Done);
        }
        self.detect();
        match self.back {
            Some(applied) => {
                self.feed_back(applied);
                self.inherit();
                self.commands.push_back(Command::Follow { from: applied });
                self.activity = Activity::FollowingBack;
                if self.reopening {
                    self.drain(Activity::FollowingBack);
                }
            }
            None => {
                self.threshold = Some(Threshold::new(swap_message(&self.plan.name)));
                // The slot knows from where: it was made just before the cutover.
                self.commands.push_back(Command::Follow { from: Lsn(0) });
                self.activity = Activity::SeekingSwap;
            }
        }
    }

    fn feed_back(&mut self, applied: Lsn) {
        let step = copy_step(&self.plan).towards(Direction::Back);
        self.feed = Some(Feed::new(
            &step.source,
            &step.targets,
            Ledger::settled(),
            applied,
            self.reference,
            self.options.feed,
        ));
        self.acknowledged = applied;
    }

    /// Takes the stream's next item in this direction; `None` if it is not for the feed.
    pub(super) fn back_item(&mut self, item: StreamItem) -> Option<StreamItem> {
        if let Some(threshold) = &mut self.threshold {
            if let Some(begin) = threshold.pass(&item) {
                self.threshold = None;
                // What follows in the stream must not be lost while the beginning is written down.
                self.feed_back(begin);
                self.commands.push_back(Command::BeginBack(begin));
            }
            return None;
        }
        let own = carried_back_message(&self.plan.name);
        Some(match item {
            StreamItem::Transaction(mut part) => {
                part.messages.retain(|message| *message != own);
                StreamItem::Transaction(part)
            }
            StreamItem::Keepalive { wal_end } => StreamItem::Keepalive { wal_end },
        })
    }

    /// What mends a row that was refused comes behind it in the stream: both go into one piece, as far as there is
    /// room for them.
    pub(super) fn waits_for_mending(&self) -> bool {
        let Some(feed) = self.feed.as_ref().filter(|_| self.reopening) else {
            return false;
        };
        let there = self.round.target.is_some_and(|target| feed.received() >= target);
        !there && feed.has_capacity()
    }

    pub(super) fn back_begun(&mut self) {
        self.activity = Activity::FollowingBack;
    }

    /// The retired table does not take a row: the application must not notice.
    pub(super) fn piece_refused(&mut self, reason: String) {
        // Its transaction holds a snapshot.
        if std::mem::take(&mut self.fetch_open) {
            self.commands.push_back(Command::EndFetch);
        }
        let since = self.feed.take().map_or(self.acknowledged, |feed| feed.applied());
        self.commands.push_back(Command::CloseBack { since, reason });
    }

    /// A lock that is held goes with the sessions of this engine; the next one tries the row again, and finds out
    /// without a lock that it is still refused.
    pub(super) fn back_closed(&mut self) {
        match self.activity {
            Activity::CuttingOver => self.stop(Stop::Again),
            _following => {
                self.abandon_verification();
                self.activity = Activity::BackClosed;
            }
        }
    }
}
