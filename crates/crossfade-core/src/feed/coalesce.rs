//! Coalescing (R10, R12, R15, R16): from changes in stream order to one final image per key.
//!
//! Merging walks backwards only as far as the row is the same row: a delete, a key change and a truncate end
//! it. A column that stays missing is kept from the target where every expression that reads it reads missing
//! columns only; otherwise the row must be fetched from the source.

use std::collections::BTreeMap;

use super::key::KeyId;
use super::touch::{Act, Touch};
use crate::change::{Cell, Row};
use crate::piece::KeyCells;
use crate::position::Xid;

/// What the end of a piece leaves of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Final {
    pub(crate) key: KeyCells,
    /// The row that was there before the piece must go, because it was deleted or moved away.
    pub(crate) delete: bool,
    pub(crate) image: Image,
    /// The transactions that wrote the row, in the order of their commits: a snapshot to fetch it under must see them
    /// all. Of a table's row the last one would do; rows of a view's parts are written side by side (R33).
    pub(crate) writers: Vec<Xid>,
}

impl Final {
    fn written_by(&mut self, xid: Xid) {
        if self.writers.last() != Some(&xid) {
            self.writers.push(xid);
        }
    }
}

/// The row at the end of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Image {
    /// There is none.
    Absent,
    /// This one; `Unchanged` cells are kept from the target.
    Row(Row),
    /// The stream did not carry it whole: read it under a snapshot that sees its writers.
    Fetch,
}

/// A piece's result, keys in the order in which they were first touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Coalesced {
    pub(crate) truncate: bool,
    pub(crate) finals: Vec<Final>,
    /// Each final's key, for those that ask by key later.
    pub(crate) ids: Vec<KeyId>,
}

impl Coalesced {
    /// Takes away what is still to be fetched, if there is something.
    pub(crate) fn split_unfetched(&mut self) -> Option<Coalesced> {
        let both = std::mem::take(&mut self.finals)
            .into_iter()
            .zip(std::mem::take(&mut self.ids));
        let (unfetched, fetched): (Vec<_>, Vec<_>) = both.partition(|(last, _)| last.image == Image::Fetch);
        (self.finals, self.ids) = fetched.into_iter().unzip();
        let (finals, ids): (Vec<Final>, Vec<KeyId>) = unfetched.into_iter().unzip();
        (!finals.is_empty()).then_some(Coalesced {
            truncate: false,
            finals,
            ids,
        })
    }
}

/// The keys of `touches`, in the order in which [`coalesce`] wants their identities.
pub(crate) fn keys(touches: &[Touch]) -> Vec<KeyCells> {
    touches
        .iter()
        .filter_map(|touch| touch.act.key().cloned())
        .collect()
}

/// Merges `touches`; `ids` are those of [`keys`], one for one. `mixes` says whether an expression reads a missing
/// column together with one that is there, so that the target's value cannot be kept.
pub(crate) fn coalesce(touches: Vec<Touch>, ids: Vec<KeyId>, mixes: impl Fn(&Row) -> bool) -> Coalesced {
    let mut merge = Merge::default();
    let mut ids = ids.into_iter();
    let mut next_id = || {
        ids.next()
            .expect("one identity for every key, from the same touches")
    };
    for Touch { xid, act } in touches {
        match act {
            Act::Put { key, new } => merge.put((key, next_id()), xid, new),
            Act::PutMoved { key, new } => merge.put_moved((key, next_id()), xid, new),
            Act::Delete { key } => merge.delete((key, next_id())),
            Act::Truncate => merge.truncate(),
        }
    }
    merge.finish(mixes)
}

#[derive(Default)]
struct Merge {
    truncate: bool,
    positions: BTreeMap<KeyId, usize>,
    finals: Vec<Final>,
}

impl Merge {
    fn entry(&mut self, (cells, id): (KeyCells, KeyId)) -> (&mut Final, bool) {
        let next = self.finals.len();
        let position = *self.positions.entry(id).or_insert(next);
        let fresh = position == next;
        if fresh {
            let absent = Final {
                key: cells,
                delete: false,
                image: Image::Absent,
                writers: Vec::new(),
            };
            self.finals.push(absent);
        }
        (&mut self.finals[position], fresh)
    }

    /// A new version of the row that is at this key already, or a new row.
    fn put(&mut self, key: (KeyCells, KeyId), xid: Xid, mut new: Row) {
        let (entry, fresh) = self.entry(key);
        let missing = new.0.iter().any(|cell| matches!(cell, Cell::Unchanged));
        entry.written_by(xid);
        entry.image = match &entry.image {
            _ if !missing => Image::Row(new),
            Image::Row(earlier) => {
                inherit(&mut new, earlier);
                Image::Row(new)
            }
            Image::Absent if fresh => Image::Row(new),
            // Its earlier version is to be fetched, or is gone within this piece: this one must be fetched too.
            Image::Absent | Image::Fetch => Image::Fetch,
        };
    }

    /// A row that arrives from another key: nothing here or in the target is an earlier version of it.
    fn put_moved(&mut self, key: (KeyCells, KeyId), xid: Xid, new: Row) {
        let (entry, _) = self.entry(key);
        let missing = new.0.iter().any(|cell| matches!(cell, Cell::Unchanged));
        entry.written_by(xid);
        entry.image = if missing { Image::Fetch } else { Image::Row(new) };
    }

    fn delete(&mut self, key: (KeyCells, KeyId)) {
        let (entry, _) = self.entry(key);
        entry.delete = true;
        entry.image = Image::Absent;
    }

    fn truncate(&mut self) {
        *self = Merge {
            truncate: true,
            ..Merge::default()
        };
    }

