//! The target: rows, indexes, and how a piece is applied to them.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_core::piece::{KeyCells, Piece, Put};

use crate::breach::{Breach, Difference};
use crate::row::{Key, PutRow, Row, SourceChange, Table};

/// Rows by the number of their key, whatever its spelling.
pub(crate) type Rows = BTreeMap<u8, Row>;

/// What the target is, to a piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Where the rows of a piece come from.
    pub(crate) source: Table,
    pub(crate) target: Table,
    /// A column's expression reads the TOASTed column and another one.
    pub(crate) mixed: bool,
    /// Planted: whoever takes a row out and puts it back forgets what the piece does not write.
    pub(crate) forgets_own: bool,
    /// Planted: and what it keeps.
    pub(crate) forgets_kept: bool,
}

/// What applying one piece came across.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// A row took a unique value before its former owner gave it up: the retry of R19.
    pub(crate) retried: bool,
    /// A value was kept from the target's row.
    pub(crate) kept: bool,
    /// A row was deleted and inserted.
    pub(crate) replaced: bool,
    /// A row that has no place in the target: nothing of the batch is in it.
    pub(crate) refused: Option<u8>,
    /// What the log says of it.
    pub(crate) changes: Vec<SourceChange>,
}

/// Applies a piece in the order of its doc: empty, delete, put. Uniqueness within the piece is not an error
/// (R19); at its end see [`repeated_code`].
pub(crate) fn apply(rows: &mut Rows, piece: &Piece, shape: Shape) -> Result<Applied, Breach> {
    let mut applied = Applied::default();
    if piece.truncate {
        rows.clear();
        applied.changes.push(SourceChange::Truncate);
    }
    for row in &piece.removes {
        let number = row.key.first().and_then(|key| key.parse().ok());
        let gone = rows.remove(&number.ok_or(Breach::Unreadable)?);
        applied
            .changes
            .extend(gone.map(|row| SourceChange::Delete(row.key)));
    }
    let mut deleted = BTreeSet::new();
    for key in &piece.deletes {
        let number = key_number(key)?;
        if !deleted.insert(number) {
            return Err(Breach::RepeatedInPiece { key: number });
        }
        let gone = rows.remove(&number).map(|row| SourceChange::Delete(row.key));
        applied.changes.extend(gone);
    }
    let mut written = BTreeSet::new();
    for put in &piece.puts {
        let row = put_row(rows, put, shape)?;
        let number = row.key.number;
        if !written.insert(number) {
            return Err(Breach::RepeatedInPiece { key: number });
        }
        if shape.target == Table::Old && !row.fits_old() {
            applied.refused = Some(number);
            return Ok(applied);
        }
        applied.kept |= put.keeps();
        applied.replaced |= deleted.contains(&number);
        let owner = |(other, owner): (&u8, &Row)| *other != number && owner.code == row.code;
        applied.retried |= rows.iter().any(owner);
        let former = rows.insert(number, row);
        applied.changes.push(written_as(former, row));
    }
    if applied.retried {
        forget(rows, piece, shape);
    }
    Ok(applied)
}

/// Planted: what a retry that takes the rows out and puts them back forgets.
fn forget(rows: &mut Rows, piece: &Piece, shape: Shape) {
    for put in &piece.puts {
        let number = PutRow::from_core(&put.row, shape.source).map(|row| row.key.number);
        let Some(row) = number.and_then(|number| rows.get_mut(&number)) else {
            continue;
        };
        if shape.forgets_own {
            row.own = shape.target.default_own();
        }
        if shape.forgets_kept && put.keeps() {
            row.big = 0;
        }
    }
}

fn written_as(former: Option<Row>, new: Row) -> SourceChange {
    match former {
        None => SourceChange::Insert(new),
        Some(former) => SourceChange::Update {
            old_key: (former.key != new.key).then_some(former.key),
            new,
            big_unchanged: false,
        },
    }
}

fn key_number(key: &KeyCells) -> Result<u8, Breach> {
    Key::from_cells(key)
        .map(|key| key.number)
        .ok_or(Breach::Unreadable)
}

/// The row as the target will have it: what is not written stays as it is where the row stays.
fn put_row(rows: &Rows, put: &Put, shape: Shape) -> Result<Row, Breach> {
    let row = PutRow::from_core(&put.row, shape.source).ok_or(Breach::Unreadable)?;
    let key = row.key.number;
    let former = rows.get(&key);
    let big = match row.big {
        Some(big) => big,
        None if shape.mixed => return Err(Breach::KeptMixed { key }),
        None => former.ok_or(Breach::KeptNothing { key })?.big,
    };
    Ok(Row {
        key: row.key,
        code: row.code,
        small: row.small,
        big,
        own: former.map_or(shape.target.default_own(), |former| former.own),
    })
}

/// A unique value that occurs twice, if there is one.
pub(crate) fn repeated_code(rows: &Rows) -> Option<u32> {
    let mut seen = BTreeSet::new();
    rows.values().map(|row| row.code).find(|code| !seen.insert(*code))
}

/// The first key in which the two differ.
pub(crate) fn difference(expected: &Rows, found: &Rows) -> Option<Difference> {
    if expected == found {
        return None;
    }
    let keys = expected.keys().chain(found.keys());
    let mut differing = keys.filter(|key| expected.get(key) != found.get(key));
    let key = *differing.next()?;
    Some(Difference::new(key, expected.get(&key), found.get(&key)))
}

/// What both tables have of these rows.
pub(crate) fn shared<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Rows {
    rows.into_iter()
        .map(|row| (row.key.number, row.shared()))
        .collect()
}
