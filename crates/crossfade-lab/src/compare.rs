//! The proof: the whole table, every row and column, against the writers' ledger.
//!
//! The table is read in one snapshot and streamed, so memory holds the ledger and a bit per initial row. What a row
//! should look like after the change is told by a transform from the row that applications wrote.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Client;

use crate::ledger::{Doubt, Ledger};
use crate::orders::Row;

/// So many keys of each kind of difference are kept.
const KEYS_MAX: usize = 10;

/// What to read.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table, in SQL.
    pub table: String,
    /// Its columns, in SQL; the first is the key.
    pub columns: Vec<String>,
}

/// Why the table could not be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The server would not give the table.
    #[error("read the table")]
    Read(#[from] tokio_postgres::Error),
    /// A key is not a number, so no row of ours.
    #[error("read the key of a row as a number")]
    Key,
}

/// Some kind of difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// How many rows.
    pub rows: u64,
    /// The keys of the first ten.
    pub keys: Vec<i64>,
}

impl Found {
    fn add(&mut self, id: i64) {
        self.rows += 1;
        if self.keys.len() < KEYS_MAX {
            self.keys.push(id);
        }
    }
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows in the table.
    pub rows: u64,
    /// Rows whose content is not the expected one.
    pub differing: Found,
    /// Rows that should be there.
    pub missing: Found,
    /// Rows that should not, and second ones with the same key.
    pub extra: Found,
    /// Transactions in doubt that turned out to have committed.
    pub doubts_committed: u64,
    /// Transactions in doubt that turned out not to have committed.
    pub doubts_not_committed: u64,
    /// Transactions in doubt of which a part is there; their rows count as differing.
    pub doubts_torn: u64,
}

impl Comparison {
    /// Rows that differ in any way.
    pub fn differences(&self) -> u64 {
        self.differing.rows + self.missing.rows + self.extra.rows
    }
}

/// Compares `target` with what `ledger` expects after `transform`.
///
/// # Errors
/// [`CompareError`]; a difference is not an error.
pub async fn compare(
    client: &Client,
    target: &Target,
    ledger: &Ledger,
    transform: impl Fn(Row) -> Row,
) -> Result<Comparison, CompareError> {
    client
        .batch_execute(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL extra_float_digits = 1",
        )
        .await?;
    let columns: Vec<String> = target
        .columns
        .iter()
        .map(|column| format!("{column}::text"))
        .collect();
    let query = format!("SELECT {} FROM ONLY {}", columns.join(", "), target.table);
    let mut judge = Judge::new(ledger, transform);
    let mut rows = pin!(client.query_raw(&query, std::iter::empty::<String>()).await?);
    while let Some(row) = rows.try_next().await? {
        judge.see((0..row.len()).map(|index| row.get(index)).collect())?;
    }
    client.batch_execute("COMMIT").await?;
    Ok(judge.finish())
}

/// Sees each row of the table once, in any order.
struct Judge<'a, F> {
    ledger: &'a Ledger,
    transform: F,
    seen: Seen,
    doubtful: HashMap<i64, Row>,
    result: Comparison,
}

impl<'a, F: Fn(Row) -> Row> Judge<'a, F> {
    fn new(ledger: &'a Ledger, transform: F) -> Self {
        let seen = Seen::new(ledger.size().orders);
        Judge {
            ledger,
            transform,
            seen,
            doubtful: HashMap::new(),
            result: Comparison::default(),
        }
    }

