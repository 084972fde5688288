//! The replication reader as the machine sees it: whole transactions in parts, keepalives, and the server's
//! rule for where a stream begins.

use crossfade_core::change::{StreamItem, TransactionPart};
use crossfade_core::position::Lsn;

use crate::dice::Dice;
use crate::planted::Planted;
use crate::row::{SourceChange, Table};
use crate::scenario::Scenario;
use crate::world::{Commit, Wal};

/// A running stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The table that is published.
    table: Table,
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
    pub(crate) fn start(
        wal: &Wal,
        table: Table,
        from: Lsn,
        confirmed: Lsn,
        planted: Option<Planted>,
    ) -> Self {
        let begin = from.max(confirmed);
        let skips = |commit: &Commit| match planted {
            Some(Planted::SkipsCommitAtApplied) => commit.start <= begin,
            _ => commit.start < begin,
        };
        Stream {
            table,
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
            let empty = published(commit, self.table).is_empty() && commit.message.is_none();
            if !empty || scenario.empty_transactions {
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

    /// A message comes where it was emitted: before the changes, or behind them.
    fn part(&mut self, commit: &Commit, dice: &mut Dice) -> TransactionPart {
        let changes = published(commit, self.table);
        let left = changes.len() - self.offset;
        let count = if dice.chance(50) {
            left
        } else {
            dice.index(left + 1)
        };
        let first = !self.inside;
        let ahead = commit.end.0.is_multiple_of(2);
        let part = &changes[self.offset..self.offset + count];
        self.offset += count;
        let first_of_many = count > 0 || (first && commit.message.is_some());
        self.inside = self.offset < changes.len() || (first_of_many && dice.chance(20));
        let last = !self.inside;
        let says = if ahead { first } else { last };
        if last {
            self.next += 1;
            self.offset = 0;
            self.alive = commit.end;
        }
        TransactionPart {
            xid: commit.xid.0 as u32,
            final_lsn: commit.start,
            first,
            changes: part.iter().map(|change| change.to_core(self.table)).collect(),
            tables: Vec::new(),
            messages: commit.message.iter().filter(|_| says).cloned().collect(),
            commit_lsn: last.then_some(commit.end),
        }
    }
}

fn published(commit: &Commit, table: Table) -> &[SourceChange] {
    if commit.table == table {
        &commit.changes
    } else {
        &[]
    }
}
