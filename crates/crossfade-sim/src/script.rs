//! A random history of the world, written down so that a real server can repeat it: what applications did, in order,
//! and what the world says of it. Where the two differ, the world is no model of PostgreSQL.
//!
//! What is done and what is delivered are told apart: a [`Write`] says which row became which, and nothing of what
//! the stream carries of it.

use crossfade_core::change::{Change, Row, StreamItem};
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;

use crate::dice::Dice;
use crate::row::{SourceChange, Table};
use crate::scenario::Scenario;
use crate::stream::Stream;
use crate::world::{Heap, View, World};

/// A history, and what the world says of it. Rows have the columns `key, code, small, big, own`, all as text.
#[derive(Clone, Debug)]
pub struct Script {
    /// The rows that are there before it.
    pub base: Vec<Row>,
    /// `code` is unique.
    pub unique: bool,
    /// Equal keys may differ in their text, as numerics do; else a key is its text.
    pub respelled: bool,
    /// What happened.
    pub steps: Vec<Step>,
    /// What the stream delivers, in order: transactions without a change are left out.
    pub delivered: Vec<(Xid, Vec<Change>)>,
    /// The rows that are there in the end.
    pub rows: Vec<Row>,
}

/// One thing that happened. Transactions are named by the ids that the world gave them.
#[derive(Clone, Debug)]
pub enum Step {
    /// A transaction began and took its id.
    Begin {
        /// Its id.
        xid: Xid,
        /// With `synchronous_commit = off`: its commit waits for nobody.
        asynchronous: bool,
    },
    /// It wrote.
    Write(Xid, Write),
    /// It made its next savepoint; they are numbered from 0.
    Save(Xid),
    /// It went back to a savepoint, which stays.
    RollBackTo {
        /// The transaction.
        xid: Xid,
        /// The savepoint.
        savepoint: usize,
    },
    /// Its commit record is in the log.
    Commit(Xid),
    /// Snapshots see it from now on.
    BecomeVisible(Xid),
    /// It was rolled back.
    RollBack(Xid),
    /// Somebody took a snapshot and has locked nothing; they are numbered from 0.
    TakeSnapshot(Snapshot),
    /// The table was read under it.
    Read {
        /// The snapshot's number.
        snapshot: usize,
        /// The rows that it saw, by key.
        rows: Vec<Row>,
    },
}

/// What a statement does.
#[derive(Clone, Debug)]
pub enum Write {
    /// A new row.
    Insert(Row),
    /// One row becomes another.
    Update {
        /// The row.
        old: Row,
        /// What it becomes.
        new: Row,
    },
    /// This row goes.
    Delete(Row),
    /// All rows go.
    Truncate,
}

impl Write {
    /// What makes that change of what the heap has.
    pub(crate) fn of(heap: &Heap, change: SourceChange) -> Write {
        let current = |number| {
            let row = heap.current(number).expect("writers change what is there");
            row.to_core(Table::Old)
        };
        match change {
            SourceChange::Insert(new) => Write::Insert(new.to_core(Table::Old)),
            SourceChange::Update { old_key, new, .. } => Write::Update {
                old: current(old_key.map_or(new.key.number, |key| key.number)),
                new: new.to_core(Table::Old),
            },
            SourceChange::Delete(key) => Write::Delete(current(key.number)),
            SourceChange::Truncate => Write::Truncate,
        }
    }
}

/// Steps of a history's applications. Each is a statement or a few.
const STEPS: u32 = 220;
/// Snapshots taken, in a hundred steps.
const SNAPSHOTS: u32 = 8;

/// The same seed is the same history.
pub fn script(seed: u64) -> Script {
    let mut dice = Dice::new(seed);
    let scenario = Scenario {
        empty_transactions: false,
        ..Scenario::roll(&mut dice)
    };
    let mut world = World::new(&mut dice, &scenario);
    world.told = Some(Vec::new());
    let base = rows(world.heap.all_current());
    let mut snapshots = Snapshots::default();
    for _ in 0..STEPS {
        world.step(&mut dice, &scenario, false);
        show_what_waits_for_nobody(&mut world);
        if dice.chance(SNAPSHOTS) {
            snapshots.take(&mut world);
        }
        if dice.chance(SNAPSHOTS) {
            snapshots.read_one(&mut world, &mut dice);
        }
    }
    world.settle(&mut dice);
    while !snapshots.open.is_empty() {
        snapshots.read_one(&mut world, &mut dice);
    }
    Script {
        base,
        unique: scenario.unique,
        respelled: scenario.server_equality,
        delivered: delivered(&world, &mut dice, &scenario),
        rows: rows(world.heap.all_current()),
        steps: world.told.unwrap_or_default(),
    }
}

fn rows<'a>(rows: impl Iterator<Item = &'a crate::row::Row>) -> Vec<Row> {
    rows.map(|row| row.to_core(Table::Old)).collect()
}

