//! Touches: what a change does to one key. A changed key is two touches, a delete of the old key and a put under
//! the new one, each judged where its key is at home (R10).

use super::key::KeyShape;
use crate::change::{Change, Row};
use crate::piece::KeyCells;
use crate::position::Xid;

/// What one transaction does to one key, or to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    pub(crate) xid: Xid,
    pub(crate) act: Act,
}

/// See [`Touch`]. Of a table without a key every key is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A new version of the row that is at this key already, or a new row.
    Put { key: KeyCells, new: Row },
    /// A row that arrives from another key.
    PutMoved { key: KeyCells, new: Row },
    /// The row is gone.
    Delete { key: KeyCells },
    /// All rows are.
    Truncate,
}

impl Act {
    /// The key that is touched; `None` for all of them.
    pub(crate) fn key(&self) -> Option<&KeyCells> {
        match self {
            Act::Put { key, .. } | Act::PutMoved { key, .. } | Act::Delete { key } => Some(key),
            Act::Truncate => None,
        }
    }
}

/// The keys that a change touches, in the order of its touches; none for a truncate.
pub(crate) fn keys(change: &Change, shape: &KeyShape) -> impl Iterator<Item = KeyCells> {
    let (first, second) = match change {
        Change::Insert { new } | Change::Update { old_key: None, new } => (Some(new), None),
        Change::Update {
            old_key: Some(old),
            new,
        } => (Some(old), Some(new)),
        Change::Delete { old_key } => (Some(old_key), None),
        Change::Truncate { .. } => (None, None),
    };
    first.into_iter().chain(second).map(|row| shape.cells(row))
}

/// The touches of a change.
pub(crate) fn touches(change: Change, shape: Option<&KeyShape>) -> impl Iterator<Item = Act> + use<> {
    let cells = |row: &Row| shape.map_or_else(|| KeyCells(Box::default()), |shape| shape.cells(row));
    let (first, second) = match change {
        Change::Insert { new } | Change::Update { old_key: None, new } => {
            let key = cells(&new);
            (Act::Put { key, new }, None)
        }
        Change::Update {
            old_key: Some(old),
            new,
        } => {
            let key = cells(&new);
            (Act::Delete { key: cells(&old) }, Some(Act::PutMoved { key, new }))
        }
        Change::Delete { old_key } => (Act::Delete { key: cells(&old_key) }, None),
        Change::Truncate { .. } => (Act::Truncate, None),
    };
    std::iter::once(first).chain(second)
}