    fn see(&mut self, row: Row) -> Result<(), CompareError> {
        let key = row.first().and_then(Option::as_deref);
        let id: i64 = key.and_then(|key| key.parse().ok()).ok_or(CompareError::Key)?;
        self.result.rows += 1;
        if !self.seen.insert(id) {
            self.result.extra.add(id);
        } else if self.ledger.is_doubtful(id) {
            self.doubtful.insert(id, row);
        } else {
            match self.ledger.get(id) {
                None => self.result.extra.add(id),
                Some(order) if (self.transform)(order.row(id)) != row => self.result.differing.add(id),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Comparison {
        for id in self.ledger.certain_ids().filter(|id| !self.seen.contains(*id)) {
            self.result.missing.add(id);
        }
        for transaction in self.ledger.in_doubt() {
            self.resolve(transaction);
        }
        self.result
    }

    /// All of a transaction or nothing of it. Where both look the same, it does not matter.
    fn resolve(&mut self, transaction: &[Doubt]) {
        let expected =
            |row: Option<_>, id| row.map(|order: crate::orders::Order| (self.transform)(order.row(id)));
        let is = |doubt: &Doubt, row| self.doubtful.get(&doubt.id) == expected(row, doubt.id).as_ref();
        if transaction.iter().all(|doubt| is(doubt, doubt.after)) {
            self.result.doubts_committed += 1;
        } else if transaction.iter().all(|doubt| is(doubt, doubt.before)) {
            self.result.doubts_not_committed += 1;
        } else {
            self.result.doubts_torn += 1;
            for doubt in transaction {
                self.result.differing.add(doubt.id);
            }
        }
    }
}

/// The keys seen: a bit for each initial one, and a set of the others.
struct Seen {
    initial: Vec<u64>,
    others: HashSet<i64>,
}

impl Seen {
    fn new(initial: i64) -> Seen {
        let words = usize::try_from(initial).unwrap_or(0) / 64 + 1;
        Seen {
            initial: vec![0; words],
            others: HashSet::new(),
        }
    }

    /// Whether it is new.
    fn insert(&mut self, id: i64) -> bool {
        match self.place(id) {
            Some((word, bit)) => {
                let is_new = self.initial[word] & bit == 0;
                self.initial[word] |= bit;
                is_new
            }
            None => self.others.insert(id),
        }
    }

    fn contains(&self, id: i64) -> bool {
        match self.place(id) {
            Some((word, bit)) => self.initial[word] & bit != 0,
            None => self.others.contains(&id),
        }
    }

    fn place(&self, id: i64) -> Option<(usize, u64)> {
        let word = usize::try_from(id / 64)
            .ok()
            .filter(|word| id >= 0 && *word < self.initial.len())?;
        Some((word, 1 << (id % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Note, Order, Size};

    const SIZE: Size = Size { orders: 100 };

    /// The comparison of `table` with `ledger`, without a server.
    fn judge(ledger: &Ledger, table: &[(i64, Order)]) -> Comparison {
        let mut judge = Judge::new(ledger, |row| row);
        for (id, order) in table {
            judge.see(order.row(*id)).unwrap();
        }
        judge.finish()
    }

    fn initial() -> Vec<(i64, Order)> {
        (1..=SIZE.orders)
            .map(|id| (id, Order::initial(id, SIZE)))
            .collect()
    }

    #[test]
    fn an_equal_table_has_no_difference() {
        let comparison = judge(&Ledger::new(SIZE), &initial());
        assert_eq!(
            comparison,
            Comparison {
                rows: 100,
                ..Comparison::default()
            }
        );
    }

    #[test]
    fn each_kind_of_difference_is_counted_and_named() {
        let mut table = initial();
        table[9].1.note = Note::None;
        table.remove(49);
        table.push((101, table[0].1));
        table.push(table[1]);
        let comparison = judge(&Ledger::new(SIZE), &table);
        assert_eq!(
            comparison.differing,
            Found {
                rows: 1,
                keys: vec![10]
            }
        );
        assert_eq!(
            comparison.missing,
            Found {
                rows: 1,
                keys: vec![50]
            }
        );
        assert_eq!(
            comparison.extra,
            Found {
                rows: 2,
                keys: vec![101, 2]
            }
        );
        assert_eq!(comparison.differences(), 4);
    }

    #[test]
    fn a_lost_acknowledged_commit_is_found() {
        let mut ledger = Ledger::new(SIZE);
        let order = ledger.get(7).unwrap();
        ledger.commit([
            (
                7,
                Some(Order {
                    cents: order.cents + 1,
                    ..order
                }),
            ),
            (8, None),
            (500, Some(order)),
        ]);
        let comparison = judge(&ledger, &initial());
        assert_eq!(comparison.differing.keys, [7]);
        assert_eq!(comparison.extra.keys, [8]);
        assert_eq!(comparison.missing.keys, [500]);
    }

    #[test]
    fn a_transaction_in_doubt_is_there_wholly_or_not_at_all() {
        let mut ledger = Ledger::new(SIZE);
        let order = ledger.get(7).unwrap();
        ledger.doubt([(7, None), (500, Some(order))]);
        let not_committed = judge(&ledger, &initial());
        assert_eq!(
            (not_committed.doubts_not_committed, not_committed.differences()),
            (1, 0)
        );
        let mut table = initial();
        table[6].0 = 500;
        let committed = judge(&ledger, &table);
        assert_eq!((committed.doubts_committed, committed.differences()), (1, 0));
        table.push((7, order));
        let torn = judge(&ledger, &table);
        assert_eq!((torn.doubts_torn, torn.differing.keys), (1, vec![7, 500]));
    }
}
