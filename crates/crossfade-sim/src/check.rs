//! The checkers that compare tables. Others sit where their fact appears: acknowledgement and slot in `engine`,
//! duplicates in `shell::copy`, uniqueness and keeps in `target`, readers in `shell::cutover`, the beginning and the
//! end of the way back in `shell::back`.

use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;

use crate::breach::{Breach, Difference, Place};
use crate::coverage::Reached;
use crate::simulation::Simulation;
use crate::target::{Rows, difference, shared};

impl Simulation {
    /// At a batch's commit the target is what comes of the source as of there; of a source, before everything
    /// that the copy saw has come by, with the transactions that only the copy contains.
    pub(crate) fn check_target(&mut self, applied: Lsn) -> Result<(), Breach> {
        if self.scenario.incremental && self.store.phase == Phase::Copying {
            return self.check_chunks(applied);
        }
        let back = self.direction() == Direction::Back;
        let commits = self.world.wal.commits();
        let rows = &self.store.rows;
        let difference = if applied < self.store.consistent_from {
            self.coverage.reach(if back {
                Reached::BackAhead
            } else {
                Reached::CopyAhead
            });
            let expected = self.history.at_with(commits, applied, &self.store.copied_late);
            difference(&expected, rows)
        } else {
            self.coverage.reach(if back {
                Reached::BackChecked
            } else {
                Reached::ConsistentChecked
            });
            difference(self.history.at(commits, applied), rows)
        };
        self.compare(Place::Target, applied, difference)
    }

    /// While chunks are copied: of each recorded chunk the target has the rows as of `applied`, with the later
    /// transactions that its snapshot saw, and of the others none (R1).
    fn check_chunks(&mut self, applied: Lsn) -> Result<(), Breach> {
        self.coverage.reach(Reached::ChunksChecked);
        let commits = self.world.wal.commits();
        let mut expected = Rows::new();
        for stored in &self.store.chunks {
            let later = commits.iter().rev().take_while(|commit| commit.end > applied);
            let seen = later
                .map(|commit| commit.xid)
                .filter(|xid| stored.view.shows(*xid));
            let rows = self.history.at_with(commits, applied, &seen.collect());
            expected.extend(rows.into_iter().filter(|(key, _)| stored.has(*key)));
        }
        let difference = difference(&expected, &self.store.rows);
        self.compare(Place::Target, applied, difference)
    }

    /// At the swap, in either direction: the target has everything that is committed and visible, and nobody will
    /// read it under a snapshot from before its last rows.
    pub(crate) fn check_swap(&mut self) -> Result<(), Breach> {
        let at = self.world.wal.insert_position();
        let expected = shared(self.world.heap.all_current());
        let found = difference(&expected, &shared(self.store.rows.values()));
        self.compare(Place::Swap, at, found)?;
        let expected = self.history.at(self.world.wal.commits(), at);
        let found = difference(expected, &self.store.rows);
        self.compare(Place::SwapHistory, at, found)?;
        self.check_source()?;
        let older = |reader: &&crate::world::Reader| {
            !reader.waits && !reader.locks_source && reader.snapshot_at < self.store.last_apply
        };
        match self.world.readers.iter().find(older) {
            Some(reader) if !self.scenario.accepts_old_snapshots => {
                Err(Breach::OldReader { pid: reader.pid })
            }
            _ => Ok(()),
        }
    }

    /// When everything is over.
    pub(crate) fn check_end(&mut self) -> Result<(), Breach> {
        self.world.settle(&mut self.dice);
        self.check_source()?;
        let ledger = self.world.folded_from(&self.first_rows);
        let found = shared(self.world.heap.all_current());
        let found = difference(&shared(ledger.values()), &found);
        self.compare(Place::Ledger, self.world.wal.insert_position(), found)
    }

    /// The world against itself: row versions and log tell the same story.
    fn check_source(&self) -> Result<(), Breach> {
        let found = difference(&self.world.folded(), &self.world.current());
        self.compare(Place::Source, self.world.wal.insert_position(), found)
    }

    fn compare(&self, place: Place, at: Lsn, difference: Option<Difference>) -> Result<(), Breach> {
        match difference {
            None => Ok(()),
            Some(difference) => Err(Breach::Differs {
                place,
                at,
                difference,
            }),
        }
    }
}
