//! The target: rows, indexes, and how a piece is applied to them.

use std::collections::{BTreeMap, BTreeSet};

use crossfade_core::piece::{KeyCells, Piece, Put};

use crate::breach::{Breach, Difference};
use crate::row::{Key, PutRow, SourceRow, TargetRow, label, transform, widen_big, widen_code};

/// Rows by the number of their key, whatever its spelling.
pub(crate) type Rows = BTreeMap<u8, TargetRow>;

/// What applying one piece came across.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Applied {
    /// A row took a unique value before its former owner gave it up: the retry of R19.
    pub(crate) retried: bool,
    /// A value was kept from the target's row.
    pub(crate) kept: bool,
    /// A row was deleted and inserted.
    pub(crate) replaced: bool,
}

/// Applies a piece in the order of its doc: empty, delete, put. Uniqueness within the piece is not an error
/// (R19); at its end see [`check_unique`].
pub(crate) fn apply(rows: &mut Rows, piece: &Piece, mixed: bool) -> Result<Applied, Breach> {
    let mut applied = Applied::default();
    if piece.truncate {
        rows.clear();
    }
    let mut deleted = BTreeSet::new();
    for key in &piece.deletes {
        let number = key_number(key)?;
        if !deleted.insert(number) {
            return Err(Breach::RepeatedInPiece { key: number });
        }
        rows.remove(&number);
    }
    let mut written = BTreeSet::new();
    for put in &piece.puts {
        let row = put_row(rows, put, mixed)?;
        let number = row.key.number;
        if !written.insert(number) {
            return Err(Breach::RepeatedInPiece { key: number });
        }
        applied.kept |= put.keeps();
        applied.replaced |= deleted.contains(&number);
        let owner = |(other, owner): (&u8, &TargetRow)| *other != number && owner.code == row.code;
        applied.retried |= rows.iter().any(owner);
        rows.insert(number, row);
    }
    Ok(applied)
}

fn key_number(key: &KeyCells) -> Result<u8, Breach> {
    Key::from_cells(key)
        .map(|key| key.number)
        .ok_or(Breach::Unreadable)
}

fn put_row(rows: &Rows, put: &Put, mixed: bool) -> Result<TargetRow, Breach> {
    let row = PutRow::from_core(&put.row).ok_or(Breach::Unreadable)?;
    let key = row.key.number;
    let big = match row.big {
        Some(big) => widen_big(big),
        None if mixed => return Err(Breach::KeptMixed { key }),
        None => rows.get(&key).ok_or(Breach::KeptNothing { key })?.big,
    };
    Ok(TargetRow {
        key: row.key,
        code: widen_code(row.code),
        label: label(row.small),
        big,
        mixed: mixed.then_some((row.small, row.big.unwrap_or_default())),
    })
}

/// A unique value that occurs twice, if there is one.
pub(crate) fn repeated_code(rows: &Rows) -> Option<u64> {
    let mut seen = BTreeSet::new();
    rows.values().map(|row| row.code).find(|code| !seen.insert(*code))
}

/// The first key in which `found` is not the transform of `expected`.
pub(crate) fn difference<'a>(
    expected: impl Iterator<Item = &'a SourceRow>,
    found: &Rows,
    mixed: bool,
) -> Option<Difference> {
    let expected: Rows = expected
        .map(|row| (row.key.number, transform(row, mixed)))
        .collect();
    let keys = expected.keys().chain(found.keys());
    let mut differing = keys.filter(|key| expected.get(key) != found.get(key));
    let key = *differing.next()?;
    Some(Difference::new(key, expected.get(&key), found.get(&key)))
}