/// A server holds a commit back, flushed and invisible, only while it waits for a standby: one that changed
/// nothing, or is asynchronous, never does.
fn show_what_waits_for_nobody(world: &mut World) {
    let commits = world.wal.commits();
    let changed = |xid| {
        commits
            .iter()
            .any(|commit| commit.xid == xid && !commit.changes.is_empty())
    };
    let waits_not = world.active.iter().filter(|(xid, transaction)| {
        transaction.committed.is_some() && (transaction.asynchronous || !changed(**xid))
    });
    for xid in waits_not.map(|(xid, _)| *xid).collect::<Vec<_>>() {
        world.become_visible(xid);
    }
}

/// Snapshots in use: each reads once, since a reader that has read keeps its lock on the table.
#[derive(Default)]
struct Snapshots {
    taken: usize,
    open: Vec<(usize, View)>,
}

impl Snapshots {
    fn take(&mut self, world: &mut World) {
        let view = world.snapshot();
        world.tell(Step::TakeSnapshot(view.to_core()));
        self.open.push((self.taken, view));
        self.taken += 1;
    }

    fn read_one(&mut self, world: &mut World, dice: &mut Dice) {
        // A truncating transaction's lock keeps readers out.
        if self.open.is_empty() || world.is_truncating() {
            return;
        }
        let (snapshot, view) = self.open.swap_remove(dice.index(self.open.len()));
        let rows = world
            .heap
            .rows(&view)
            .map(|row| row.to_core(Table::Old))
            .collect();
        world.tell(Step::Read { snapshot, rows });
    }
}

fn delivered(world: &World, dice: &mut Dice, scenario: &Scenario) -> Vec<(Xid, Vec<Change>)> {
    let mut stream = Stream::start(&world.wal, Table::Old, Lsn(0), Lsn(0), None);
    let mut transactions: Vec<(Xid, Vec<Change>)> = Vec::new();
    let reference = world.next_xid();
    while let Some(StreamItem::Transaction(part)) = stream.receive(&world.wal, dice, scenario) {
        match transactions.last_mut() {
            Some((_, changes)) if !part.first => changes.extend(part.changes),
            _ => transactions.push((Xid::widen(part.xid, reference), part.changes)),
        }
    }
    transactions
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [&str; 14] = [
        "asynchronous",
        "insert",
        "update that leaves a big value alone",
        "key change",
        "other spelling of a key",
        "delete",
        "truncate",
        "savepoint",
        "back to a savepoint",
        "rollback",
        "commit seen later",
        "snapshot beside an open transaction",
        "snapshot from before a truncate, read after it",
        "rows under an old snapshot",
    ];

    fn kinds(script: &Script) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        let (mut committed, mut truncated) = (None, None);
        for (place, step) in script.steps.iter().enumerate() {
            match step {
                Step::Begin {
                    asynchronous: true, ..
                } => kinds.push("asynchronous"),
                Step::Begin { .. } => {}
                Step::Write(_, Write::Insert(_)) => kinds.push("insert"),
                Step::Write(_, Write::Update { old, new }) => kinds.extend(kinds_of_update(old, new)),
                Step::Write(_, Write::Delete(_)) => kinds.push("delete"),
                Step::Write(_, Write::Truncate) => {
                    kinds.push("truncate");
                    truncated = Some(place);
                }
                Step::Save(_) => kinds.push("savepoint"),
                Step::RollBackTo { .. } => kinds.push("back to a savepoint"),
                Step::RollBack(_) => kinds.push("rollback"),
                Step::Commit(xid) => committed = Some(*xid),
                Step::BecomeVisible(xid) if committed != Some(*xid) => kinds.push("commit seen later"),
                Step::BecomeVisible(_) => {}
                Step::TakeSnapshot(snapshot) if snapshot.in_progress().next().is_some() => {
                    kinds.push("snapshot beside an open transaction");
                }
                Step::TakeSnapshot(_) => {}
                Step::Read { rows, .. } if !rows.is_empty() => kinds.push("rows under an old snapshot"),
                Step::Read { snapshot, .. } => {
                    let is_it = |step: &&Step| matches!(step, Step::TakeSnapshot(_));
                    let before = truncated.map_or(0, |at| script.steps[..at].iter().filter(is_it).count());
                    if *snapshot < before {
                        kinds.push("snapshot from before a truncate, read after it");
                    }
                }
            }
        }
        kinds
    }

    fn kinds_of_update(old: &Row, new: &Row) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        if old.0[3] == new.0[3] && old.0[3].size() > 0 {
            kinds.push("update that leaves a big value alone");
        }
        if old.0[0] != new.0[0] {
            kinds.push("key change");
            let number = |row: &Row| match &row.0[0] {
                crossfade_core::change::Cell::Text(text) => text[..2].to_vec(),
                _ => Vec::new(),
            };
            if number(old) == number(new) {
                kinds.push("other spelling of a key");
            }
        }
        kinds
    }

    /// Otherwise a comparison with a server would say nothing about it.
    #[test]
    fn histories_hold_every_kind_of_thing() {
        let found: Vec<&str> = (0..40).flat_map(|seed| kinds(&script(seed))).collect();
        let missing: Vec<_> = KINDS.iter().filter(|kind| !found.contains(kind)).collect();
        assert!(missing.is_empty(), "never: {missing:?}");
    }

    #[test]
    fn a_seed_repeats() {
        assert_eq!(format!("{:?}", script(7)), format!("{:?}", script(7)));
    }
}