    fn finish(self, mixes: impl Fn(&Row) -> bool) -> Coalesced {
        let mut ids = vec![KeyId::Class(0); self.finals.len()];
        for (id, position) in self.positions {
            ids[position] = id;
        }
        let settle = |mut last: Final| {
            if matches!(&last.image, Image::Row(row) if mixes(row)) {
                last.image = Image::Fetch;
            }
            last
        };
        Coalesced {
            truncate: self.truncate,
            finals: self.finals.into_iter().map(settle).collect(),
            ids,
        }
    }
}

/// Fills the missing cells of `new` from the nearest earlier image of the same row.
fn inherit(new: &mut Row, earlier: &Row) {
    for (cell, before) in new.0.iter_mut().zip(&earlier.0) {
        if matches!(cell, Cell::Unchanged) {
            *cell = before.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::change::Change;
    use crate::feed::key::{KeyShape, by_bytes};
    use crate::feed::touch::touches;
    use crate::plan::{Equality, Key, Order, SourceColumn};

    fn cell(text: &str) -> Cell {
        match text {
            "~" => Cell::Unchanged,
            "" => Cell::Null,
            value => Cell::Text(Bytes::copy_from_slice(value.as_bytes())),
        }
    }

    /// `key big small`
    fn row(text: &str) -> Row {
        Row(text.split(' ').map(cell).collect())
    }

    fn run(changes: &[(u64, Change)]) -> Coalesced {
        let column = |name: &str| SourceColumn {
            name: name.into(),
            type_oid: 25,
            type_name: "text".into(),
            equality: Equality::Bytes,
            order: Order::Server,
        };
        let shape = KeyShape::new(
            &Key { columns: vec![0] },
            &[column("key"), column("big"), column("small")],
        );
        let each = changes.iter();
        let touches: Vec<Touch> = each
            .flat_map(|(xid, change)| {
                touches(change.clone(), Some(&shape)).map(|act| Touch { xid: Xid(*xid), act })
            })
            .collect();
        let ids = keys(&touches).iter().map(by_bytes).collect();
        coalesce(touches, ids, |_| false)
    }

    fn put(text: &str) -> Change {
        Change::Update {
            old_key: None,
            new: row(text),
        }
    }

    fn moved(old: &str, new: &str) -> Change {
        Change::Update {
            old_key: Some(row(old)),
            new: row(new),
        }
    }

    fn delete(key: &str) -> Change {
        Change::Delete {
            old_key: row(&format!("{key}  ")),
        }
    }

    fn images(result: &Coalesced) -> Vec<(bool, Image)> {
        result
            .finals
            .iter()
            .map(|last| (last.delete, last.image.clone()))
            .collect()
    }

    #[test]
    fn missing_columns_come_from_the_nearest_earlier_image() {
        let result = run(&[(1, put("k a 1")), (1, put("k ~ 2")), (2, put("k ~ 3"))]);
        assert_eq!(images(&result), [(false, Image::Row(row("k a 3")))]);
    }

    #[test]
    fn a_missing_column_without_an_earlier_image_is_kept() {
        let result = run(&[(1, put("k ~ 1")), (2, put("k ~ 2"))]);
        assert_eq!(images(&result), [(false, Image::Row(row("k ~ 2")))]);
    }

    #[test]
    fn deleted_then_inserted_is_a_replacement_and_inherits_nothing() {
        let insert = Change::Insert { new: row("k  2") };
        let result = run(&[
            (1, put("k a 1")),
            (1, delete("k")),
            (1, insert),
            (1, put("k ~ 3")),
        ]);
        assert_eq!(images(&result), [(true, Image::Row(row("k  3")))]);
    }

    #[test]
    fn a_key_change_with_a_missing_column_is_fetched_and_later_versions_too() {
        let result = run(&[(1, moved("k  ", "l ~ 1")), (2, put("l ~ 2"))]);
        assert_eq!(images(&result), [(true, Image::Absent), (false, Image::Fetch)]);
        assert_eq!(result.finals[1].writers, [Xid(1), Xid(2)]);
        let result = run(&[(1, moved("k  ", "l ~ 1")), (2, put("l b 2"))]);
        assert_eq!(
            images(&result)[1],
            (false, Image::Row(row("l b 2"))),
            "no longer missing"
        );
    }

    #[test]
    fn keys_swapped_between_two_rows_leave_both_rows() {
        let result = run(&[
            (1, moved("a  ", "t x 1")),
            (1, moved("b  ", "a y 2")),
            (1, moved("t  ", "b x 1")),
        ]);
        let expected = [
            (true, Image::Row(row("a y 2"))),
            (true, Image::Absent),
            (true, Image::Row(row("b x 1"))),
        ];
        assert_eq!(images(&result), expected);
    }

    #[test]
    fn a_truncate_is_a_barrier() {
        let gone = Change::Truncate {
            restart_identity: false,
        };
        let result = run(&[
            (1, put("k a 1")),
            (2, gone),
            (3, Change::Insert { new: row("l b 1") }),
        ]);
        assert!(result.truncate);
        assert_eq!(images(&result), [(false, Image::Row(row("l b 1")))]);
    }

    #[test]
    fn an_expression_that_mixes_forces_a_fetch() {
        let key = KeyCells([cell("k")].into());
        let act = Act::Put {
            key: key.clone(),
            new: row("k ~ 1"),
        };
        let touches = vec![Touch { xid: Xid(7), act }];
        let result = coalesce(touches, vec![by_bytes(&key)], |_| true);
        assert_eq!(result.finals[0].image, Image::Fetch);
    }
}
