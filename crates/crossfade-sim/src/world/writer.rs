//! What applications do: begin, write, commit or roll back, read.

use std::rc::Rc;

use crossfade_core::position::{Lsn, Xid};

use super::subtransaction::Savepoint;
use super::{By, Exclusive, Heap, LockTag, Reader, World, Writes};
use crate::dice::Dice;
use crate::row::{Key, Row, SourceChange, Table};
use crate::scenario::Scenario;
use crate::script::{Step, Write};

/// A transaction of a writer, from its begin until it is visible.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(super) changes: Vec<SourceChange>,
    pub(super) savepoints: Vec<Savepoint>,
    /// The highest id of it and its subtransactions.
    pub(super) latest_xid: Xid,
    locks: Vec<LockTag>,
    /// `synchronous_commit = off`: visible before it is flushed, perhaps.
    pub(crate) asynchronous: bool,
    /// The end of its commit record: decodable when that is flushed, visible later.
    pub(crate) committed: Option<Lsn>,
    /// The table before our `TRUNCATE`.
    before_truncate: Option<Heap>,
}

impl Transaction {
    pub(super) fn new(xid: Xid, asynchronous: bool) -> Self {
        Transaction {
            changes: Vec::new(),
            savepoints: Vec::new(),
            latest_xid: xid,
            locks: Vec::new(),
            asynchronous,
            committed: None,
            before_truncate: None,
        }
    }

    pub(crate) fn is_truncate(&self) -> bool {
        self.before_truncate.is_some()
    }
}

/// Writers at the same time.
const WRITERS: usize = 4;
/// Once faults are over, one of so many transactions begins: the feed must be able to keep up.
const CALM: u64 = 80;
/// Codes that rows may take beside those they begin with.
const SPARE_CODES: u64 = 4;
/// The value through which two rows swap their codes.
const TEMPORARY_CODE: u32 = 999;

impl World {
    /// One thing that an application does.
    pub(crate) fn step(&mut self, dice: &mut Dice, scenario: &Scenario, calm: bool) {
        self.clock += 1;
        self.calm = calm;
        if dice.chance(8) {
            self.wal.flush();
        }
        if dice.chance(10) {
            self.wal.write(1 + dice.below(4));
        }
        if dice.chance(4) {
            self.read(dice, calm);
        }
        let roll = dice.below(100);
        if self.active.is_empty() || roll < 25 {
            return self.begin(dice, scenario, calm);
        }
        let position = dice.index(self.active.len());
        let Some(xid) = self.active.keys().nth(position).copied() else {
            return;
        };
        if self.active[&xid].committed.is_some() {
            if roll < if scenario.slow_visibility { 32 } else { 75 } {
                self.become_visible(xid);
            }
        } else if roll < 60 && !calm {
            self.write(dice, scenario, xid);
            if scenario.bulk && !calm {
                self.write(dice, scenario, xid);
            }
        } else if roll < 90 {
            self.commit(dice, xid);
        } else if roll < 94 {
            self.roll_back(xid);
        } else if !calm {
            self.step_in_subtransactions(dice, xid);
        }
        // Who repeats this reads under old snapshots, too.
        if self.told.is_none() {
            self.vacuum();
        }
    }

    fn begin(&mut self, dice: &mut Dice, scenario: &Scenario, calm: bool) {
        let locked = self.exclusive != Exclusive::Free && !self.lock_is_shared;
        let writers = if calm { 1 } else { WRITERS };
        if locked || self.active.len() >= writers || self.is_truncating() {
            return;
        }
        if calm && !dice.once_in(CALM) {
            return;
        }
        let mut transaction = Transaction::new(self.next_xid, dice.chance(30));
        let alone = self.exclusive == Exclusive::Free && !self.is_source_in_use();
        if scenario.truncates && alone && dice.once_in(scenario.truncate_interval) {
            transaction.before_truncate = Some(self.heap.truncate());
            transaction.changes.push(SourceChange::Truncate);
            transaction.asynchronous = false;
        }
        let xid = self.give_xid();
        self.tell(Step::Begin {
            xid,
            asynchronous: transaction.asynchronous,
        });
        if transaction.is_truncate() {
            self.tell(Step::Write(xid, Write::Truncate));
        }
        self.active.insert(xid, transaction);
        self.write(dice, scenario, xid);
    }

    pub(super) fn lock(&mut self, xid: Xid, tags: &[LockTag]) -> bool {
        let free = |tag: &LockTag| self.locks.get(tag).is_none_or(|holder| *holder == xid);
        if !tags.iter().all(free) {
            return false;
        }
        for tag in tags {
            if self.locks.insert(*tag, xid).is_none()
                && let Some(transaction) = self.active.get_mut(&xid)
            {
                transaction.locks.push(*tag);
            }
        }
        true
    }

