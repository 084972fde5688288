//! What the writers know to be in the table: the content of every row after every acknowledged commit.
//!
//! Untouched initial rows are not stored, since their content follows from their key. A transaction whose COMMIT
//! was not answered is *in doubt*: either all of its changes are there or none, and [`compare`](crate::compare)
//! finds out which. Its rows are left alone from then on, so that nothing later hides the answer.

use std::collections::{HashMap, HashSet};

use crate::orders::{Order, Size};

/// A row that a transaction in doubt may have changed. `None` is a row that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The key.
    pub id: i64,
    /// The row if the transaction did not commit.
    pub before: Option<Order>,
    /// The row if it did.
    pub after: Option<Order>,
}

/// The expected table.
#[derive(Clone, Debug)]
pub struct Ledger {
    size: Size,
    touched: HashMap<i64, Option<Order>>,
    in_doubt: Vec<Vec<Doubt>>,
    doubtful: HashSet<i64>,
}

impl Ledger {
    /// The initial table.
    pub fn new(size: Size) -> Ledger {
        Ledger {
            size,
            touched: HashMap::new(),
            in_doubt: Vec::new(),
            doubtful: HashSet::new(),
        }
    }

    /// How large the initial table was.
    pub fn size(&self) -> Size {
        self.size
    }

    /// The row with key `id`. For one in doubt it is the row before that transaction.
    pub fn get(&self, id: i64) -> Option<Order> {
        match self.touched.get(&id) {
            Some(row) => *row,
            None => self.is_initial(id).then(|| Order::initial(id, self.size)),
        }
    }

    /// Whether a transaction in doubt changed `id`.
    pub fn is_doubtful(&self, id: i64) -> bool {
        self.doubtful.contains(&id)
    }

    /// A commit of these rows was acknowledged.
    pub fn commit(&mut self, effects: impl IntoIterator<Item = (i64, Option<Order>)>) {
        self.touched.extend(effects);
    }

    /// A commit of these rows was asked for and not answered.
    pub fn doubt(&mut self, effects: impl IntoIterator<Item = (i64, Option<Order>)>) {
        let rows: Vec<Doubt> = effects
            .into_iter()
            .map(|(id, after)| Doubt {
                id,
                before: self.get(id),
                after,
            })
            .collect();
        self.doubtful.extend(rows.iter().map(|row| row.id));
        self.in_doubt.push(rows);
    }

    /// Adds the ledger of another writer, which touched other rows.
    pub fn merge(&mut self, other: Ledger) {
        self.touched.extend(other.touched);
        self.in_doubt.extend(other.in_doubt);
        self.doubtful.extend(other.doubtful);
    }

    /// The transactions in doubt.
    pub fn in_doubt(&self) -> &[Vec<Doubt>] {
        &self.in_doubt
    }

    /// How many rows were touched by acknowledged commits.
    pub fn touched(&self) -> usize {
        self.touched.len()
    }

    /// Rows that the table must hold, those in doubt left out.
    pub fn certain_ids(&self) -> impl Iterator<Item = i64> {
        let initial = (1..=self.size.orders).filter(|id| !self.touched.contains_key(id));
        let touched = self
            .touched
            .iter()
            .filter(|(_, row)| row.is_some())
            .map(|(id, _)| *id);
        initial.chain(touched).filter(|id| !self.is_doubtful(*id))
    }

    fn is_initial(&self, id: i64) -> bool {
        (1..=self.size.orders).contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_the_acknowledged_commits() {
        let size = Size { orders: 20 };
        let mut ledger = Ledger::new(size);
        let (one, two) = (ledger.get(1).unwrap(), ledger.get(2).unwrap());
        ledger.commit([(1, Some(two)), (2, None), (1000, Some(one))]);
        assert_eq!(
            (ledger.get(1), ledger.get(2), ledger.get(1000)),
            (Some(two), None, Some(one))
        );
        assert_eq!(ledger.get(21), None);
        assert_eq!(ledger.certain_ids().count(), 20);
    }

    #[test]
    fn rows_in_doubt_are_not_certain() {
        let mut ledger = Ledger::new(Size { orders: 20 });
        let before = ledger.get(5);
        ledger.doubt([(5, None), (99, before)]);
        assert!(ledger.is_doubtful(5) && ledger.is_doubtful(99));
        assert_eq!(
            ledger.in_doubt()[0][0],
            Doubt {
                id: 5,
                before,
                after: None
            }
        );
        assert_eq!(ledger.certain_ids().count(), 19);
    }
}
