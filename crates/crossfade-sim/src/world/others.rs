//! Who else writes the table that applications use: somebody who mends what the retired table does not take, and, where
//! that bug is planted, an engine that should have ended.

use std::rc::Rc;

use super::{By, Exclusive, LockTag, Transaction, World, Writes};
use crate::dice::Dice;
use crate::row::{Row, SourceChange, Table};

impl World {
    /// Somebody changes, or removes, the rows that the retired table does not take.
    pub(crate) fn mend(&mut self, dice: &mut Dice) {
        let misfits = self.heap.all_current().filter(|row| !row.fits_old());
        let misfits: Vec<Row> = misfits.copied().collect();
        let locked = self.exclusive != Exclusive::Free;
        if misfits.is_empty() || locked || self.is_truncating() {
            return;
        }
        let xid = self.give_xid();
        self.active.insert(xid, Transaction::new(xid, false));
        for row in misfits {
            if !self.lock(xid, &[LockTag::Key(row.key.number), LockTag::Code(row.code)]) {
                continue;
            }
            if dice.chance(30) {
                self.delete(xid, row);
            } else {
                self.put(xid, Row { small: 1, ..row }, row.big != 0);
            }
        }
        self.commit(dice, xid);
        self.become_visible(xid);
    }

    /// Planted: what was carried back comes once more. Returns the commit to go on with.
    pub(crate) fn echo(&mut self, dice: &mut Dice, next: usize) -> usize {
        let commits = self.wal.commits();
        let carried = |commit: &&super::Commit| commit.table == Table::Old && commit.by == By::Engine;
        let found = commits.iter().enumerate().skip(next);
        let Some((position, commit)) = found.into_iter().find(|(_, commit)| carried(commit)) else {
            return commits.len().max(next);
        };
        if self.live == Table::Old || self.exclusive != Exclusive::Free || self.is_truncating() {
            return next;
        }
        let changes = Rc::clone(&commit.changes);
        let xid = self.give_xid();
        self.complete(xid);
        for change in &*changes {
            let (number, new) = match *change {
                SourceChange::Insert(new) | SourceChange::Update { new, .. } => (new.key.number, Some(new)),
                SourceChange::Delete(key) => (key.number, None),
                SourceChange::Truncate => continue,
            };
            if self.locks.contains_key(&LockTag::Key(number)) {
                continue;
            }
            self.heap.delete(xid, number);
            if let Some(new) = new {
                let own = Table::New.default_own();
                self.heap.insert(xid, Row { own, ..new });
            }
        }
        let writes = Writes {
            by: By::Engine,
            table: self.live,
            changes,
            message: None,
        };
        self.wal.commit(dice, xid, writes);
        self.wal.flush();
        position + 1
    }
}
