//! The detector (R31): after the swap nobody but our applier writes to the retired table, and each of its transactions
//! says so first. The forward stream, whose table is the retired one now, is read on to see whether it is so.
//!
//! ```text
//!  seek the swap ─► look at each transaction ─► what was seen is durable ─► acknowledge
//!                        └► a stray: rollback is not ready
//! ```
//!
//! A *stray* is a transaction that changed the retired table and is not ours: a direct writer with privileges that
//! nobody can revoke, or something that hangs on the table and was missed. What it did to which row does not matter
//! here: from then on the tables count as not equal, until a verification that began behind it has found them equal.
//!
//! Invariants:
//! - what is acknowledged was looked at and is written down: an engine that dies has seen nothing in vain;
//! - one note is out at a time, and strays are noted at once;
//! - a stray is settled only by a verification whose first snapshot sees it, and that found every row equal.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::change::{StreamItem, TransactionPart};
use crate::name::MigrationName;
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;
use crate::way_back::{Threshold, carried_back_message, swap_message};

/// A transaction on the retired table that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// The end of its commit record.
    pub lsn: Lsn,
    /// Its id; `None`: nobody looked, up to that position, since the slot was gone.
    pub xid: Option<Xid>,
}

/// The strays of a migration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many there were.
    pub count: u64,
    /// So many of them, the earliest, lie behind a verification that found every row equal.
    pub settled: u64,
    /// The first one since all were settled last.
    pub first: Option<Stray>,
}

impl Strays {
    /// Some may have left a difference.
    pub fn in_doubt(&self) -> bool {
        self.settled < self.count
    }

    /// One more.
    pub fn add(&mut self, stray: Stray) {
        self.first = self.first.filter(|_| self.in_doubt()).or(Some(stray));
        self.count += 1;
    }

    fn settle(&mut self, count: u64) {
        self.settled = self.settled.max(count);
        self.first = self.first.filter(|_| self.in_doubt());
    }
}

/// What is written down of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Everything committed at or before it was looked at; `None` until the swap has come by.
    pub upto: Option<Lsn>,
    /// What was found.
    pub strays: Strays,
}

/// See the module.
#[derive(Debug)]
pub struct Detector {
    ours: Bytes,
    /// Until the swap has come by.
    threshold: Option<Threshold>,
    /// The transaction whose parts are arriving is ours.
    is_ours: bool,
    /// It has changed the retired table.
    touched: bool,
    seen: Lsn,
    noted: Lsn,
    strays: Strays,
    /// Something is to be noted at once.
    urgent: bool,
    /// The note that is out goes so far.
    noting: Option<Lsn>,
    /// Strays that no snapshot has been seen to contain.
    invisible: BTreeSet<Xid>,
}

impl Detector {
    /// Goes on from what is written down. A stray that is not visible yet is among the transactions that were `committing`
    /// after that was read.
    pub fn new(name: &MigrationName, seen: Seen, committing: &[Xid]) -> Self {
        let in_doubt = seen.strays.in_doubt();
        Detector {
            ours: carried_back_message(name),
            threshold: match seen.upto {
                Some(_) => None,
                None => Some(Threshold::new(swap_message(name))),
            },
            is_ours: false,
            touched: false,
            seen: seen.upto.unwrap_or(Lsn(0)),
            noted: seen.upto.unwrap_or(Lsn(0)),
            strays: seen.strays,
            urgent: false,
            noting: None,
            invisible: committing.iter().copied().filter(|_| in_doubt).collect(),
        }
    }

    /// Everything committed at or before it was looked at; 0 until the swap has come by.
    pub fn seen(&self) -> Lsn {
        self.seen
    }

    /// What was found.
    pub fn strays(&self) -> Strays {
        self.strays
    }

