//! The server and its applications: a table under concurrent writers, its log, its locks, its crashes.
//!
//! It is made to provoke what breaks weak protocols: transaction ids are given out in begin order and commit
//! in another; a commit is decodable before it is visible, and an asynchronous one visible before it is
//! flushed; ids wrap; a `TRUNCATE` is not MVCC; a crash loses unflushed commits and gives their ids out again.

mod heap;
mod others;
mod subtransaction;
mod wal;
mod writer;

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use crossfade_core::position::{Lsn, Xid};

pub(crate) use heap::{Heap, View};
pub(crate) use wal::{By, Commit, Wal, Writes};
pub(crate) use writer::Transaction;

use crate::dice::Dice;
use crate::row::{Key, Row, SourceChange, Table};
use crate::scenario::Scenario;
use crate::script::Step;
use crate::target::Rows;

/// The cutover's `ACCESS EXCLUSIVE` lock on the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exclusive {
    Free,
    /// Asked for: later requests queue behind it.
    Wanted,
    Held,
}

/// A transaction that reads, with one snapshot for all its life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) pid: i32,
    /// When it took its snapshot, on the clock of [`World::clock`].
    pub(crate) snapshot_at: u64,
    /// It has touched the source and so holds a lock on it.
    pub(crate) locks_source: bool,
    /// It waits for the cutover's lock.
    pub(crate) waits: bool,
}

/// What a row lock or a unique index entry protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LockTag {
    Key(u8),
    Code(u32),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) heap: Heap,
    pub(crate) wal: Wal,
    pub(crate) active: BTreeMap<Xid, Transaction>,
    locks: BTreeMap<LockTag, Xid>,
    next_xid: Xid,
    /// The highest id of a transaction or subtransaction that has ended.
    latest_completed: Xid,
    /// Sessions of the engine that hold `ACCESS SHARE` on the source.
    pub(crate) shares: u32,
    pub(crate) exclusive: Exclusive,
    pub(crate) readers: Vec<Reader>,
    next_pid: i32,
    /// Counts every event that a snapshot can be older or newer than.
    pub(crate) clock: u64,
    /// Which table applications use.
    pub(crate) live: Table,
    /// Makes every written value a new one.
    fresh: u32,
    /// What the table had when it came into its place.
    base: Rows,
    /// The first commit after that.
    base_at: usize,
    /// Transactions of applications that changed something.
    pub(crate) committed: u64,
    /// Faults are over.
    calm: bool,
    /// Planted: the cutover's lock does not keep writers out.
    pub(crate) lock_is_shared: bool,
    /// What applications did, where somebody wants to repeat it.
    pub(crate) told: Option<Vec<Step>>,
}

impl World {
    pub(crate) fn new(dice: &mut Dice, scenario: &Scenario) -> Self {
        let mut heap = Heap::new(scenario.keys + 1);
        let before = Xid(scenario.first_xid - 1);
        let mut base = Rows::new();
        for number in 0..scenario.keys {
            if dice.chance(if scenario.incremental { 95 } else { 60 }) {
                let row = Row {
                    key: Key { number, zeros: 0 },
                    code: u32::from(number) + 1,
                    small: dice.below(5) as u32,
                    big: 10_000 + u32::from(number),
                    own: 15_000 + u32::from(number),
                };
                heap.insert(before, row);
                base.insert(number, row);
            }
        }
        World {
            heap,
            wal: Wal::new(),
            active: BTreeMap::new(),
            locks: BTreeMap::new(),
            next_xid: Xid(scenario.first_xid),
            latest_completed: before,
            shares: 0,
            exclusive: Exclusive::Free,
            readers: Vec::new(),
            next_pid: 100,
            clock: 0,
            live: Table::Old,
            fresh: 20_000,
            base,
            base_at: 0,
            committed: 0,
            calm: false,
            lock_is_shared: false,
            told: None,
        }
    }

    /// What a new snapshot sees: everything that is not in progress, a commit that is not visible yet included.
    pub(crate) fn snapshot(&self) -> View {
        self.snapshot_without(|_| true)
    }

    /// What the slot exports: everything whose commit is in the log.
    pub(crate) fn snapshot_of_log(&self) -> View {
        self.snapshot_without(|transaction| transaction.committed.is_none())
    }

    fn snapshot_without(&self, in_progress: impl Fn(&Transaction) -> bool) -> View {
        let (open, ended): (Vec<_>, Vec<_>) = self
            .active
            .iter()
            .partition(|(_, transaction)| in_progress(transaction));
        let ended = ended.into_iter().map(|(_, transaction)| transaction.latest_xid);
        let xmax = Xid(ended.fold(self.latest_completed, Xid::max).0 + 1);
        let open = open.into_iter().map(|(xid, _)| *xid);
        View {
            xmax,
            in_progress: open.filter(|xid| *xid < xmax).collect(),
        }
    }

    /// No snapshot has it as in progress any more.
    fn complete(&mut self, xid: Xid) {
        self.latest_completed = self.latest_completed.max(xid);
    }

    /// The first id not given out.
    pub(crate) fn next_xid(&self) -> Xid {
        self.next_xid
    }

    pub(crate) fn tell(&mut self, step: Step) {
        if let Some(told) = &mut self.told {
            told.push(step);
        }
    }

    fn give_xid(&mut self) -> Xid {
        let xid = self.next_xid;
        self.next_xid.0 += 1;
        self.wal.write_first(xid);
        xid
    }

    /// Other applications use up that many ids.
    pub(crate) fn burn_xids(&mut self, count: u64) {
        self.next_xid.0 += count;
        let last = Xid(self.next_xid.0 - 1);
        self.wal.write_first(last);
        self.complete(last);
    }

