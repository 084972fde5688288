//! What a writer does next, drawn from its seeded randomness and what it knows to be in the table.
//!
//! A writer touches only rows of its own: initial ones whose id leaves its number as remainder, and those it
//! inserted. So its ledger needs nobody else's order of commits. It leaves alone what is in doubt, and neither
//! deletes nor moves an order that has items.

use std::collections::{BTreeMap, HashSet};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::operation::Operation;
use crate::ledger::Ledger;
use crate::orders::{Note, Order, Size, Timestamp, status_of};

/// Keys that writers choose themselves begin here, far above those of the sequence.
const OWN_IDS: i64 = 1_000_000_000;
/// So often a row is looked for before the writer inserts one instead.
const PICKS: u32 = 16;

/// What a transaction has done so far. Ordered, so that what is drawn from it follows from the seed.
pub(super) type Effects = BTreeMap<i64, Option<Order>>;

/// How a transaction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One statement outside a transaction block.
    Single,
    /// So many statements, then COMMIT.
    Block(u32),
    /// So many statements, then a savepoint, as many again and a rollback to it, a last one, COMMIT.
    Savepoint(u32),
    /// So many statements, then ROLLBACK.
    RolledBack(u32),
}

/// Draws.
pub(super) struct Planner {
    rng: ChaCha8Rng,
    number: i64,
    writers: i64,
    own_ids: i64,
    /// Keys inserted by this writer; some may be gone.
    inserted: Vec<i64>,
    with_items: HashSet<i64>,
}

