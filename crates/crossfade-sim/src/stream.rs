//! The replication reader as the machine sees it: whole transactions in parts, keepalives, and the server's
//! rule for where a stream begins.

use std::rc::Rc;

use crossfade_core::change::{StreamItem, TransactionPart};
use crossfade_core::position::Lsn;

use crate::dice::Dice;
use crate::planted::Planted;
use crate::scenario::Scenario;
use crate::world::{Commit, Wal};

/// A running stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The next commit of the log.
    next: usize,
    /// Changes of it that were delivered.
    offset: usize,
    /// A part of it was delivered.
    inside: bool,
    /// Where the last keepalive was.
    alive: Lsn,
}

impl Stream {
    /// The server begins at the first commit whose record starts at or after both positions.
    pub(crate) fn start(wal: &Wal, from: Lsn, confirmed: Lsn, planted: Option<Planted>) -> Self {
        let begin = from.max(confirmed);
        let skips = |commit: &Commit| match planted {
            Some(Planted::SkipsCommitAtApplied) => commit.start <= begin,
            _ => commit.start < begin,
        };
        Stream {
            next: wal.commits().partition_point(skips),
            offset: 0,
            inside: false,
            alive: begin,
        }
    }

    /// What comes next, if anything does.
    pub(crate) fn receive(&mut self, wal: &Wal, dice: &mut Dice, scenario: &Scenario) -> Option<StreamItem> {
        while let Some(commit) = wal.commits().get(self.next) {
            if commit.end > wal.flushed() {
                return None;
            }
            let empty = commit.changes.is_empty() && commit.message.is_none();
            if !commit.after_swap && (!empty || scenario.empty_transactions) {
                return Some(StreamItem::Transaction(self.part(commit, dice)));
            }
            self.next += 1;
        }
        let wal_end = wal.flushed();
        (wal_end > self.alive).then(|| {
            self.alive = wal_end;
            StreamItem::Keepalive { wal_end }
        })
    }

    fn part(&mut self, commit: &Commit, dice: &mut Dice) -> TransactionPart {
        let changes = Rc::clone(&commit.changes);
        let left = changes.len() - self.offset;
        let count = if dice.chance(50) {
            left
        } else {
            dice.index(left + 1)
        };
        let first = !self.inside;
        let part = &changes[self.offset..self.offset + count];
        self.offset += count;
        self.inside = self.offset < changes.len() || (count > 0 && dice.chance(20));
        let last = !self.inside;
        if last {
            self.next += 1;
            self.offset = 0;
            self.alive = commit.end;
        }
        TransactionPart {
            xid: commit.xid.0 as u32,
            final_lsn: commit.start,
            first,
            changes: part.iter().map(|change| change.to_core()).collect(),
            messages: commit.message.iter().filter(|_| last).cloned().collect(),
            commit_lsn: last.then_some(commit.end),
        }
    }
}