    /// A transaction of the engine's: commits durably. With a message it is decoded.
    pub(crate) fn engine_commit(&mut self, dice: &mut Dice, message: Option<Bytes>) -> Lsn {
        self.engine_write(dice, self.live, Rc::new([]), message)
    }

    /// The same, with rows: of the table that is not in its place nobody else reads or writes them.
    pub(crate) fn engine_write(
        &mut self,
        dice: &mut Dice,
        table: Table,
        changes: Rc<[SourceChange]>,
        message: Option<Bytes>,
    ) -> Lsn {
        let xid = self.give_xid();
        self.complete(xid);
        if message.is_none() && changes.is_empty() {
            self.wal.write(2);
        } else {
            let by = By::Engine;
            let writes = Writes {
                by,
                table,
                changes,
                message,
            };
            self.wal.commit(dice, xid, writes);
        }
        self.wal.flush();
        self.clock += 1;
        self.wal.insert_position()
    }

    /// The other table takes the place of this one, with these rows; the rows of this one come back.
    pub(crate) fn swap(
        &mut self,
        dice: &mut Dice,
        other: Table,
        rows: &Rows,
        message: Option<Bytes>,
    ) -> Rows {
        self.engine_commit(dice, message);
        let by = Xid(self.next_xid.0 - 1);
        let mut heap = Heap::new(self.heap.len());
        for row in rows.values() {
            heap.insert(by, *row);
        }
        let former = std::mem::replace(&mut self.heap, heap);
        self.live = other;
        self.base.clone_from(rows);
        self.base_at = self.wal.commits().len();
        former.all_current().map(|row| (row.key.number, *row)).collect()
    }

    /// A transaction on the source is in progress, or has not left the list of those that are.
    pub(crate) fn is_source_in_use(&self) -> bool {
        !self.active.is_empty() || self.shares > 0 || self.readers.iter().any(|reader| reader.locks_source)
    }

    /// A `TRUNCATE` holds its lock: from its start until it is visible.
    pub(crate) fn is_truncating(&self) -> bool {
        self.active.values().any(|transaction| transaction.is_truncate())
    }

    /// The cutover's lock is given back: readers that waited for it go on with new snapshots.
    pub(crate) fn release(&mut self) {
        self.exclusive = Exclusive::Free;
        let clock = self.clock;
        for reader in self.readers.iter_mut().filter(|reader| reader.waits) {
            reader.waits = false;
            reader.locks_source = true;
            reader.snapshot_at = clock;
        }
    }

    /// Everything committed at or before `lsn` is visible.
    pub(crate) fn shows_all_until(&self, lsn: Lsn) -> bool {
        !self
            .active
            .values()
            .any(|transaction| transaction.committed.is_some_and(|end| end <= lsn))
    }

    /// Power is lost: unflushed commits, open transactions and sessions are gone; their ids may come again.
    pub(crate) fn crash(&mut self) -> usize {
        for (xid, transaction) in std::mem::take(&mut self.active) {
            if transaction.committed.is_none() {
                self.undo(xid, transaction);
            }
        }
        let (lost, highest) = self.wal.crash();
        for commit in &lost {
            self.heap.undo(commit.xid);
        }
        self.next_xid = highest.map_or(self.next_xid, |xid| Xid(xid.0 + 1));
        self.latest_completed = Xid(self.next_xid.0 - 1);
        self.locks.clear();
        self.readers.clear();
        self.shares = 0;
        self.exclusive = Exclusive::Free;
        lost.iter().filter(|commit| !commit.changes.is_empty()).count()
    }

    /// Ends every transaction and reader, for the last comparison.
    pub(crate) fn settle(&mut self, dice: &mut Dice) {
        while let Some(xid) = self.active.keys().next().copied() {
            if self.active[&xid].committed.is_none() {
                self.commit(dice, xid);
            }
            self.become_visible(xid);
        }
        self.readers.clear();
        self.wal.flush();
    }

    /// The table's latest versions.
    pub(crate) fn current(&self) -> Rows {
        let rows = self.heap.all_current();
        rows.map(|row| (row.key.number, *row)).collect()
    }

    /// The table as a fold over what applications committed since it came into its place, for comparing with the row
    /// versions.
    pub(crate) fn folded(&self) -> Rows {
        let mut rows = self.base.clone();
        for commit in &self.wal.commits()[self.base_at..] {
            if commit.by == By::Writer {
                apply_changes(&mut rows, &commit.changes);
            }
        }
        rows
    }

    /// The same from the beginning, through every swap.
    pub(crate) fn folded_from(&self, first: &Rows) -> Rows {
        let mut rows = first.clone();
        for commit in self.wal.commits().iter().filter(|commit| commit.by == By::Writer) {
            apply_changes(&mut rows, &commit.changes);
        }
        rows
    }

    /// The end of the commit record that put the table into its place.
    pub(crate) fn in_place_since(&self) -> Lsn {
        let before = self.base_at.checked_sub(1);
        before.map_or(Lsn(0), |swap| self.wal.commits()[swap].end)
    }

    /// What the table had when it came into its place.
    pub(crate) fn base(&self) -> &Rows {
        &self.base
    }
}

/// Replays the changes of one commit.
fn apply_changes(rows: &mut Rows, changes: &[SourceChange]) {
    for change in changes {
        match *change {
            SourceChange::Insert(new) => {
                rows.insert(new.key.number, new);
            }
            SourceChange::Update { old_key, new, .. } => {
                if let Some(old) = old_key {
                    rows.remove(&old.number);
                }
                rows.insert(new.key.number, new);
            }
            SourceChange::Delete(key) => {
                rows.remove(&key.number);
            }
            SourceChange::Truncate => rows.clear(),
        }
    }
}
