//! The rows of the world in compact form, and their cells as the core sees them.
//!
//! Both tables hold the same [`Row`]s, and show them in different cells: what the old table has as `key, code, small,
//! big, dropped` the new one has as `key, code, label, big, added`, each value in a form of its own. `code` is unique
//! where the scenario says so, `big` is the TOASTed column, and the last column is the table's own: the other table
//! knows nothing of it. A key is a number that may be spelled with trailing zeros (`7`, `7.0`): equal to the server
//! and different in bytes. In `small` and `big` zero stands for `NULL`.

use bytes::Bytes;
use crossfade_core::change::{self, Cell, Change};
use crossfade_core::piece::KeyCells;

/// The two tables of a migration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// What applications use before the swap, and after a rollback; between the two it is the retired table.
    Old,
    /// What applications use after the swap; before it, the shadow table.
    New,
}

impl Table {
    /// What a row that does not say otherwise has in the column that only this table has.
    pub(crate) fn default_own(self) -> u32 {
        match self {
            Table::Old => 0,
            Table::New => 7_777,
        }
    }
}

/// A key and its spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) number: u8,
    /// Zeros behind the point; equal keys may differ in it.
    pub(crate) zeros: u8,
}

/// A row of either table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: Key,
    pub(crate) code: u32,
    pub(crate) small: u32,
    pub(crate) big: u32,
    /// Of the column that only this table has.
    pub(crate) own: u32,
}

/// From here on a `small` of the new table has no place in the old one.
const MISFIT: u32 = 1_000;

impl Row {
    /// What both tables have of it.
    pub(crate) fn shared(self) -> Row {
        Row { own: 0, ..self }
    }

    /// A value that only the new table takes.
    pub(crate) fn misfit(number: u32) -> u32 {
        MISFIT + number
    }

    /// Whether the old table takes it.
    pub(crate) fn fits_old(&self) -> bool {
        self.small < MISFIT
    }
}

/// A change as the source makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SourceChange {
    Insert(Row),
    Update {
        /// Sent when the key's bytes changed.
        old_key: Option<Key>,
        new: Row,
        /// The stream leaves `big` out.
        big_unchanged: bool,
    },
    Delete(Key),
    Truncate,
}

impl SourceChange {
    /// As the stream of that table carries it.
    pub(crate) fn to_core(self, table: Table) -> Change {
        match self {
            SourceChange::Insert(new) => Change::Insert {
                new: new.to_core(table),
            },
            SourceChange::Update {
                old_key,
                new,
                big_unchanged,
            } => {
                let mut row = new.to_core(table);
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

/// How far apart the values of the two tables are.
const CODE_WIDENED: u64 = 1 << 40;
const BIG_WIDENED: u64 = 1 << 41;

impl Row {
    /// As a whole row of that table's cells.
    pub(crate) fn to_core(self, table: Table) -> change::Row {
        let (code, small, big) = (u64::from(self.code), u64::from(self.small), u64::from(self.big));
        let (code, small, big) = match table {
            Table::Old => (code, small, big),
            Table::New => (
                code + CODE_WIDENED,
                if small == 0 { 0 } else { small * 10 + 1 },
                if big == 0 { 0 } else { big + BIG_WIDENED },
            ),
        };
        change::Row(
            [
                self.key.to_cell(),
                number(code),
                nullable(small),
                nullable(big),
                number(u64::from(self.own)),
            ]
            .into(),
        )
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
            number: u8::try_from(parse(parts.next()?)?).ok()?,
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

/// A row as a piece carries it: what the target takes of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PutRow {
    pub(crate) key: Key,
    pub(crate) code: u32,
    pub(crate) small: u32,
    /// `None`: to be kept from the target's row.
    pub(crate) big: Option<u32>,
}

impl PutRow {
    /// From the cells of `source`; `None` when they are not those of a row of that table.
    pub(crate) fn from_core(row: &change::Row, source: Table) -> Option<PutRow> {
        let [key, code, small, big, _own] = &*row.0 else {
            return None;
        };
        let narrow = |value: u64| u32::try_from(value).ok();
        let shifted = |value: u64, by: u64| match (source, value) {
            (Table::Old, _) | (Table::New, 0) => narrow(value),
            (Table::New, _) => narrow(value.checked_sub(by)?),
        };
        let small = match (source, value(small)?) {
            (Table::New, label) if label > 0 => (label % 10 == 1).then(|| narrow(label / 10)).flatten()?,
            (Table::Old | Table::New, small) => narrow(small)?,
        };
        Some(PutRow {
            key: Key::from_cell(key)?,
            code: shifted(value(code)?, CODE_WIDENED)?,
            small,
            big: match big {
                Cell::Unchanged => None,
                other => Some(shifted(value(other)?, BIG_WIDENED)?),
            },
        })
    }
}

/// The replica identity of an old row: columns outside it are `Null` and mean nothing.
fn key_row(key: Key) -> change::Row {
    change::Row([key.to_cell(), Cell::Null, Cell::Null, Cell::Null, Cell::Null].into())
}

fn number(value: u64) -> Cell {
    Cell::Text(Bytes::from(value.to_string()))
}

fn nullable(value: u64) -> Cell {
    if value == 0 { Cell::Null } else { number(value) }
}

fn value(cell: &Cell) -> Option<u64> {
    match cell {
        Cell::Null => Some(0),
        Cell::Unchanged => None,
        Cell::Text(bytes) | Cell::Binary(bytes) => parse(bytes),
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}