    /// Takes the unique value for a row, if nobody else has it.
    fn take_code(&mut self, scenario: &Scenario, xid: Xid, code: u32) -> bool {
        if !scenario.unique {
            return true;
        }
        self.lock(xid, &[LockTag::Code(code)]) && self.heap.all_current().all(|row| row.code != code)
    }

    fn write(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid) {
        let number = dice.below(u64::from(scenario.keys)) as u8;
        if !self.lock(xid, &[LockTag::Key(number)]) {
            return;
        }
        self.wal.write(1);
        let Some(row) = self.heap.current(number).copied() else {
            return self.insert(dice, scenario, xid, number);
        };
        if !self.lock(xid, &[LockTag::Code(row.code)]) {
            return;
        }
        let kind = if scenario.restless && dice.chance(50) {
            30
        } else {
            dice.below(100)
        };
        match kind {
            0..15 => self.delete(xid, row),
            15..25 => {
                self.delete(xid, row);
                self.insert(dice, scenario, xid, number);
            }
            25..40 => self.change_key(dice, scenario, xid, row),
            40..47 => self.swap_keys(dice, scenario, xid, row),
            47..56 => self.swap_codes(dice, scenario, xid, row),
            56..62 => self.update_many(dice, scenario, xid),
            _ => self.update(dice, scenario, xid, row),
        }
    }

    fn fresh(&mut self) -> u32 {
        self.fresh += 1;
        self.fresh
    }

    /// Sometimes one that the retired table does not take.
    fn small(&self, dice: &mut Dice, scenario: &Scenario) -> u32 {
        let number = dice.below(5) as u32;
        let misfits = scenario.misfits && self.live == Table::New && !self.calm;
        if misfits && dice.once_in(30) {
            Row::misfit(number)
        } else {
            number
        }
    }

    fn key(&self, dice: &mut Dice, scenario: &Scenario, number: u8) -> Key {
        let zeros = if scenario.server_equality {
            dice.below(3) as u8
        } else {
            0
        };
        Key { number, zeros }
    }

    fn change(&mut self, xid: Xid, change: SourceChange) {
        if self.told.is_some() {
            self.tell(Step::Write(xid, Write::of(&self.heap, change)));
        }
        self.give_subtransactions_xids(xid);
        match change {
            SourceChange::Insert(new) => self.heap.insert(xid, new),
            SourceChange::Update { old_key, new, .. } => {
                self.heap
                    .delete(xid, old_key.map_or(new.key.number, |key| key.number));
                self.heap.insert(xid, new);
            }
            SourceChange::Delete(key) => self.heap.delete(xid, key.number),
            SourceChange::Truncate => {}
        }
        if let Some(transaction) = self.active.get_mut(&xid) {
            transaction.changes.push(change);
        }
    }

    fn insert(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, number: u8) {
        let code = 1 + dice.below(u64::from(scenario.keys) + SPARE_CODES) as u32;
        if !self.take_code(scenario, xid, code) {
            return;
        }
        let new = Row {
            key: self.key(dice, scenario, number),
            code,
            small: self.small(dice, scenario),
            big: if dice.chance(15) { 0 } else { self.fresh() },
            own: self.fresh(),
        };
        self.change(xid, SourceChange::Insert(new));
    }

    pub(super) fn delete(&mut self, xid: Xid, row: Row) {
        self.change(xid, SourceChange::Delete(row.key));
    }

    fn update(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, row: Row) {
        let mut new = row;
        new.small = self.small(dice, scenario);
        if dice.chance(20) {
            new.own = self.fresh();
        }
        let big_unchanged = row.big != 0 && dice.chance(65);
        if !big_unchanged {
            new.big = if dice.chance(15) { 0 } else { self.fresh() };
        }
        if dice.chance(30) {
            let code = 1 + dice.below(u64::from(scenario.keys) + SPARE_CODES) as u32;
            if code != row.code && self.take_code(scenario, xid, code) {
                new.code = code;
            }
        }
        self.put(xid, new, big_unchanged);
    }

    pub(super) fn put(&mut self, xid: Xid, new: Row, big_unchanged: bool) {
        let change = SourceChange::Update {
            old_key: None,
            new,
            big_unchanged,
        };
        self.change(xid, change);
    }

    fn update_many(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid) {
        for number in 0..scenario.keys {
            let Some(row) = self.heap.current(number).copied() else {
                continue;
            };
            if self.lock(xid, &[LockTag::Key(number), LockTag::Code(row.code)]) {
                self.update(dice, scenario, xid, row);
            }
        }
    }

    /// To a free key, or to another spelling of its own.
    fn change_key(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, row: Row) {
        let number = dice.below(u64::from(scenario.keys)) as u8;
        let key = self.key(dice, scenario, number);
        let taken = number != row.key.number && self.heap.current(number).is_some();
        if taken || key == row.key || !self.lock(xid, &[LockTag::Key(number)]) {
            return;
        }
        let big_unchanged = row.big != 0 && dice.chance(70);
        let mut new = Row { key, ..row };
        if !big_unchanged {
            new.big = self.fresh();
        }
        self.move_row(xid, row.key, new, big_unchanged);
    }

