//! The checker's own idea of the target as of a position: a fold over what applications committed, independent of
//! row versions, snapshots and everything that the engine is told.

use std::collections::BTreeSet;

use crossfade_core::position::{Lsn, Xid};

use crate::row::{Row, SourceChange, Table};
use crate::target::Rows;
use crate::world::{By, Commit};

/// The target as of a position that only moves forward: the source's rows, and in the target's own column what a row
/// has kept since it came. One direction has one.
#[derive(Debug)]
pub(crate) struct History {
    rows: Rows,
    next: usize,
    source: Table,
    target: Table,
}

impl History {
    /// The target has these rows when `next` is the first commit that it may have to follow.
    pub(crate) fn new(rows: Rows, next: usize, source: Table, target: Table) -> Self {
        History {
            rows,
            next,
            source,
            target,
        }
    }

    /// The rows after every commit that ends at or before `lsn`. Only flushed ones are asked for, so a crash
    /// takes none of them back.
    pub(crate) fn at(&mut self, commits: &[Commit], lsn: Lsn) -> &Rows {
        let due = commits.partition_point(|commit| commit.end <= lsn);
        for commit in commits.iter().take(due).skip(self.next) {
            follow(&mut self.rows, commit, self.source, self.target);
        }
        self.next = self.next.max(due);
        &self.rows
    }

    /// The same, with those of the later commits that the copy contains as well (R1): a later one that was
    /// visible never touches what an earlier invisible one did, for it would have had to wait.
    pub(crate) fn at_with(&mut self, commits: &[Commit], lsn: Lsn, copied: &BTreeSet<Xid>) -> Rows {
        let mut rows = self.at(commits, lsn).clone();
        for commit in &commits[self.next..] {
            if copied.contains(&commit.xid) {
                follow(&mut rows, commit, self.source, self.target);
            }
        }
        rows
    }
}

fn follow(rows: &mut Rows, commit: &Commit, source: Table, target: Table) {
    if commit.by != By::Writer || commit.table != source {
        return;
    }
    for change in &*commit.changes {
        follow_change(rows, *change, target);
    }
}

/// A row keeps what only the target has for as long as it is at its key: one that comes, or comes back, or comes from
/// another key, has the default.
fn follow_change(rows: &mut Rows, change: SourceChange, target: Table) {
    let put = |rows: &mut Rows, new: Row, own: u32| rows.insert(new.key.number, Row { own, ..new });
    match change {
        SourceChange::Insert(new) => {
            put(rows, new, target.default_own());
        }
        SourceChange::Update { old_key, new, .. } => {
            let former = match old_key {
                Some(old) => rows.remove(&old.number).and(None),
                None => rows.get(&new.key.number).map(|row: &Row| row.own),
            };
            put(rows, new, former.unwrap_or(target.default_own()));
        }
        SourceChange::Delete(key) => {
            rows.remove(&key.number);
        }
        SourceChange::Truncate => rows.clear(),
    }
}
