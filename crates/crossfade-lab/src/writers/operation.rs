//! One statement of an application, and its SQL.
//!
//! All values are sent as untyped literals in the simple protocol, so the statements stay valid whatever the types
//! of the columns become.

use crate::orders::{Column, Order, Row};
use crate::sql;

/// A statement on `orders` or its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// A row with a key of ours.
    Insert {
        /// The key.
        id: i64,
        /// The row.
        order: Order,
    },
    /// A row whose key the server's sequence gives.
    InsertNext {
        /// The row.
        order: Order,
    },
    /// Other values; only the columns that differ are written.
    Update {
        /// The key.
        id: i64,
        /// The row before.
        old: Order,
        /// The row after.
        new: Order,
    },
    /// Another key.
    Move {
        /// The key before.
        from: i64,
        /// The key after.
        to: i64,
        /// The row, which stays as it is.
        order: Order,
    },
    /// No row any more.
    Delete {
        /// The key.
        id: i64,
    },
    /// A row of `order_items` that refers to an order; no change of `orders`.
    InsertItem {
        /// The order's key.
        id: i64,
    },
}

impl Operation {
    /// The statement. `InsertNext` returns the new key.
    pub(super) fn sql(&self) -> String {
        match self {
            Operation::Insert { id, order } => {
                format!(
                    "INSERT INTO orders ({}) VALUES ({})",
                    columns(&Column::ALL),
                    values(&order.row(*id))
                )
            }
            Operation::InsertNext { order } => {
                let (row, others) = (order.row(0), &Column::ALL[1..]);
                format!(
                    "INSERT INTO orders ({}) VALUES ({}) RETURNING id",
                    columns(others),
                    values(&row[1..])
                )
            }
            Operation::Update { id, old, new } => {
                let assignments: Vec<String> = old
                    .differences(new)
                    .into_iter()
                    .map(|column| format!("{} = {}", column.name(), value(new.value(*id, column).as_deref())))
                    .collect();
                format!("UPDATE orders SET {} WHERE id = {id}", assignments.join(", "))
            }
            Operation::Move { from, to, order: _ } => {
                format!("UPDATE orders SET id = {to} WHERE id = {from}")
            }
            Operation::Delete { id } => format!("DELETE FROM orders WHERE id = {id}"),
            Operation::InsertItem { id } => {
                format!(
                    "INSERT INTO order_items (order_id, product) VALUES ({id}, 'product {}')",
                    id % 1000
                )
            }
        }
    }

    /// How many rows of `orders` it changes.
    pub(super) fn changes(&self) -> u32 {
        match self {
            Operation::Insert { .. }
            | Operation::InsertNext { .. }
            | Operation::Update { .. }
            | Operation::Move { .. }
            | Operation::Delete { .. } => 1,
            Operation::InsertItem { .. } => 0,
        }
    }

    /// What is in the table afterwards. `returned` is the key that `InsertNext` returned.
    pub(super) fn effects(&self, returned: Option<i64>) -> Vec<(i64, Option<Order>)> {
        match self {
            Operation::Insert { id, order } => vec![(*id, Some(*order))],
            Operation::InsertNext { order } => returned.map(|id| (id, Some(*order))).into_iter().collect(),
            Operation::Update { id, old: _, new } => vec![(*id, Some(*new))],
            Operation::Move { from, to, order } => vec![(*from, None), (*to, Some(*order))],
            Operation::Delete { id } => vec![(*id, None)],
            Operation::InsertItem { .. } => Vec::new(),
        }
    }
}

fn columns(columns: &[Column]) -> String {
    columns
        .iter()
        .map(|column| column.name())
        .collect::<Vec<_>>()
        .join(", ")
}

fn values(row: &[<Row as IntoIterator>::Item]) -> String {
    row.iter()
        .map(|text| value(text.as_deref()))
        .collect::<Vec<_>>()
        .join(", ")
}

fn value(text: Option<&str>) -> String {
    text.map_or_else(|| "NULL".to_owned(), sql::literal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::orders::{Note, Size};

    #[test]
    fn an_update_writes_what_differs_and_nothing_else() {
        let old = Order::initial(4, Size { orders: 100 });
        let new = Order {
            status: 2,
            note: Note::None,
            ..old
        };
        let sql = Operation::Update { id: 4, old, new }.sql();
        assert_eq!(
            sql,
            "UPDATE orders SET status = 'packed', note = NULL WHERE id = 4"
        );
    }

    #[test]
    fn an_insert_by_the_sequence_leaves_out_the_key_and_returns_it() {
        let order = Order::initial(33, Size { orders: 100 });
        let operation = Operation::InsertNext { order };
        assert_eq!(
            operation.sql(),
            "INSERT INTO orders (customer_id, amount, status, details, note, created_at, updated_at) VALUES ('4', \
             '2613.27', 'shipped', NULL, NULL, '2024-01-01 00:00:33+00', '2024-01-01 00:00:33+00') RETURNING id"
        );
        assert_eq!(operation.effects(Some(101)), [(101, Some(order))]);
    }

    #[test]
    fn a_key_change_takes_the_row_with_it() {
        let order = Order::initial(33, Size { orders: 100 });
        let operation = Operation::Move {
            from: 33,
            to: 1033,
            order,
        };
        assert_eq!(operation.effects(None), [(33, None), (1033, Some(order))]);
    }
}
