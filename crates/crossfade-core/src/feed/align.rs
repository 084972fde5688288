//! The alignment (R26): the batch that makes the target equal to the source as one snapshot S sees it, whatever the
//! stream's order was.
//!
//! ```text
//!  consistent, at A ─► S, then position L ─► receive up to L ─► apply what S sees, hold the rest ─► aligned at A'
//! ```
//!
//! Invariants:
//! - a transaction that is in the target already, applied or copied, and that S does not see makes S useless: take
//!   another. Only snapshots taken before S prove what S sees;
//! - everything that S sees has committed before L, so once the stream has passed L all of it is here;
//! - A', the applied LSN that commits with the alignment, is not beyond the first change held. S commits with it: from
//!   then on the ledger drops what S sees, so that the part of the stream between A' and L, read again after a crash,
//!   is applied exactly once. Holding needs no more than that, not even idempotent changes;
//! - nothing is applied before L has arrived: until then the alignment can be given up without a trace.

use std::collections::{BTreeSet, VecDeque};

use super::touch::{self, Act, Touch};
use super::{Entry, Feed, Forming, Gathered, cost};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;
use crate::verify::Repair;

/// An alignment that is being made.
#[derive(Debug)]
pub(super) struct Alignment {
    snapshot: Snapshot,
    /// Everything that the snapshot sees has committed before this position.
    until: Lsn,
    /// As the snapshot sees the source: written with the last of what it sees.
    repair: Repair,
}

/// A snapshot that the target cannot be aligned with: release it, wait, take another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("align with a snapshot that does not see transaction {xid}, which the target has")]
pub struct NotAligned {
    /// The transaction: decoded, applied, and not yet visible.
    pub xid: Xid,
}

/// While the rest of an alignment is awaited, so many times the usual may wait: what is held cannot be applied, and
/// what is not read cannot arrive.
const CROWDED: usize = 2;

impl Feed {
    /// Takes over from an earlier engine what it aligned the target with last. Transactions that are `committing`, and that
    /// `now` does not see, may have been applied by it.
    pub fn inherit(&mut self, aligned: Option<&Snapshot>, now: &Snapshot, committing: &[Xid]) {
        if let Some(aligned) = aligned {
            self.ledger.align(aligned);
        }
        self.observe(now);
        self.unseen.extend(committing);
    }

    /// A snapshot is about to be taken for [`Feed::align`].
    pub fn expect_alignment(&mut self) {
        self.expects_alignment = true;
    }

    /// These are visible now, and to every snapshot that is taken from now on.
    pub(super) fn prove(&mut self, snapshot: &Snapshot) {
        self.unseen.retain(|xid| !snapshot.sees(*xid));
    }

    /// Begins an alignment with `snapshot`; `until` is the durable WAL insert position read after it. The feed is at a
    /// boundary and the target consistent (R25); until [`Feed::is_aligning`] ends, every fetch is to be read under
    /// that snapshot. `repair` was read under it too.
    ///
    /// # Errors
    /// The snapshot does not see a transaction that is applied.
    pub fn align(&mut self, snapshot: Snapshot, until: Lsn, repair: Repair) -> Result<(), NotAligned> {
        debug_assert!(self.is_at_boundary(), "an alignment begins between two batches");
        self.observe(&snapshot);
        self.expects_alignment = false;
        self.prove(&snapshot);
        let waiting: BTreeSet<Xid> = self.queue.iter().filter_map(xid_of).collect();
        let applied = self.unseen.iter().copied().filter(|xid| !waiting.contains(xid));
        let copied = snapshot.in_progress().filter(|xid| self.ledger.has_read(*xid));
        if let Some(xid) = applied.chain(copied).next() {
            return Err(NotAligned { xid });
        }
        self.alignment = Some(Alignment {
            snapshot,
            until,
            repair,
        });
        Ok(())
    }

    /// An alignment has begun, and the target is not aligned yet.
    pub fn is_aligning(&self) -> bool {
        self.alignment.is_some()
    }

