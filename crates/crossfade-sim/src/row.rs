//! The rows of the world in compact form, their cells as the core sees them, and the transform.
//!
//! A source row is `key, code, small, big`: `code` is unique where the scenario says so, `big` is the TOASTed
//! column. A key is a number that may be spelled with trailing zeros (`7`, `7.0`): equal to the server and
//! different in bytes. In `small` and `big` zero stands for `NULL`.

use bytes::Bytes;
use crossfade_core::change::{Cell, Change, Row};
use crossfade_core::piece::KeyCells;

/// A key and its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) number: u8,
    /// Zeros behind the point; equal keys may differ in it.
    pub(crate) zeros: u8,
}

/// A row of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceRow {
    pub(crate) key: Key,
    pub(crate) code: u32,
    pub(crate) small: u32,
    pub(crate) big: u32,
}

/// A row of the target, as the transform makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetRow {
    pub(crate) key: Key,
    pub(crate) code: u64,
    pub(crate) label: u32,
    pub(crate) big: u64,
    /// A column whose expression reads `small` and `big`, where the scenario has one.
    pub(crate) mixed: Option<(u32, u32)>,
}

/// A change as the source makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceChange {
    Insert(SourceRow),
    Update {
        /// Sent when the key's bytes changed.
        old_key: Option<Key>,
        new: SourceRow,
        /// The stream leaves `big` out.
        big_unchanged: bool,
    },
    Delete(Key),
    Truncate,
}

/// The transform of the plan: every column's expression is visible in its result.
pub(crate) fn transform(row: &SourceRow, mixed: bool) -> TargetRow {
    TargetRow {
        key: row.key,
        code: widen_code(row.code),
        label: label(row.small),
        big: widen_big(row.big),
        mixed: mixed.then_some((row.small, row.big)),
    }
}

pub(crate) fn widen_code(code: u32) -> u64 {
    u64::from(code) + (1 << 40)
}

pub(crate) fn label(small: u32) -> u32 {
    if small == 0 { 0 } else { small * 10 + 1 }
}

pub(crate) fn widen_big(big: u32) -> u64 {
    if big == 0 { 0 } else { u64::from(big) + (1 << 41) }
}

impl SourceChange {
    /// As the stream carries it.
    pub(crate) fn to_core(self) -> Change {
        match self {
            SourceChange::Insert(new) => Change::Insert { new: new.to_core() },
            SourceChange::Update {
                old_key,
                new,
                big_unchanged,
            } => {
                let mut row = new.to_core();
                if big_unchanged {
                    row.0[3] = Cell::Unchanged;
                }
                Change::Update {
                    old_key: old_key.map(key_row),
                    new: row,
                }
            }
            SourceChange::Delete(key) => Change::Delete {
                old_key: key_row(key),
            },
            SourceChange::Truncate => Change::Truncate {
                restart_identity: false,
            },
        }
    }
}

impl SourceRow {
    /// As a whole row of cells.
    pub(crate) fn to_core(self) -> Row {
        Row([
            self.key.to_cell(),
            number(self.code),
            nullable(self.small),
            nullable(self.big),
        ]
        .into())
    }
}

impl Key {
    fn to_cell(self) -> Cell {
        const ZEROS: [&str; 3] = ["", ".0", ".00"];
        Cell::Text(Bytes::from(format!(
            // In the order of the bytes, where that is the key's.
            "{:02}{}",
            self.number, ZEROS[self.zeros as usize]
        )))
    }

    fn from_cell(cell: &Cell) -> Option<Key> {
        let (Cell::Text(bytes) | Cell::Binary(bytes)) = cell else {
            return None;
        };
        let mut parts = bytes.split(|byte| *byte == b'.');
        Some(Key {
            number: parse(parts.next()?)? as u8,
            zeros: parts.next().map_or(0, <[u8]>::len) as u8,
        })
    }

    /// As a bound.
    pub(crate) fn to_cells(self) -> KeyCells {
        KeyCells(Box::new([self.to_cell()]))
    }

    /// The key of a piece or of a request.
    pub(crate) fn from_cells(key: &KeyCells) -> Option<Key> {
        match &*key.0 {
            [cell] => Key::from_cell(cell),
            _ => None,
        }
    }
}

/// A row as a piece carries it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PutRow {
    pub(crate) key: Key,
    pub(crate) code: u32,
    pub(crate) small: u32,
    /// `None`: to be kept from the target's row.
    pub(crate) big: Option<u32>,
}

impl PutRow {
    /// `None` when the cells are not those of a row of ours.
    pub(crate) fn from_core(row: &Row) -> Option<PutRow> {
        let [key, code, small, big] = &*row.0 else {
            return None;
        };
        Some(PutRow {
            key: Key::from_cell(key)?,
            code: value(code)?,
            small: value(small)?,
            big: match big {
                Cell::Unchanged => None,
                other => Some(value(other)?),
            },
        })
    }
}

/// The replica identity of an old row: columns outside it are `Null` and mean nothing.
fn key_row(key: Key) -> Row {
    Row([key.to_cell(), Cell::Null, Cell::Null, Cell::Null].into())
}

fn number(value: u32) -> Cell {
    Cell::Text(Bytes::from(value.to_string()))
}

fn nullable(value: u32) -> Cell {
    if value == 0 { Cell::Null } else { number(value) }
}

fn value(cell: &Cell) -> Option<u32> {
    match cell {
        Cell::Null => Some(0),
        Cell::Unchanged => None,
        Cell::Text(bytes) | Cell::Binary(bytes) => parse(bytes),
    }
}

fn parse(bytes: &[u8]) -> Option<u32> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
