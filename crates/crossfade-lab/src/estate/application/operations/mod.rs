//! What the application does in a transaction, as SQL.
//!
//! An operation draws a row that may be there and changes it, or makes one with a key of its own. One that finds
//! no row does nothing, as applications do. None can fail by what others do at the same time, but for deadlocks
//! and serialization failures: who refers to a row locks it first.
//!
//! The operations of a transaction go in the order of [`ALL`], so deadlocks stay rare.

mod office;
mod sales;
mod things;

use super::choice::Choice;
use crate::sql::literal;

/// A transaction of so many rows comes once in so many of a writer's.
const BULK_EVERY: i64 = 400;
/// The first of them.
const BULK_FIRST: i64 = 100;
/// Rows of it.
const BULK_ROWS: i64 = 3000;
/// So many of a hundred transactions are rolled back.
const ROLLED_BACK: i64 = 4;
/// So many roll a part of them back.
const SAVEPOINTS: i64 = 10;
/// So many see one snapshot from beginning to end.
const REPEATABLE_READS: i64 = 5;

/// What an operation is called, and what makes its statements.
type Operation = (&'static str, fn(&mut Choice) -> Vec<String>);

const ALL: [Operation; 26] = [
    ("transfer", sales::transfer),
    ("customer", sales::customer),
    ("place", sales::place),
    ("order", sales::order),
    ("product", sales::product),
    ("link", sales::link),
    ("category", sales::category),
    ("document", things::document),
    ("seat", things::seat),
    ("measurement", things::measurement),
    ("shipment", things::shipment),
    ("vehicle", things::vehicle),
    ("rate", things::rate),
    ("oddity", things::oddity),
    ("number", things::number),
    ("price", things::price),
    ("ticket", things::ticket),
    ("event", things::event),
    ("stock", things::stock),
    ("employee", office::employee),
    ("wage", office::wage),
    ("order of words", office::order),
    ("setting", office::setting),
    ("session", office::session),
    ("size", office::size),
    ("booking", office::booking),
];

/// A transaction: its statements without the last one, and how it ends.
pub(super) struct Plan {
    /// From BEGIN on.
    pub(super) statements: Vec<String>,
    /// Whether it is meant to be committed.
    pub(super) commits: bool,
}

/// Draws the transaction that `choice` stands at.
pub(super) fn plan(choice: &mut Choice) -> Plan {
    let begin = if choice.chance(REPEATABLE_READS) {
        "BEGIN ISOLATION LEVEL REPEATABLE READ"
    } else {
        "BEGIN"
    };
    let mut statements = vec![begin.to_owned()];
    let mut names = Vec::new();
    if choice.number % BULK_EVERY == BULK_FIRST {
        names.push("bulk");
        statements.extend(office::bulk(choice, BULK_ROWS));
    } else if choice.chance(20) {
        names.push("import");
        statements.extend(office::import(choice));
    }
    for (name, make) in drawn(choice) {
        names.push(name);
        statements.extend(perhaps_undone(choice, make));
    }
    statements.extend(promise(choice, &names.join(", ")));
    Plan {
        statements,
        commits: !choice.chance(ROLLED_BACK),
    }
}

/// One to four operations, in the order of all.
fn drawn(choice: &mut Choice) -> Vec<Operation> {
    let count = 1 + choice.below(4);
    let mut indexes: Vec<usize> = (0..count)
        .filter_map(|_| usize::try_from(choice.below(26)).ok())
        .collect();
    indexes.sort_unstable();
    indexes.dedup();
    indexes.into_iter().map(|index| ALL[index]).collect()
}

/// An operation, or one that is undone and another one of its kind.
fn perhaps_undone(choice: &mut Choice, make: fn(&mut Choice) -> Vec<String>) -> Vec<String> {
    if !choice.chance(SAVEPOINTS) {
        return make(choice);
    }
    let mut statements = vec!["SAVEPOINT second_thoughts".to_owned()];
    statements.extend(make(choice));
    statements.push("ROLLBACK TO SAVEPOINT second_thoughts".to_owned());
    statements.extend(make(choice));
    statements
}

/// What says later that the transaction, and the whole of it, was committed.
fn promise(choice: &Choice, note: &str) -> [String; 2] {
    let Choice { writer, number, .. } = choice;
    [
        format!(
            "INSERT INTO shop.writers VALUES ({writer}, 1)
             ON CONFLICT (writer) DO UPDATE SET commits = writers.commits + 1"
        ),
        format!(
            "INSERT INTO shop.ledger VALUES ({writer}, {number}, {})",
            literal(note)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(seed: u64) -> Vec<String> {
        let mut choice = Choice::new(seed, 1, 0, 2000);
        (0..200)
            .flat_map(|_| {
                choice.next();
                plan(&mut choice).statements
            })
            .collect()
    }

    #[test]
    fn choices_follow_from_the_seed() {
        assert_eq!(statements(7), statements(7));
        assert_ne!(statements(7), statements(8));
    }
}
