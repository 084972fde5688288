//! The row versions of the table that applications use: who made each, who ended it, and what a snapshot sees.

use std::collections::BTreeSet;

use crossfade_core::position::Xid;
use crossfade_core::snapshot::Snapshot;

use crate::row::Row;

/// A snapshot as the server has it. Visibility is decided here by the world itself, so that a checker does not
/// lean on what it checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The first id behind all that had ended. Higher ones may have been given out: they are not seen either, and
    /// not listed.
    pub(crate) xmax: Xid,
    pub(crate) in_progress: BTreeSet<Xid>,
}

impl View {
    pub(crate) fn shows(&self, xid: Xid) -> bool {
        xid < self.xmax && !self.in_progress.contains(&xid)
    }

    /// As `pg_current_snapshot()` prints it.
    pub(crate) fn to_core(&self) -> Snapshot {
        let lowest = self.in_progress.first().copied().unwrap_or(self.xmax);
        Snapshot::new(lowest, self.xmax, self.in_progress.iter().copied())
    }
}

/// One version of a row.
#[derive(Clone, Copy, Debug)]
struct Version {
    row: Row,
    made_by: Xid,
    ended_by: Option<Xid>,
}

/// The versions of every key, oldest first. Row locks are the caller's: at most one transaction in progress
/// has touched a key.
#[derive(Clone, Debug)]
pub(crate) struct Heap(Vec<Vec<Version>>);

impl Heap {
    /// Room for keys below `keys`.
    pub(crate) fn new(keys: u8) -> Self {
        Heap(vec![Vec::new(); usize::from(keys)])
    }

    /// Keys that there is room for.
    pub(crate) fn len(&self) -> u8 {
        self.0.len() as u8
    }

    /// The newest version, whether committed or not.
    pub(crate) fn current(&self, number: u8) -> Option<&Row> {
        self.0[usize::from(number)]
            .last()
            .filter(|version| version.ended_by.is_none())
            .map(|version| &version.row)
    }

    /// All newest versions.
    pub(crate) fn all_current(&self) -> impl Iterator<Item = &Row> {
        self.0
            .iter()
            .filter_map(|versions| versions.last())
            .filter(|version| version.ended_by.is_none())
            .map(|version| &version.row)
    }

    pub(crate) fn insert(&mut self, xid: Xid, row: Row) {
        self.0[usize::from(row.key.number)].push(Version {
            row,
            made_by: xid,
            ended_by: None,
        });
    }

    pub(crate) fn delete(&mut self, xid: Xid, number: u8) {
        if let Some(version) = self.0[usize::from(number)].last_mut() {
            version.ended_by = Some(xid);
        }
    }

    /// Takes back the newest version, which was inserted.
    pub(crate) fn take_back_insert(&mut self, number: u8) {
        self.0[usize::from(number)].pop();
    }

    /// Takes back that the newest version was deleted.
    pub(crate) fn take_back_delete(&mut self, number: u8) {
        if let Some(version) = self.0[usize::from(number)].last_mut() {
            version.ended_by = None;
        }
    }

    /// Takes back everything that the transaction did.
    pub(crate) fn undo(&mut self, xid: Xid) {
        for versions in &mut self.0 {
            versions.retain(|version| version.made_by != xid);
            for version in versions {
                if version.ended_by == Some(xid) {
                    version.ended_by = None;
                }
            }
        }
    }

    /// Not MVCC: older snapshots see nothing afterwards.
    pub(crate) fn truncate(&mut self) -> Heap {
        let empty = Heap::new(self.len());
        std::mem::replace(self, empty)
    }

    /// The row of that key in `view`.
    pub(crate) fn row(&self, view: &View, number: u8) -> Option<Row> {
        let shown = |version: &&Version| {
            view.shows(version.made_by) && !version.ended_by.is_some_and(|xid| view.shows(xid))
        };
        self.0[usize::from(number)]
            .iter()
            .find(shown)
            .map(|version| version.row)
    }

    /// All rows in `view`.
    pub(crate) fn rows(&self, view: &View) -> impl Iterator<Item = Row> {
        (0..self.len()).filter_map(|number| self.row(view, number))
    }

    /// Removes versions that nobody can see any more: the caller knows that no snapshot is in use and that
    /// whatever ended them cannot be lost.
    pub(crate) fn vacuum(&mut self, is_over: impl Fn(Xid) -> bool) {
        for versions in &mut self.0 {
            versions.retain(|version| !version.ended_by.is_some_and(&is_over));
        }
    }
}