    /// Looks at the stream's next item. `reference` widens its ids.
    pub fn receive(&mut self, item: &StreamItem, reference: Xid) {
        if let Some(threshold) = &mut self.threshold {
            if let Some(begin) = threshold.pass(item) {
                self.threshold = None;
                self.seen = begin;
            }
            return;
        }
        match item {
            StreamItem::Transaction(part) => self.look_at(part, reference),
            StreamItem::Keepalive { wal_end } => self.seen = self.seen.max(*wal_end),
        }
    }

    fn look_at(&mut self, part: &TransactionPart, reference: Xid) {
        if part.first {
            self.is_ours = part.messages.contains(&self.ours);
            self.touched = false;
        }
        self.touched |= !part.changes.is_empty();
        let Some(lsn) = part.commit_lsn else { return };
        self.seen = self.seen.max(lsn);
        if self.touched && !self.is_ours {
            let xid = Xid::widen(part.xid, reference);
            self.invisible.insert(xid);
            self.strays.add(Stray { lsn, xid: Some(xid) });
            self.urgent = true;
        }
    }

    /// What to write down now, if there is something; answer with [`Detector::noted`]. `flush`: also mere progress.
    pub fn poll(&mut self, flush: bool) -> Option<Seen> {
        let progress = flush && self.seen > self.noted;
        if self.noting.is_some() || self.threshold.is_some() || !(self.urgent || progress) {
            return None;
        }
        self.urgent = false;
        self.noting = Some(self.seen);
        Some(Seen {
            upto: Some(self.seen),
            strays: self.strays,
        })
    }

    /// It is written down; returns what may be acknowledged.
    pub fn noted(&mut self) -> Lsn {
        self.noted = self.noting.take().unwrap_or(self.noted);
        self.noted
    }