    /// The rest of the stream up to the alignment's end does not fit: it must be given up.
    pub fn is_crowded(&self) -> bool {
        let waits = |alignment: &Alignment| self.received < alignment.until;
        self.alignment.as_ref().is_some_and(waits) && !self.has_capacity()
    }

    /// Gives the alignment up; false when it is too late for that, and its end near.
    pub fn give_alignment_up(&mut self) -> bool {
        let untouched = !self.batch.open && matches!(self.forming, Forming::Nothing);
        if untouched {
            self.alignment = None;
        }
        untouched
    }

    pub(super) fn queue_bytes_max(&self) -> usize {
        let times = if self.is_aligning() { CROWDED } else { 1 };
        self.limits.queue_bytes_max * times
    }

    /// Takes the changes that the snapshot sees, in stream order, up to a piece's limits; the others stay. Nothing
    /// until everything that it sees has arrived.
    pub(super) fn gather_aligned(&mut self) -> Option<Gathered> {
        let alignment = self
            .alignment
            .as_ref()
            .filter(|found| self.received >= found.until)?;
        let snapshot = alignment.snapshot.clone();
        let (mut gathered, mut changes, mut bytes, mut last) = (Gathered::default(), 0, 0, true);
        let mut held = VecDeque::new();
        for entry in std::mem::take(&mut self.queue) {
            match entry {
                Entry::Change { xid, change, times } if snapshot.sees(xid) => {
                    if changes >= self.limits.piece_changes_max || bytes >= self.limits.piece_bytes_max {
                        last = false;
                        held.push_back(Entry::Change { xid, change, times });
                        continue;
                    }
                    changes += 1;
                    gathered.count += times;
                    bytes += cost(&change);
                    let acts = touch::touches(change, self.shape.as_ref());
                    gathered.touches.extend(acts.map(|act| Touch { xid, act }));
                }
                entry @ (Entry::Change { .. } | Entry::Message(_) | Entry::Boundary { .. }) => {
                    held.push_back(entry);
                }
            }
        }
        self.queue = held;
        self.queue_changes -= changes;
        self.queue_bytes -= bytes;
        if last {
            gathered.end = Some(self.pass_boundaries(&mut gathered));
            gathered.aligned = Some(snapshot);
            self.repair(&mut gathered);
        }
        Some(gathered)
    }

    /// Behind everything that the snapshot sees, rows as it sees them are what the target has to have.
    fn repair(&mut self, gathered: &mut Gathered) {
        let (Some(alignment), Some(shape)) = (&mut self.alignment, &self.shape) else {
            return;
        };
        let repair = std::mem::take(&mut alignment.repair);
        let puts = repair.rows.into_iter().map(|new| Touch {
            // Whole, so that no transaction has to be seen by anybody.
            xid: Xid(0),
            act: Act::Put {
                key: shape.cells(&new),
                new,
            },
        });
        gathered.touches.extend(puts);
        gathered.removes = repair.removes;
    }

    /// Moves over what is left in front of the first change held, and says how far that is.
    fn pass_boundaries(&mut self, gathered: &mut Gathered) -> Lsn {
        let changes = |entry: &Entry| matches!(entry, Entry::Change { .. });
        let clear = self.queue.iter().position(changes).unwrap_or(self.queue.len());
        let boundary = |entry: &Entry| matches!(entry, Entry::Boundary { .. });
        let passed = self.queue.iter().take(clear).rposition(boundary);
        let mut end = self.applied;
        for entry in self.queue.drain(..passed.map_or(0, |position| position + 1)) {
            match entry {
                Entry::Boundary { upto, .. } => end = upto,
                Entry::Message(content) => gathered.messages.push(content),
                Entry::Change { .. } => unreachable!("in front of the first change there is none"),
            }
        }
        end
    }

    /// The alignment is committed.
    pub(super) fn aligned(&mut self, snapshot: &Snapshot) {
        self.ledger.align(snapshot);
        self.alignment = None;
    }
}

fn xid_of(entry: &Entry) -> Option<Xid> {
    match entry {
        Entry::Change { xid, .. } => Some(*xid),
        Entry::Boundary { .. } | Entry::Message(_) => None,
    }
}

#[cfg(test)]
mod tests;
