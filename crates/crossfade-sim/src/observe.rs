//! What the world has come to: places that no event of the machine shows.

use crossfade_core::phase::Phase;

use crate::coverage::Reached;
use crate::row::Table;
use crate::simulation::Simulation;
use crate::world::By;

impl Simulation {
    /// Other applications use up ids, never so many that the oldest one the slot may still send is ambiguous.
    pub(crate) fn burn_xids(&mut self) {
        const BURN: u64 = 1 << 29;
        if !self.scenario.burns_xids || !self.reference_told || !self.dice.once_in(60) {
            return;
        }
        let next = self.world.next_xid().0;
        let commits = self.world.wal.commits();
        let slots = [self.store.slot, self.store.back_slot];
        let end = self.world.wal.insert_position();
        let slot = slots.into_iter().flatten().min().unwrap_or(end);
        let pending = &commits[commits.partition_point(|commit| commit.start < slot)..];
        let pending = pending.iter().map(|commit| commit.xid);
        let active = self.world.active.keys().copied();
        let unsent = pending.chain(active).min().map_or(next, |xid| xid.0);
        if next + BURN - unsent < (1 << 31) - (1 << 20) {
            self.coverage.reach(Reached::XidsBurned);
            self.world.burn_xids(BURN);
            self.reference_told = false;
        }
    }

    pub(crate) fn observe_world(&mut self) {
        let flushed = self.world.wal.flushed();
        for transaction in self.world.active.values() {
            if transaction.committed.is_some_and(|end| end <= flushed) {
                self.coverage.reach(Reached::DecodedInvisible);
            }
            if transaction.is_truncate() {
                self.coverage.reach(Reached::Truncated);
            }
        }
        let commits = self.world.wal.commits();
        if let [.., before, last] = commits {
            let writes = last.by == By::Writer && !last.changes.is_empty();
            let reached = [
                (last.start == before.end, Reached::CommitAdjoins),
                (last.xid < before.xid, Reached::CommitsOutOfOrder),
                (last.xid.0 >> 32 != before.xid.0 >> 32, Reached::EpochCrossed),
                (
                    last.end > flushed && !self.world.active.contains_key(&last.xid),
                    Reached::VisibleUnflushed,
                ),
                (writes && last.table == Table::New, Reached::WrittenAfterSwap),
                (
                    writes && self.store.phase == Phase::RolledBack,
                    Reached::WrittenAfterRollback,
                ),
            ];
            for (_, place) in reached.into_iter().filter(|(holds, _)| *holds) {
                self.coverage.reach(place);
            }
        }
        if self.world.readers.iter().any(|reader| reader.waits) {
            self.coverage.reach(Reached::ReaderQueued);
        }
    }
}
