//! The order of keys (R12): the server's, computed here for the types where the transmitted bytes tell it.

use std::cmp::Ordering;

use crate::change::Cell;
use crate::piece::KeyCells;
use crate::plan::{Key, Order, SourceColumn};

/// How the keys of one source are ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOrder {
    columns: Vec<Order>,
}

impl KeyOrder {
    /// The order of a key's columns, the first one first.
    pub fn new(key: &Key, columns: &[SourceColumn]) -> Self {
        KeyOrder {
            columns: key.columns.iter().map(|column| columns[*column].order).collect(),
        }
    }

    /// Whether [`KeyOrder::compare`] knows. Otherwise the server is asked.
    pub fn is_known(&self) -> bool {
        !self.columns.contains(&Order::Server)
    }

    /// Compares two keys, column by column. Of a column that only the server can compare the bytes are compared:
    /// ask [`KeyOrder::is_known`] first.
    pub fn compare(&self, left: &KeyCells, right: &KeyCells) -> Ordering {
        let cells = left.0.iter().zip(&right.0).zip(&self.columns);
        let mut each = cells.map(|((left, right), order)| compare(*order, bytes(left), bytes(right)));
        each.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }
}

fn compare(order: Order, left: &[u8], right: &[u8]) -> Ordering {
    // Of two numbers of one width the bytes decide, once the negative ones are below the others.
    let sign = |bytes: &[u8]| bytes.first().is_some_and(|first| first & 0x80 == 0);
    match order {
        Order::Signed => sign(left).cmp(&sign(right)).then_with(|| left.cmp(right)),
        Order::Bytes | Order::Server => left.cmp(right),
    }
}

fn bytes(cell: &Cell) -> &[u8] {
    match cell {
        Cell::Text(value) | Cell::Binary(value) => value,
        // No key column is null or left out: preflight demands NOT NULL, and identity columns are always sent.
        Cell::Null | Cell::Unchanged => &[],
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(cells: &[&[u8]]) -> KeyCells {
        let cell = |bytes: &&[u8]| Cell::Binary(Bytes::copy_from_slice(bytes));
        KeyCells(cells.iter().map(cell).collect())
    }

    #[test]
    fn signed_numbers_are_in_order() {
        let order = KeyOrder {
            columns: vec![Order::Signed],
        };
        let numbers = [i32::MIN, -70_000, -2, -1, 0, 1, 255, 256, 70_000, i32::MAX];
        for pair in numbers.windows(2) {
            let [left, right] = [pair[0], pair[1]].map(|number| key(&[&number.to_be_bytes()]));
            assert_eq!(order.compare(&left, &right), Ordering::Less, "{pair:?}");
            assert_eq!(order.compare(&right, &left), Ordering::Greater, "{pair:?}");
            assert_eq!(order.compare(&left, &left), Ordering::Equal);
        }
    }

    #[test]
    fn the_first_column_that_differs_decides() {
        let order = KeyOrder {
            columns: vec![Order::Bytes, Order::Signed],
        };
        let ordered = [
            key(&[b"a", &(-1i64).to_be_bytes()]),
            key(&[b"a", &3i64.to_be_bytes()]),
            key(&[b"ab", &i64::MIN.to_be_bytes()]),
            key(&[b"b", &0i64.to_be_bytes()]),
        ];
        assert!(ordered.is_sorted_by(|left, right| order.compare(left, right).is_lt()));
    }
}