    /// A snapshot of the server was taken and given up: what it sees every later one sees.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.invisible.retain(|xid| !snapshot.sees(*xid));
    }

    /// A stray that the snapshot does not see: what is compared under it proves nothing of that.
    pub fn missed_by(&self, snapshot: &Snapshot) -> Option<Xid> {
        self.invisible.iter().copied().find(|xid| !snapshot.sees(*xid))
    }

    /// The first so many are behind a verification that found every row equal.
    pub fn settle(&mut self, count: u64) {
        let before = self.strays;
        self.strays.settle(count);
        self.urgent |= self.strays != before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::Change;

    const REFERENCE: Xid = Xid((3 << 32) + 100);

    fn name() -> MigrationName {
        "orders".parse().unwrap()
    }

    fn detector(upto: Option<u64>) -> Detector {
        let seen = Seen {
            upto: upto.map(Lsn),
            strays: Strays::default(),
        };
        Detector::new(&name(), seen, &[])
    }

    fn part(xid: u32, messages: &[Bytes], changes: usize, commit_lsn: Option<u64>) -> StreamItem {
        let change = Change::Truncate {
            restart_identity: false,
        };
        StreamItem::Transaction(TransactionPart {
            xid,
            final_lsn: Lsn(1),
            first: true,
            changes: vec![change; changes],
            tables: Vec::new(),
            messages: messages.to_vec(),
            commit_lsn: commit_lsn.map(Lsn),
        })
    }

    fn rest(changes: usize, commit_lsn: u64) -> StreamItem {
        match part(7, &[], changes, Some(commit_lsn)) {
            StreamItem::Transaction(part) => {
                StreamItem::Transaction(TransactionPart { first: false, ..part })
            }
            keepalive @ StreamItem::Keepalive { .. } => keepalive,
        }
    }

    fn receive(detector: &mut Detector, items: impl IntoIterator<Item = StreamItem>) {
        for item in items {
            detector.receive(&item, REFERENCE);
        }
    }

    #[test]
    fn nothing_counts_before_the_end_of_the_swap() {
        let mut detector = detector(None);
        let before = [
            part(5, &[], 2, Some(10)),
            StreamItem::Keepalive { wal_end: Lsn(15) },
            part(6, &[swap_message(&name())], 1, Some(20)),
        ];
        receive(&mut detector, before);
        assert_eq!((detector.seen(), detector.strays()), (Lsn(20), Strays::default()));
        assert_eq!(detector.poll(true).unwrap().upto, Some(Lsn(20)));
    }

    #[test]
    fn a_slot_that_is_seeking_is_not_acknowledged() {
        let mut detector = detector(None);
        receive(&mut detector, [StreamItem::Keepalive { wal_end: Lsn(15) }]);
        assert_eq!(detector.poll(true), None);
    }

    #[test]
    fn a_transaction_of_ours_is_no_stray_in_however_many_parts() {
        let mut detector = detector(Some(20));
        let ours = carried_back_message(&name());
        receive(
            &mut detector,
            [
                part(7, std::slice::from_ref(&ours), 0, None),
                rest(3, 30),
                part(8, &[ours], 1, Some(40)),
            ],
        );
        // Somebody's message, or a transaction on other tables, changes nothing.
        receive(&mut detector, [part(9, &[Bytes::from("durable")], 0, Some(50))]);
        assert_eq!((detector.seen(), detector.strays().count), (Lsn(50), 0));
    }

    #[test]
    fn any_other_is_one_with_its_wide_id_and_is_noted_at_once() {
        let mut detector = detector(Some(20));
        let late = part(99, &[], 1, None);
        receive(&mut detector, [late, rest(1, 30), part(3, &[], 1, Some(40))]);
        let seen = detector.poll(false).unwrap();
        let first = Stray {
            lsn: Lsn(30),
            xid: Some(Xid((3 << 32) + 99)),
        };
        // The id of a transaction is that of its last part, which says the same as its first.
        assert_eq!(seen.strays.first.map(|stray| stray.lsn), Some(first.lsn));
        assert_eq!((seen.upto, seen.strays.count), (Some(Lsn(40)), 2));
        assert_eq!(detector.poll(true), None, "one note at a time");
        assert_eq!(detector.noted(), Lsn(40));
        assert!(detector.strays().in_doubt());
    }

    #[test]
    fn what_came_behind_a_verification_is_not_settled_by_it() {
        let mut detector = detector(Some(20));
        receive(&mut detector, [part(1, &[], 1, Some(30))]);
        let began_behind = detector.strays().count;
        receive(&mut detector, [part(2, &[], 1, Some(40))]);
        detector.settle(began_behind);
        assert!(detector.strays().in_doubt());
        detector.settle(2);
        assert_eq!(
            (detector.strays().in_doubt(), detector.strays().first),
            (false, None)
        );
        receive(&mut detector, [part(3, &[], 1, Some(50))]);
        assert_eq!(detector.strays().first.map(|stray| stray.lsn), Some(Lsn(50)));
    }

    #[test]
    fn a_snapshot_that_misses_a_stray_proves_nothing_of_it() {
        let mut detector = detector(Some(20));
        receive(&mut detector, [part(12, &[], 1, Some(30))]);
        let id = (3_u64 << 32) + 12;
        let blind: Snapshot = format!("{id}:{}:{id}", id + 1).parse().unwrap();
        let seeing: Snapshot = format!("{}:{}:", id + 1, id + 1).parse().unwrap();
        assert_eq!(detector.missed_by(&blind), Some(Xid(id)));
        assert_eq!(detector.missed_by(&seeing), None);
        detector.observe(&blind);
        assert_eq!(detector.missed_by(&blind), Some(Xid(id)));
        detector.observe(&seeing);
        assert_eq!(detector.missed_by(&blind), None);
    }

    #[test]
    fn an_engine_that_goes_on_knows_what_was_seen_and_doubts_what_is_not_visible() {
        let strays = Strays {
            count: 2,
            settled: 1,
            first: None,
        };
        let seen = Seen {
            upto: Some(Lsn(20)),
            strays,
        };
        let now: Snapshot = "10:20:12".parse().unwrap();
        let detector = Detector::new(&name(), seen, &[Xid(12)]);
        assert!(detector.strays().in_doubt());
        assert_eq!(detector.missed_by(&now), Some(Xid(12)));
    }
}
