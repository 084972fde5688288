//! The migration's side of the detector (R31): what a stray means for verification and rollback.

use super::{Activity, Command, Migration};
use crate::change::StreamItem;
use crate::detector::{Detector, Seen};
use crate::phase::Phase;
use crate::position::Lsn;
use crate::snapshot::Snapshot;
use crate::way_back::Direction;

impl Migration {
    /// After the swap the forward stream is read on, for as long as the retired table follows.
    pub(super) fn detect(&mut self) {
        let (seen, committing) = (self.detected, &self.inherited.2);
        self.commands.push_back(Command::Detect {
            from: seen.upto.unwrap_or(Lsn(0)),
        });
        self.detector = Some(Detector::new(&self.plan.name, seen, committing));
    }

    /// Whether the detector's stream should be read on. Not while a swap may be committed, nor behind it: then the retired
    /// table is the application's own again, and what it writes there is no stray.
    pub fn wants_detected(&self) -> bool {
        self.phase == Phase::Swapped && !self.cutover.is_swapping()
    }

    pub(super) fn detector_received(&mut self, item: &StreamItem) {
        if let Some(detector) = &mut self.detector {
            detector.receive(item, self.reference);
        }
    }

    pub(super) fn seen_noted(&mut self) {
        if let Some(detector) = &mut self.detector {
            let noted = detector.noted();
            self.commands.push_back(Command::AcknowledgeSeen(noted));
        }
    }

    /// What is to be written down of what was seen.
    pub(super) fn detector_on(&mut self, flush: bool) {
        let seen = self.detector.as_mut().and_then(|detector| detector.poll(flush));
        self.commands.extend(seen.map(Command::NoteSeen));
    }

    /// A snapshot that nothing is compared under. One that is being opened was taken before it, perhaps.
    pub(super) fn detector_observes(&mut self, snapshot: &Snapshot) {
        if self.is_following()
            && let Some(detector) = &mut self.detector
        {
            detector.observe(snapshot);
        }
    }

    /// The tables may not be equal: every row is to be compared before the old one takes its place again.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.direction() == Direction::Back && (self.differs || self.seen().strays.in_doubt())
    }

    /// What the detector has seen.
    pub(super) fn seen(&self) -> Seen {
        self.detector.as_ref().map_or(self.detected, |detector| Seen {
            upto: Some(detector.seen()),
            strays: detector.strays(),
        })
    }

    /// What it has not read when the lock is asked for it must read under the lock.
    pub(super) fn detector_keeps_cutover(&self, target: Lsn) -> bool {
        let behind = |detector: &Detector| detector.seen() < target;
        self.activity == Activity::CuttingOver && self.detector.as_ref().is_some_and(behind)
    }

    /// The target is locked against everyone, the fence is behind that: was there a stray in front of it?
    pub(super) fn look_up_to_the_lock(&mut self) {
        let Some(position) = self.cutover.awaits_detector() else {
            return;
        };
        match &self.detector {
            Some(detector) if detector.seen() < position => {}
            _arrived if self.is_in_doubt() => self.cutover.withdraw(),
            _arrived => self.cutover.nothing_unseen(),
        }
    }
}
