//! The write-ahead log: where commits lie in it, how far it is flushed, and what a crash leaves.

use std::rc::Rc;

use bytes::Bytes;
use crossfade_core::position::{Lsn, Xid};

use crate::dice::Dice;
use crate::row::{SourceChange, Table};

/// Whose transaction it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// An application's.
    Writer,
    /// The engine's: what it carries from table to table is in the log like everything.
    Engine,
}

/// What a transaction leaves in the log.
#[derive(Clone, Debug)]
pub(crate) struct Writes {
    pub(crate) by: By,
    /// The table that was changed.
    pub(crate) table: Table,
    pub(crate) changes: Rc<[SourceChange]>,
    pub(crate) message: Option<Bytes>,
}

/// A commit record with what logical decoding makes of its transaction.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) xid: Xid,
    /// Where the record starts: maybe exactly where another ends.
    pub(crate) start: Lsn,
    pub(crate) end: Lsn,
    pub(crate) by: By,
    pub(crate) table: Table,
    pub(crate) changes: Rc<[SourceChange]>,
    pub(crate) message: Option<Bytes>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Wal {
    commits: Vec<Commit>,
    insert: Lsn,
    flushed: Lsn,
    /// Where each transaction id first appears: a crash forgets those that were not flushed.
    xids: Vec<(Lsn, Xid)>,
}

impl Wal {
    pub(crate) fn new() -> Self {
        Wal {
            commits: Vec::new(),
            insert: Lsn(100),
            flushed: Lsn(100),
            xids: Vec::new(),
        }
    }

    pub(crate) fn insert_position(&self) -> Lsn {
        self.insert
    }

    pub(crate) fn flushed(&self) -> Lsn {
        self.flushed
    }

    /// All commits, in order.
    pub(crate) fn commits(&self) -> &[Commit] {
        &self.commits
    }

    /// A record that is nobody's commit.
    pub(crate) fn write(&mut self, bytes: u64) {
        self.insert.0 += bytes;
    }

    /// The first record of a transaction.
    pub(crate) fn write_first(&mut self, xid: Xid) {
        self.insert.0 += 1;
        self.xids.push((self.insert, xid));
    }

    pub(crate) fn commit(&mut self, dice: &mut Dice, xid: Xid, writes: Writes) -> Lsn {
        if dice.chance(40) {
            self.write(1 + dice.below(3));
        }
        let start = self.insert;
        self.write(2);
        self.commits.push(Commit {
            xid,
            start,
            end: self.insert,
            by: writes.by,
            table: writes.table,
            changes: writes.changes,
            message: writes.message,
        });
        self.insert
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.insert;
    }

    /// Loses what was not flushed: returns the lost commits, newest first, and the highest id that is known.
    pub(crate) fn crash(&mut self) -> (Vec<Commit>, Option<Xid>) {
        let flushed = self.flushed;
        let kept = self.commits.partition_point(|commit| commit.end <= flushed);
        let mut lost = self.commits.split_off(kept);
        lost.reverse();
        self.insert = flushed;
        self.xids.retain(|(lsn, _)| *lsn <= flushed);
        (lost, self.xids.iter().map(|(_, xid)| *xid).max())
    }
}
