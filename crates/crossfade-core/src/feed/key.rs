//! Which keys are the same key (R12): by their bytes where that is exact, else by the server's answer.

use crate::change::{Cell, Row};
use crate::piece::KeyCells;
use crate::plan::{Equality, Key, SourceColumn};

/// Identifies a key within one piece; equal if and only if the server says that the keys are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum KeyId {
    /// The transmitted bytes, each with its length in front.
    Bytes(Box<[u8]>),
    /// The number of its equivalence class, as the server computed it for this piece.
    Class(u32),
}

/// The columns that make a key, and whether their bytes decide.
#[derive(Clone, Debug)]
pub(crate) struct KeyShape {
    columns: Vec<usize>,
    /// Every column's equality is that of its bytes.
    pub(crate) exact: bool,
}

impl KeyShape {
    pub(crate) fn new(key: &Key, columns: &[SourceColumn]) -> Self {
        let exact = key
            .columns
            .iter()
            .all(|column| matches!(columns[*column].equality, Equality::Bytes));
        KeyShape {
            columns: key.columns.clone(),
            exact,
        }
    }

    /// The key's cells of a full-width row.
    pub(crate) fn cells(&self, row: &Row) -> KeyCells {
        KeyCells(self.columns.iter().map(|column| row.0[*column].clone()).collect())
    }
}

/// The identity of a key whose bytes decide.
pub(crate) fn by_bytes(key: &KeyCells) -> KeyId {
    let mut bytes = Vec::with_capacity(key.0.iter().map(|cell| cell.size() + 4).sum());
    for cell in &key.0 {
        // A key column is neither null nor left out: preflight demands NOT NULL and the server always sends
        // identity columns. Should it be otherwise, the applier's count of affected rows will say so.
        if let Cell::Text(value) | Cell::Binary(value) = cell {
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
    }
    KeyId::Bytes(bytes.into())
}
