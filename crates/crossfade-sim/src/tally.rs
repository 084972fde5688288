//! What a machine has come to, counted as [`Reached`].

use crossfade_core::migration::Activity;
use crossfade_core::phase::Phase;

use crate::coverage::Reached;
use crate::simulation::Simulation;

impl Simulation {
    pub(crate) fn reach_all<const N: usize>(&mut self, places: [(bool, Reached); N]) {
        for (_, place) in places.into_iter().filter(|(holds, _)| *holds) {
            self.coverage.reach(place);
        }
    }

    /// Counts what the feed did.
    pub(crate) fn note_feed(&mut self) {
        let Some(engine) = &self.engine else { return };
        let progress = engine.machine.progress();
        let reached = [
            (progress.feed.dropped > 0, Reached::ChangeDropped),
            (progress.feed.applied > 0, Reached::ChangeApplied),
            (progress.last_drain > 0, Reached::DrainedChanges),
        ];
        self.reach_all(reached);
    }

    /// Counts which branches of the ledger this engine took.
    pub(crate) fn note_ledger(&mut self) {
        let Some(engine) = &self.engine else { return };
        let counts = engine.machine.progress().ledger;
        let places = [
            (Reached::LedgerPendingDropped, counts.pending_dropped),
            (Reached::LedgerPendingHeld, counts.pending_held),
            (Reached::LedgerCopyingDropped, counts.copying_dropped),
            (Reached::LedgerCopyingHeld, counts.copying_held),
            (Reached::LedgerCopiedDropped, counts.copied_dropped),
            (Reached::LedgerCopiedApplied, counts.copied_applied),
            (Reached::LedgerTruncateDropped, counts.truncate_dropped),
            (Reached::LedgerTruncateHeld, counts.truncate_held),
            (Reached::LedgerTruncateEmptied, counts.truncate_emptied),
            (Reached::LedgerTruncateRestarted, counts.truncate_restarted),
            (Reached::LedgerRegistered, counts.registered),
            (Reached::LedgerUnseenDrop, counts.unseen_drop),
            (Reached::LedgerPassedOver, counts.passed_over),
            (Reached::LedgerCutSmaller, counts.cut_smaller),
            (Reached::LedgerUnseenBySlot, counts.unseen_by_slot),
            (Reached::LedgerOutdated, counts.outdated),
            (Reached::LedgerFailed, counts.failed),
            (Reached::LedgerAligned, counts.aligned),
        ];
        for (place, times) in places {
            self.coverage.reach_often(place, times);
        }
    }
}

pub(crate) fn started(phase: Phase) -> Reached {
    match phase {
        Phase::Planned => Reached::StartedPlanned,
        Phase::Prepared => Reached::StartedPrepared,
        Phase::Copying => Reached::StartedCopying,
        Phase::Copied => Reached::StartedCopied,
        Phase::Following => Reached::StartedFollowing,
        Phase::Ready => Reached::StartedReady,
        Phase::Swapped => Reached::StartedSwapped,
        Phase::RolledBack => Reached::StartedRolledBack,
        // An aborted migration is not started: the run is over.
        Phase::Completed | Phase::Aborted => Reached::StartedCompleted,
    }
}

pub(crate) fn at(activity: Activity) -> Reached {
    match activity {
        Activity::Preparing => Reached::AtPreparing,
        Activity::OpeningSnapshot => Reached::AtOpeningSnapshot,
        Activity::Copying => Reached::AtCopying,
        Activity::RecordingChunk => Reached::AtRecordingChunk,
        Activity::BuildingKeyIndex => Reached::AtBuildingKeyIndex,
        Activity::DrainingBacklog => Reached::AtDrainingBacklog,
        Activity::BuildingIndexes => Reached::AtBuildingIndexes,
        Activity::Draining => Reached::AtDraining,
        Activity::Analyzing => Reached::AtAnalyzing,
        Activity::Verifying => Reached::AtVerifying,
        Activity::Ready => Reached::AtReady,
        Activity::PreparingBack => Reached::AtPreparingBack,
        Activity::CuttingOver => Reached::AtCuttingOver,
        Activity::Finishing => Reached::AtFinishing,
        Activity::SeekingSwap => Reached::AtSeekingSwap,
        Activity::FollowingBack => Reached::AtFollowingBack,
        Activity::BackClosed => Reached::AtBackClosed,
        Activity::Stopped => Reached::AtStopped,
    }
}
