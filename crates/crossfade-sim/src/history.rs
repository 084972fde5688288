//! The checker's own idea of the source as of a position: a fold over the commits of the log, independent of
//! row versions, snapshots and everything that the engine is told.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_core::position::{Lsn, Xid};

use crate::row::SourceRow;
use crate::world::{Commit, apply_changes};

/// The source as of a position that only moves forward.
#[derive(Debug)]
pub(crate) struct History {
    rows: BTreeMap<u8, SourceRow>,
    next: usize,
}

impl History {
    pub(crate) fn new(base: &[SourceRow]) -> Self {
        History {
            rows: base.iter().map(|row| (row.key.number, *row)).collect(),
            next: 0,
        }
    }

    /// The rows after every commit that ends at or before `lsn`. Only flushed ones are asked for, so a crash
    /// takes none of them back.
    pub(crate) fn at(&mut self, commits: &[Commit], lsn: Lsn) -> &BTreeMap<u8, SourceRow> {
        let due = commits.partition_point(|commit| commit.end <= lsn);
        for commit in commits.iter().take(due).skip(self.next) {
            if !commit.after_swap {
                apply_changes(&mut self.rows, &commit.changes);
            }
        }
        self.next = self.next.max(due);
        &self.rows
    }

    /// The same, with those of the later commits that the copy contains as well (R1): a later one that was
    /// visible never touches what an earlier invisible one did, for it would have had to wait.
    pub(crate) fn at_with(
        &mut self,
        commits: &[Commit],
        lsn: Lsn,
        copied: &BTreeSet<Xid>,
    ) -> BTreeMap<u8, SourceRow> {
        let mut rows = self.at(commits, lsn).clone();
        for commit in &commits[self.next..] {
            if copied.contains(&commit.xid) {
                apply_changes(&mut rows, &commit.changes);
            }
        }
        rows
    }
}
