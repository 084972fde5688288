//! The checkers that compare tables. Others sit where their fact appears: acknowledgement and slot in `engine`,
//! duplicates in `shell::copy`, uniqueness and keeps in `target`, readers in `shell::cutover`.

use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;

use crate::breach::{Breach, Place};
use crate::coverage::Reached;
use crate::row::SourceChange;
use crate::simulation::{End, Simulation};
use crate::target::{Rows, difference};
use crate::world::World;

impl Simulation {
    /// At a batch's commit the target is the transform of the source as of there; of a source, before everything
    /// that the copy saw has come by, with the transactions that only the copy contains.
    pub(crate) fn check_target(&mut self, applied: Lsn) -> Result<(), Breach> {
        if self.scenario.incremental && self.store.phase == Phase::Copying {
            return self.check_chunks(applied);
        }
        let commits = self.world.wal.commits();
        let (rows, mixed) = (&self.store.rows, self.scenario.mixed);
        let difference = if applied < self.store.consistent_from {
            self.coverage.reach(Reached::CopyAhead);
            let expected = self.history.at_with(commits, applied, &self.store.copied_late);
            difference(expected.values(), rows, mixed)
        } else {
            self.coverage.reach(Reached::ConsistentChecked);
            difference(self.history.at(commits, applied).values(), rows, mixed)
        };
        match difference {
            None => Ok(()),
            Some(difference) => Err(Breach::Differs {
                place: Place::Target,
                at: applied,
                difference,
            }),
        }
    }

    /// While chunks are copied: of each recorded chunk the target has the rows as of `applied`, with the later
    /// transactions that its snapshot saw, and of the others none (R1).
    fn check_chunks(&mut self, applied: Lsn) -> Result<(), Breach> {
        self.coverage.reach(Reached::ChunksChecked);
        let commits = self.world.wal.commits();
        let mut expected = Vec::new();
        for stored in &self.store.chunks {
            let later = commits.iter().rev().take_while(|commit| commit.end > applied);
            let seen = later
                .map(|commit| commit.xid)
                .filter(|xid| stored.view.shows(*xid));
            let rows = self.history.at_with(commits, applied, &seen.collect());
            expected.extend(rows.into_values().filter(|row| stored.has(row.key.number)));
        }
        let difference = difference(expected.iter(), &self.store.rows, self.scenario.mixed);
        self.compare(Place::Target, difference)
    }

    /// At the swap: the target is the transform of everything that is committed and visible, and nobody will
    /// read it under a snapshot from before its last rows.
    pub(crate) fn check_swap(&mut self) -> Result<(), Breach> {
        let expected = self.world.heap.all_current();
        if let Some(difference) = difference(expected, &self.store.rows, self.scenario.mixed) {
            return Err(Breach::Differs {
                place: Place::Swap,
                at: self.world.wal.insert_position(),
                difference,
            });
        }
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
        match self.end {
            Some(End::Done) => self.check_new_table(),
            Some(End::GivenUp) | None => Ok(()),
        }?;
        self.check_source()
    }

    /// The world against itself: row versions and log tell the same story.
    fn check_source(&self) -> Result<(), Breach> {
        let ledger = World::fold(&self.world.base, self.world.wal.commits().iter());
        let found = self.world.heap.all_current();
        let found: Rows = found
            .map(|row| (row.key.number, crate::row::transform(row, true)))
            .collect();
        self.compare(Place::Source, difference(ledger.values(), &found, true))
    }

    /// The writers' ledger against the new table, into which their later changes went.
    fn check_new_table(&self) -> Result<(), Breach> {
        let ledger = World::fold(&self.world.base, self.world.wal.commits().iter());
        let mut found = self.swapped_rows.clone();
        for commit in self.world.wal.commits().iter().filter(|commit| commit.after_swap) {
            for change in &*commit.changes {
                write(&mut found, *change, self.scenario.mixed);
            }
        }
        let difference = difference(ledger.values(), &found, self.scenario.mixed);
        self.compare(Place::NewTable, difference)
    }

    fn compare(&self, place: Place, difference: Option<crate::breach::Difference>) -> Result<(), Breach> {
        match difference {
            None => Ok(()),
            Some(difference) => Err(Breach::Differs {
                place,
                at: self.world.wal.insert_position(),
                difference,
            }),
        }
    }
}

/// A writer's statement on the new table: what it does not set stays as it is there.
fn write(rows: &mut Rows, change: SourceChange, mixed: bool) {
    match change {
        SourceChange::Insert(new) => {
            rows.insert(new.key.number, crate::row::transform(&new, mixed));
        }
        SourceChange::Update {
            old_key,
            new,
            big_unchanged,
        } => {
            let old = old_key.map_or(new.key.number, |key| key.number);
            let before = rows.remove(&old);
            let mut row = crate::row::transform(&new, mixed);
            if let (true, Some(before)) = (big_unchanged, before) {
                row.big = before.big;
            }
            rows.insert(new.key.number, row);
        }
        SourceChange::Delete(key) => {
            rows.remove(&key.number);
        }
        SourceChange::Truncate => rows.clear(),
    }
}