impl Planner {
    /// The planner of writer `number` of `writers`.
    pub(super) fn new(seed: u64, number: u32, writers: u32) -> Planner {
        Planner {
            rng: ChaCha8Rng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(u64::from(number))),
            number: i64::from(number),
            writers: i64::from(writers),
            own_ids: 0,
            inserted: Vec::new(),
            with_items: HashSet::new(),
        }
    }

    /// How the next transaction goes.
    pub(super) fn shape(&mut self) -> Shape {
        let statements = self.rng.random_range(3..=10);
        match self.rng.random_range(0..100) {
            0..60 => Shape::Single,
            60..82 => Shape::Block(statements),
            82..92 => Shape::Savepoint(statements / 2),
            _ => Shape::RolledBack(statements),
        }
    }

    /// The next operation, in a transaction that has had `effects`. Only in a block may the server choose a key:
    /// there the key is known before the COMMIT, whose answer may be lost.
    pub(super) fn operation(&mut self, ledger: &Ledger, effects: &Effects, in_block: bool) -> Operation {
        match self.rng.random_range(0..100) {
            0..18 => self.insert(ledger.size(), effects, in_block),
            18..33 => self.delete(ledger, effects),
            33..45 => self.change_key(ledger, effects),
            45..48 if in_block => self.insert_item(ledger, effects),
            _ => self.update(ledger, effects),
        }
    }

    /// These rows were committed, so the writer may choose them later.
    pub(super) fn remember(&mut self, effects: &Effects, size: Size) {
        let ids = effects
            .iter()
            .filter(|(id, row)| row.is_some() && **id > size.orders)
            .map(|(id, _)| *id);
        self.inserted.extend(ids);
    }

    fn insert(&mut self, size: Size, effects: &Effects, in_block: bool) -> Operation {
        let order = self.order(size);
        // A key that this transaction has just freed, by a delete or a move.
        let freed = effects.iter().find(|(_, row)| row.is_none()).map(|(id, _)| *id);
        match freed.filter(|_| self.rng.random_bool(0.5)) {
            Some(id) => Operation::Insert { id, order },
            None if in_block && self.rng.random_bool(0.7) => Operation::InsertNext { order },
            None => Operation::Insert {
                id: self.own_id(),
                order,
            },
        }
    }

    fn delete(&mut self, ledger: &Ledger, effects: &Effects) -> Operation {
        match self.pick(ledger, effects, true) {
            Some((id, _)) => Operation::Delete { id },
            None => self.insert(ledger.size(), effects, false),
        }
    }

    fn change_key(&mut self, ledger: &Ledger, effects: &Effects) -> Operation {
        match self.pick(ledger, effects, true) {
            Some((from, order)) => Operation::Move {
                from,
                to: self.own_id(),
                order,
            },
            None => self.insert(ledger.size(), effects, false),
        }
    }

    fn insert_item(&mut self, ledger: &Ledger, effects: &Effects) -> Operation {
        match self.pick(ledger, effects, false) {
            Some((id, _)) => {
                // Even if the transaction rolls back: then the order is merely treated too kindly.
                self.with_items.insert(id);
                Operation::InsertItem { id }
            }
            None => self.insert(ledger.size(), effects, false),
        }
    }

    fn update(&mut self, ledger: &Ledger, effects: &Effects) -> Operation {
        let Some((id, old)) = self.pick(ledger, effects, false) else {
            return self.insert(ledger.size(), effects, false);
        };
        let seed = self.seed();
        let updated = Some(Timestamp::from_micros(seed));
        let new = match self.rng.random_range(0..10) {
            0..3 => Order {
                cents: seed % 10_000_000,
                updated,
                ..old
            },
            3..5 => Order {
                status: status_of(seed),
                updated,
                ..old
            },
            5 => Order {
                details: None,
                updated: None,
                ..old
            },
            6 => Order {
                details: Some(seed),
                updated,
                ..old
            },
            7 => Order {
                customer: 1 + seed % ledger.size().customers(),
                updated,
                ..old
            },
            _ => Order {
                note: self.note(),
                updated,
                ..old
            },
        };
        if new == old {
            // An update to NULL of what was NULL.
            return Operation::Update {
                id,
                old,
                new: Order {
                    cents: (old.cents + 1) % 10_000_000,
                    ..old
                },
            };
        }
        Operation::Update { id, old, new }
    }

    /// A row of this writer's that is there. With `alone`, one without items.
    fn pick(&mut self, ledger: &Ledger, effects: &Effects, alone: bool) -> Option<(i64, Order)> {
        (0..PICKS).find_map(|_| {
            let id = self.draw_touched(effects).or_else(|| self.draw(ledger))?;
            let order = match effects.get(&id) {
                Some(row) => *row,
                None => ledger.get(id),
            };
            let has_item =
                || self.with_items.contains(&id) || (id <= ledger.size().orders && Size::has_item(id));
            let is_bound = alone && has_item();
            order
                .filter(|_| !is_bound && !ledger.is_doubtful(id))
                .map(|order| (id, order))
        })
    }

    /// The key of a row that is or was this writer's.
    fn draw(&mut self, ledger: &Ledger) -> Option<i64> {
        let size = ledger.size();
        let id = match self.rng.random_range(0..10) {
            0..3 => return self.draw_inserted(ledger),
            3 => {
                let number = self.rng.random_range(0..size.long_runs());
                let run = size.long_run(number);
                (!run.is_empty()).then(|| self.rng.random_range(run))?
            }
            _ => self.rng.random_range(1..=size.orders),
        };
        let own = id - id % self.writers + self.number;
        (1..=size.orders).contains(&own).then_some(own)
    }

    /// In a block, often a row that the transaction has touched before.
    fn draw_touched(&mut self, effects: &Effects) -> Option<i64> {
        if effects.is_empty() || self.rng.random_bool(0.7) {
            return None;
        }
        let index = self.rng.random_range(0..effects.len());
        effects.keys().nth(index).copied()
    }

    fn draw_inserted(&mut self, ledger: &Ledger) -> Option<i64> {
        if self.inserted.is_empty() {
            return None;
        }
        let index = self.rng.random_range(0..self.inserted.len());
        let id = self.inserted[index];
        if ledger.get(id).is_none() {
            self.inserted.swap_remove(index);
        }
        Some(id)
    }

    fn own_id(&mut self) -> i64 {
        self.own_ids += 1;
        OWN_IDS + self.own_ids * self.writers + self.number
    }

    fn order(&mut self, size: Size) -> Order {
        let seed = self.seed();
        Order {
            customer: 1 + seed % size.customers(),
            cents: seed % 10_000_000,
            status: status_of(seed),
            details: (seed % 5 != 0).then_some(seed),
            note: self.note(),
            created: Timestamp::from_micros(seed),
            updated: (seed % 3 != 0).then_some(Timestamp::from_micros(seed)),
        }
    }

    fn note(&mut self) -> Note {
        let seed = self.seed();
        match self.rng.random_range(0..20) {
            0 => Note::Long(seed),
            1..7 => Note::None,
            _ => Note::Short(seed),
        }
    }

    /// Also a number of microseconds within one year.
    fn seed(&mut self) -> i64 {
        self.rng.random_range(0..31_536_000_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { orders: 5000 };

    /// Every key that `count` committed operations of a writer touch.
    fn keys(number: u32, count: usize) -> (HashSet<i64>, Ledger) {
        let (mut planner, mut ledger) = (Planner::new(1, number, 3), Ledger::new(SIZE));
        let mut keys = HashSet::new();
        for _ in 0..count {
            let effects: Effects = planner
                .operation(&ledger, &Effects::new(), false)
                .effects(None)
                .into_iter()
                .collect();
            keys.extend(effects.keys());
            planner.remember(&effects, SIZE);
            ledger.commit(effects);
        }
        (keys, ledger)
    }

    #[test]
    fn writers_never_touch_the_same_row() {
        let (one, other) = (keys(0, 3000).0, keys(1, 3000).0);
        assert!(one.len() > 1000);
        assert_eq!(one.intersection(&other).count(), 0);
    }

    #[test]
    fn rows_with_items_are_neither_deleted_nor_moved() {
        let (keys, ledger) = keys(2, 5000);
        let mut initial = keys
            .into_iter()
            .filter(|id| *id <= SIZE.orders && Size::has_item(*id));
        assert!(initial.all(|id| ledger.get(id).is_some()));
    }

    #[test]
    fn rows_with_long_notes_are_moved_too() {
        let (mut planner, ledger) = (Planner::new(1, 0, 3), Ledger::new(SIZE));
        let moved = (0..2000).filter(|_| {
            let operation = planner.operation(&ledger, &Effects::new(), false);
            matches!(operation, Operation::Move { from, .. } if Size::has_long_note(from))
        });
        assert!(moved.count() > 5);
    }

    #[test]
    fn a_key_freed_in_a_transaction_is_used_again_in_it() {
        let (mut planner, ledger) = (Planner::new(1, 0, 3), Ledger::new(SIZE));
        let effects = Effects::from([(3, None)]);
        let again = (0..200).filter(|_| {
            let operation = planner.operation(&ledger, &effects, true);
            matches!(operation, Operation::Insert { id: 3, .. })
        });
        assert!(again.count() > 5);
    }

    #[test]
    fn what_is_in_doubt_is_left_alone() {
        let (mut planner, mut ledger) = (Planner::new(1, 0, 1), Ledger::new(Size { orders: 3 }));
        ledger.doubt([(1, None), (2, None)]);
        for _ in 0..500 {
            let effects = planner.operation(&ledger, &Effects::new(), false).effects(None);
            assert!(effects.iter().all(|(id, _)| !ledger.is_doubtful(*id)));
        }
    }
}