    fn move_row(&mut self, xid: Xid, old: Key, new: Row, big_unchanged: bool) {
        let change = SourceChange::Update {
            old_key: Some(old),
            new,
            big_unchanged,
        };
        self.change(xid, change);
    }

    /// Another row that this transaction may change too.
    fn partner(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, row: Row) -> Option<Row> {
        let number = dice.below(u64::from(scenario.keys)) as u8;
        let other = self.heap.current(number).copied()?;
        let tags = [LockTag::Key(number), LockTag::Code(other.code)];
        (number != row.key.number && self.lock(xid, &tags)).then_some(other)
    }

    /// Two rows exchange their keys through a temporary one.
    fn swap_keys(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, row: Row) {
        let Some(other) = self.partner(dice, scenario, xid, row) else {
            return;
        };
        let temporary = Key {
            number: scenario.keys,
            zeros: 0,
        };
        if !self.lock(xid, &[LockTag::Key(temporary.number)]) {
            return;
        }
        let with_key = |row: Row, key: Key| Row { key, ..row };
        let unchanged = |row: Row| row.big != 0;
        self.move_row(xid, row.key, with_key(row, temporary), unchanged(row));
        self.move_row(xid, other.key, with_key(other, row.key), unchanged(other));
        self.move_row(xid, temporary, with_key(row, other.key), unchanged(row));
    }

    /// Two rows exchange their unique values through a temporary one.
    fn swap_codes(&mut self, dice: &mut Dice, scenario: &Scenario, xid: Xid, row: Row) {
        let Some(other) = self.partner(dice, scenario, xid, row) else {
            return;
        };
        if !self.lock(xid, &[LockTag::Code(TEMPORARY_CODE)]) {
            return;
        }
        let with_code = |row: Row, code: u32| Row { code, ..row };
        self.put(xid, with_code(row, TEMPORARY_CODE), row.big != 0);
        self.put(xid, with_code(other, row.code), other.big != 0);
        self.put(xid, with_code(row, other.code), row.big != 0);
    }

    pub(crate) fn commit(&mut self, dice: &mut Dice, xid: Xid) {
        let Some(transaction) = self.active.get_mut(&xid) else {
            return;
        };
        let changes: Rc<[SourceChange]> = std::mem::take(&mut transaction.changes).into();
        self.committed += u64::from(!changes.is_empty());
        let writes = Writes {
            by: By::Writer,
            table: self.live,
            changes,
            message: None,
        };
        let end = self.wal.commit(dice, xid, writes);
        if !transaction.asynchronous {
            self.wal.flush();
        }
        transaction.committed = Some(end);
        self.tell(Step::Commit(xid));
    }

    pub(crate) fn become_visible(&mut self, xid: Xid) {
        if let Some(transaction) = self.active.remove(&xid) {
            self.unlock(&transaction);
            self.complete(transaction.latest_xid);
            self.tell(Step::BecomeVisible(xid));
        }
    }

    fn roll_back(&mut self, xid: Xid) {
        if let Some(transaction) = self.active.remove(&xid) {
            self.unlock(&transaction);
            self.complete(transaction.latest_xid);
            self.undo(xid, transaction);
            self.tell(Step::RollBack(xid));
        }
    }

    pub(super) fn undo(&mut self, xid: Xid, transaction: Transaction) {
        match transaction.before_truncate {
            Some(heap) => self.heap = heap,
            None => self.heap.undo(xid),
        }
    }

    fn unlock(&mut self, transaction: &Transaction) {
        for tag in &transaction.locks {
            self.locks.remove(tag);
        }
    }

    /// A reader begins, touches the source, or ends.
    fn read(&mut self, dice: &mut Dice, calm: bool) {
        let queued = self.exclusive != Exclusive::Free;
        let position = dice.index(self.readers.len() + 1);
        match self.readers.get_mut(position) {
            Some(_) if calm || dice.chance(50) => {
                self.readers.remove(position);
            }
            Some(reader) if queued => reader.waits = !reader.locks_source,
            Some(_) if self.active.values().any(Transaction::is_truncate) => {}
            Some(reader) => reader.locks_source = true,
            None if calm => {}
            None => {
                self.next_pid += 1;
                self.readers.push(Reader {
                    pid: self.next_pid,
                    snapshot_at: self.clock,
                    locks_source: false,
                    waits: false,
                });
            }
        }
    }

    fn vacuum(&mut self) {
        let all_flushed = self.wal.flushed() == self.wal.insert_position();
        if self.shares == 0 && all_flushed && !self.is_truncating() {
            let active = &self.active;
            self.heap.vacuum(|xid| !active.contains_key(&xid));
        }
    }
}
