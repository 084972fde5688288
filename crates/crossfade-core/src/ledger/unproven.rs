//! The unproven drops (R6, R7): transactions of which a change was dropped because its chunk is still to be read, and
//! where. Whoever reads a chunk must see those that touched a key of it.
//!
//! Where a transaction touched many keys, or their order is the server's to know, or after a crash, it may have touched
//! any: nothing that is pending is read without it.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Span;
use crate::change::Cell;
use crate::order::KeyOrder;
use crate::piece::KeyCells;
use crate::position::Xid;
use crate::snapshot::Snapshot;

/// Keys that are kept of one transaction, and of all.
const KEYS_OF_ONE_MAX: usize = 64;
const KEYS_MAX: usize = 10_000;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Unproven {
    doubts: BTreeMap<Xid, Doubt>,
    /// In all of them.
    keys: usize,
}

#[derive(Clone, Debug)]
struct Doubt {
    place: Place,
    /// It was waited for as long as is usual: other chunks are read meanwhile.
    late: bool,
}

#[derive(Clone, Debug)]
enum Place {
    At(Vec<KeyCells>),
    Anywhere,
}

/// A transaction that stands in the way of a chunk.
pub(super) struct InTheWay {
    pub(super) xid: Xid,
    /// See [`Unproven::set_late`]; others need not wait for it.
    pub(super) aside: bool,
}

impl Unproven {
    /// Of an earlier engine: where is not known.
    pub(super) fn restore(xids: impl IntoIterator<Item = Xid>) -> Self {
        let mut unproven = Unproven::default();
        for xid in xids {
            unproven.insert(xid, None);
        }
        unproven
    }

    /// A change at that key was dropped, or at any. Whether the transaction is new.
    pub(super) fn insert(&mut self, xid: Xid, key: Option<&KeyCells>) -> bool {
        let known = self.doubts.contains_key(&xid);
        let doubt = self.doubts.entry(xid).or_insert_with(|| Doubt {
            place: Place::At(Vec::new()),
            late: false,
        });
        if let Place::At(keys) = &mut doubt.place {
            match key {
                Some(key) if keys.last() == Some(key) => {}
                Some(key) if keys.len() < KEYS_OF_ONE_MAX && self.keys < KEYS_MAX => {
                    keys.push(own(key));
                    self.keys += 1;
                }
                Some(_) | None => {
                    self.keys -= keys.len();
                    doubt.place = Place::Anywhere;
                }
            }
        }
        !known
    }

    /// What `snapshot` sees is visible to all that are taken after it. Whether there was any.
    pub(super) fn prove(&mut self, snapshot: &Snapshot) -> bool {
        let before = self.doubts.len();
        self.doubts.retain(|xid, _| !snapshot.sees(*xid));
        let kept = self.doubts.values().map(|doubt| match &doubt.place {
            Place::At(keys) => keys.len(),
            Place::Anywhere => 0,
        });
        self.keys = kept.sum();
        self.doubts.len() < before
    }

    /// It was waited for long enough: from now on only what may hold its keys waits.
    pub(super) fn set_late(&mut self, xid: Xid) {
        if let Some(doubt) = self.doubts.get_mut(&xid) {
            doubt.late = true;
        }
    }

    /// One that `snapshot` does not see and that may have touched a key of the span.
    pub(super) fn in_the_way(
        &self,
        order: Option<&KeyOrder>,
        span: &Span,
        snapshot: &Snapshot,
    ) -> Option<InTheWay> {
        let unseen = self.doubts.iter().filter(|(xid, _)| !snapshot.sees(**xid));
        let mut inside = unseen.filter(|(_, doubt)| doubt.may_be_in(order, span));
        inside.next().map(|(xid, doubt)| InTheWay {
            xid: *xid,
            aside: doubt.late && matches!(doubt.place, Place::At(_)),
        })
    }

    /// One that is late may have touched a key of the span.
    pub(super) fn holds_up(&self, order: Option<&KeyOrder>, span: &Span) -> bool {
        let mut late = self.doubts.values().filter(|doubt| doubt.late);
        late.any(|doubt| doubt.may_be_in(order, span))
    }

    /// One that is late may have touched any key.
    pub(super) fn holds_up_all(&self) -> bool {
        let mut late = self.doubts.values().filter(|doubt| doubt.late);
        late.any(|doubt| matches!(doubt.place, Place::Anywhere))
    }

    pub(super) fn xids(&self) -> impl Iterator<Item = Xid> {
        self.doubts.keys().copied()
    }
}

impl Doubt {
    fn may_be_in(&self, order: Option<&KeyOrder>, span: &Span) -> bool {
        match (&self.place, order) {
            (Place::At(keys), Some(order)) => keys.iter().any(|key| is_in(order, span, key)),
            (Place::At(_), None) | (Place::Anywhere, _) => true,
        }
    }
}

fn is_in(order: &KeyOrder, span: &Span, key: &KeyCells) -> bool {
    let above = span
        .lower
        .as_ref()
        .is_none_or(|lower| order.compare(key, lower).is_gt());
    above
        && span
            .upper
            .as_ref()
            .is_none_or(|upper| order.compare(key, upper).is_le())
}

/// A key as the stream brings it keeps the whole message in memory.
fn own(key: &KeyCells) -> KeyCells {
    let cells = key.0.iter().map(|cell| match cell {
        Cell::Text(bytes) => Cell::Text(Bytes::copy_from_slice(bytes)),
        Cell::Binary(bytes) => Cell::Binary(Bytes::copy_from_slice(bytes)),
        Cell::Null => Cell::Null,
        Cell::Unchanged => Cell::Unchanged,
    });
    KeyCells(cells.collect())
}
