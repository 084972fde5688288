//! The feed: judges what the stream delivers and cuts it into pieces that can be applied.
//!
//! ```text
//!  StreamItem ─► judge ─► queue ─► gather ─► (classify keys) ─► coalesce ─► (fetch rows) ─► Piece
//!                           ▲                                                                │
//!                     commit boundaries ◄──────────── applied LSN ◄──────────────────────────┘
//! ```
//!
//! Invariants:
//! - a batch ends on a commit, and not before the position that its fetched rows may come from (R14, R17);
//! - the applied LSN moves only with a batch's last piece; only it is acknowledged (R22);
//! - one piece is out at a time; its answer comes before the next one is formed.

mod coalesce;
mod key;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::change::{Cell, Change, Row, StreamItem, TransactionPart};
use crate::ledger::{Ledger, Verdict, WHOLE_TABLE};
use crate::piece::{FetchKey, KeyCells, Piece, Put};
use crate::plan::{Source, Target};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

use coalesce::{Coalesced, Final, Image, Judged};
use key::{KeyId, KeyShape};

/// Bounds of one piece and of what waits behind it.
#[derive(Clone, Copy, Debug)]
pub struct FeedLimits {
    /// Changes in one piece.
    pub piece_changes_max: usize,
    /// Bytes of values in one piece.
    pub piece_bytes_max: usize,
    /// Bytes of values that may wait; above it the stream is not read.
    pub queue_bytes_max: usize,
}

impl Default for FeedLimits {
    fn default() -> Self {
        FeedLimits {
            piece_changes_max: 5_000,
            piece_bytes_max: 4 << 20,
            queue_bytes_max: 6 << 20,
        }
    }
}

/// What the feed wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStep {
    /// Apply this; answer with [`Feed::applied`].
    Apply(Piece),
    /// Number the equivalence classes of these keys; answer with [`Feed::classified`].
    Classify(Vec<KeyCells>),
    /// Read these rows from the source; answer with [`Feed::fetched`].
    Fetch {
        /// Which rows.
        keys: Vec<FetchKey>,
        /// The snapshot of this batch's earlier fetch sees all of them: use it again.
        same_snapshot: bool,
    },
}

/// A stream that cannot be applied.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum FeedError {
    /// A table without a key was updated or deleted from (R2).
    #[error("follow a table without a key: it was {what}, and only inserts can be followed")]
    NotAppendOnly {
        /// `updated` or `deleted from`.
        what: &'static str,
    },
    /// The stream delivered something for a chunk that is not whole.
    #[error("judge a change before its chunk is copied")]
    GateClosed,
}

/// How many changes went which way, since this engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedCounts {
    /// Row changes that the stream delivered.
    pub delivered: u64,
    /// Of these, dropped because the copy contains them.
    pub dropped: u64,
    /// Changes applied and committed, before coalescing.
    pub applied: u64,
    /// Rows fetched from the source.
    pub fetched: u64,
    /// Batches committed.
    pub batches: u64,
}

#[derive(Debug)]
enum Entry {
    Change(Judged),
    /// Everything before is committed at this position.
    Boundary(Lsn),
    /// The marker of this content was committed at the boundary that follows.
    Message(Bytes),
}

/// A piece that waits for an answer before it can be sent.
#[derive(Debug)]
enum Forming {
    Nothing,
    Classifying {
        gathered: Gathered,
        keys: Vec<KeyCells>,
    },
    Fetching {
        gathered: Gathered,
        coalesced: Coalesced,
    },
    Applying {
        gathered: Gathered,
    },
}

#[derive(Debug, Default)]
struct Gathered {
    changes: Vec<Judged>,
    count: u64,
    messages: Vec<Bytes>,
    /// The piece ends here, on a commit.
    end: Option<Lsn>,
    fetched: bool,
}

/// The open batch: what must outlive one piece.
#[derive(Debug, Default)]
struct Batch {
    open: bool,
    /// The batch must not end before this position: a fetched row may come from there (R17).
    reach: Lsn,
    snapshot: Option<Snapshot>,
    /// Keys whose row was gone at its fetch: an update that keeps a value may still follow, and hits nothing.
    absent: BTreeSet<KeyId>,
}

/// See the module.
#[derive(Debug)]
pub struct Feed {
    shape: Option<KeyShape>,
    /// For each target column, the source columns that its expression reads.
    reads: Vec<Vec<usize>>,
    ledger: Ledger,
    limits: FeedLimits,
    /// For widening the stream's transaction ids.
    reference: Xid,
    queue: VecDeque<Entry>,
    queue_changes: usize,
    queue_bytes: usize,
    batch: Batch,
    forming: Forming,
    received: Lsn,
    applied: Lsn,
    markers: Vec<(Bytes, Lsn)>,
    counts: FeedCounts,
}

impl Feed {
    /// A feed that goes on from `applied`. `reference` is the `xmax` of a snapshot taken in this server's life.
    pub fn new(
        source: &Source,
        targets: &[Target],
        ledger: Ledger,
        applied: Lsn,
        reference: Xid,
        limits: FeedLimits,
    ) -> Self {
        let columns = targets.iter().flat_map(|target| &target.columns);
        Feed {
            shape: source.key.as_ref().map(|key| KeyShape::new(key, &source.columns)),
            reads: columns.map(|column| column.value.reads.clone()).collect(),
            ledger,
            limits,
            reference,
            queue: VecDeque::new(),
            queue_changes: 0,
            queue_bytes: 0,
            batch: Batch::default(),
            forming: Forming::Nothing,
            received: applied,
            applied,
            markers: Vec::new(),
            counts: FeedCounts::default(),
        }
    }

    /// The ledger, to change a chunk's state.
    pub fn ledger_mut(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// Everything committed at or before it is in the target, durably. It is what may be acknowledged.
    pub fn applied(&self) -> Lsn {
        self.applied
    }

    /// The end of the last whole transaction, or the last keepalive, that arrived.
    pub fn received(&self) -> Lsn {
        self.received
    }

    /// Numbers for the report.
    pub fn counts(&self) -> FeedCounts {
        self.counts
    }

    /// Changes that have arrived and wait.
    pub fn waiting(&self) -> usize {
        self.queue_changes
    }

    /// Whether the stream should be read on. Saying no is the back-pressure.
    pub fn has_capacity(&self) -> bool {
        self.ledger.is_whole() && self.queue_bytes < self.limits.queue_bytes_max
    }

    /// No batch is open and no piece is out: the target is as of the applied LSN.
    pub fn is_at_boundary(&self) -> bool {
        !self.batch.open && matches!(self.forming, Forming::Nothing)
    }

    /// Where the marker of that content was committed, once everything up to it has been applied.
    pub fn passed_marker(&self, content: &Bytes) -> Option<Lsn> {
        self.markers
            .iter()
            .find(|(marker, _)| marker == content)
            .map(|(_, lsn)| *lsn)
    }

    /// Markers passed so far are not those of the lock that was just granted.
    pub fn forget_markers(&mut self) {
        self.markers.clear();
    }

    /// A snapshot of this server's life had this `xmax`. To be told at least every 2^30 transactions, also when
    /// nothing is fetched: the stream's ids are widened by it.
    pub fn observe(&mut self, xmax: Xid) {
        self.reference = self.reference.max(xmax);
    }

    /// Takes what the stream delivered.
    ///
    /// # Errors
    /// The change cannot be followed; nothing of it will be applied.
    pub fn receive(&mut self, item: StreamItem) -> Result<(), FeedError> {
        match item {
            StreamItem::Transaction(part) => self.receive_part(part),
            StreamItem::Keepalive { wal_end } => {
                self.boundary(wal_end);
                Ok(())
            }
        }
    }

    fn receive_part(&mut self, part: TransactionPart) -> Result<(), FeedError> {
        let xid = Xid::widen(part.xid, self.reference);
        for change in part.changes {
            self.counts.delivered += 1;
            match self.ledger.judge(WHOLE_TABLE, xid) {
                Verdict::Drop => self.counts.dropped += 1,
                Verdict::Hold => return Err(FeedError::GateClosed),
                Verdict::Apply => self.enqueue(Judged { xid, change })?,
            }
        }
        self.queue.extend(part.messages.into_iter().map(Entry::Message));
        if let Some(commit_lsn) = part.commit_lsn {
            self.boundary(commit_lsn);
        }
        Ok(())
    }

    fn enqueue(&mut self, judged: Judged) -> Result<(), FeedError> {
        if self.shape.is_none() {
            check_append_only(&judged.change)?;
        }
        self.queue_bytes += cost(&judged.change);
        self.queue_changes += 1;
        self.queue.push_back(Entry::Change(judged));
        Ok(())
    }

    fn boundary(&mut self, lsn: Lsn) {
        if lsn <= self.received {
            return;
        }
        self.received = lsn;
        match self.queue.back_mut() {
            Some(Entry::Boundary(last)) => *last = lsn,
            _ => self.queue.push_back(Entry::Boundary(lsn)),
        }
    }

    /// The next thing to do, if there is one. `flush`: also advance over positions at which nothing was changed.
    pub fn poll(&mut self, flush: bool) -> Option<FeedStep> {
        if !matches!(self.forming, Forming::Nothing) {
            return None;
        }
        let gathered = self.gather(flush)?;
        match self
            .shape
            .as_ref()
            .map(|shape| (shape.exact, coalesce::keys(&gathered.changes, shape)))
        {
            None => Some(self.send(gathered, None)),
            Some((false, keys)) if !keys.is_empty() => {
                self.forming = Forming::Classifying {
                    gathered,
                    keys: keys.clone(),
                };
                Some(FeedStep::Classify(keys))
            }
            Some((_, keys)) => {
                let ids = keys.iter().map(key::by_bytes).collect();
                Some(self.merge(gathered, keys, ids))
            }
        }
    }

    /// Takes changes from the queue up to a piece's limits, ending on the last commit among them if there is one.
    fn gather(&mut self, flush: bool) -> Option<Gathered> {
        let cut = self.find_cut();
        let (entries, end) = match cut {
            Cut::Nothing => return None,
            Cut::Boundary {
                entries,
                end,
                changes,
            } if changes > 0 || self.batch.open || flush => (entries, Some(end)),
            Cut::Boundary { .. } => return None,
            Cut::Inside { entries } => (entries, None),
        };
        let mut gathered = Gathered {
            end,
            ..Gathered::default()
        };
        for entry in self.queue.drain(..entries) {
            match entry {
                Entry::Change(judged) => {
                    self.queue_changes -= 1;
                    self.queue_bytes -= cost(&judged.change);
                    gathered.changes.push(judged);
                }
                Entry::Message(content) => gathered.messages.push(content),
                Entry::Boundary(_) => {}
            }
        }
        gathered.count = gathered.changes.len() as u64;
        Some(gathered)
    }

    fn find_cut(&self) -> Cut {
        let (mut changes, mut bytes) = (0, 0);
        let mut last_boundary = None;
        for (position, entry) in self.queue.iter().enumerate() {
            match entry {
                Entry::Boundary(lsn) => {
                    last_boundary = Some(Cut::Boundary {
                        entries: position + 1,
                        end: *lsn,
                        changes,
                    });
                }
                Entry::Message(_) => {}
                Entry::Change(judged) => {
                    changes += 1;
                    bytes += cost(&judged.change);
                    if changes >= self.limits.piece_changes_max || bytes >= self.limits.piece_bytes_max {
                        return last_boundary.unwrap_or(Cut::Inside {
                            entries: position + 1,
                        });
                    }
                }
            }
        }
        last_boundary.unwrap_or(Cut::Nothing)
    }

    /// The server's answer to [`FeedStep::Classify`]: one class for each key.
    pub fn classified(&mut self, classes: Vec<u32>) -> Option<FeedStep> {
        match std::mem::replace(&mut self.forming, Forming::Nothing) {
            Forming::Classifying { gathered, keys } => {
                let ids = classes.into_iter().map(KeyId::Class).collect();
                Some(self.merge(gathered, keys, ids))
            }
            other => {
                self.forming = other;
                None
            }
        }
    }

    fn merge(&mut self, mut gathered: Gathered, keys: Vec<KeyCells>, ids: Vec<KeyId>) -> FeedStep {
        let changes = std::mem::take(&mut gathered.changes);
        let reads = &self.reads;
        let mut coalesced = coalesce::coalesce(changes, keys, ids, |row| mixes(reads, row));
        if coalesced.truncate {
            self.batch.absent.clear();
        }
        self.forget_absent(&mut coalesced);
        self.fetch_or_send(gathered, coalesced)
    }

    /// An update that keeps a value of a row which this batch's fetch found gone has nothing to keep it in.
    /// Classes are numbered anew for every piece, so where only the server knows which keys are equal, it is not
    /// known which of them are meant: all are fetched, under a snapshot that sees their change.
    fn forget_absent(&mut self, coalesced: &mut Coalesced) {
        if self.batch.absent.is_empty() {
            return;
        }
        let exact = self.shape.as_ref().is_some_and(|shape| shape.exact);
        for (last, id) in coalesced.finals.iter_mut().zip(&coalesced.ids) {
            let Image::Row(row) = &last.image else { continue };
            let keeps = row.0.iter().any(|cell| matches!(cell, Cell::Unchanged));
            match (exact, keeps) {
                (true, false) => {
                    self.batch.absent.remove(id);
                }
                (true, true) if self.batch.absent.contains(id) => last.image = Image::Absent,
                (false, true) => last.image = Image::Fetch(last.xid),
                (true, true) | (false, false) => {}
            }
        }
    }

    fn fetch_or_send(&mut self, gathered: Gathered, coalesced: Coalesced) -> FeedStep {
        let keys: Vec<FetchKey> = wanted(&coalesced.finals)
            .map(|(ordinal, key, _)| FetchKey {
                ordinal,
                key: key.clone(),
            })
            .collect();
        if keys.is_empty() {
            return self.send(gathered, Some(coalesced));
        }
        let seen = |snapshot: &Snapshot| wanted(&coalesced.finals).all(|(_, _, xid)| snapshot.sees(xid));
        let same_snapshot = self.batch.snapshot.as_ref().is_some_and(seen);
        self.forming = Forming::Fetching { gathered, coalesced };
        FeedStep::Fetch { keys, same_snapshot }
    }

    /// The answer to [`FeedStep::Fetch`]: for each key its row, if there is one, under `snapshot`. `reach` is the
    /// WAL insert position read after that snapshot and made durable: also under the cutover's lock, before which
    /// much was committed that the stream has still to bring. Asks again if the snapshot does not see a change
    /// of these rows yet (R16).
    pub fn fetched(&mut self, snapshot: Snapshot, rows: Vec<Option<Row>>, reach: Lsn) -> Option<FeedStep> {
        let Forming::Fetching {
            mut gathered,
            mut coalesced,
        } = std::mem::replace(&mut self.forming, Forming::Nothing)
        else {
            return None;
        };
        self.observe(snapshot.xmax());
        let seen = wanted(&coalesced.finals).all(|(_, _, xid)| snapshot.sees(xid));
        self.batch.snapshot = Some(snapshot);
        if !seen {
            return Some(self.fetch_or_send(gathered, coalesced));
        }
        self.batch.reach = self.batch.reach.max(reach);
        self.counts.fetched += rows.len() as u64;
        gathered.fetched = true;
        let exact = self.shape.as_ref().is_some_and(|shape| shape.exact);
        let finals = coalesced.finals.iter_mut().zip(&coalesced.ids);
        let wanting = finals.filter(|(last, _)| matches!(last.image, Image::Fetch(_)));
        for ((last, id), row) in wanting.zip(rows) {
            match row {
                Some(row) => {
                    last.image = Image::Row(row);
                    if exact {
                        self.batch.absent.remove(id);
                    }
                }
                None => {
                    last.delete = true;
                    last.image = Image::Absent;
                    self.batch.absent.insert(id.clone());
                }
            }
        }
        Some(self.send(gathered, Some(coalesced)))
    }

    fn send(&mut self, mut gathered: Gathered, coalesced: Option<Coalesced>) -> FeedStep {
        gathered.end = gathered.end.filter(|end| *end >= self.batch.reach);
        let mut piece = Piece {
            first: !self.batch.open,
            truncate: false,
            deletes: Vec::new(),
            puts: Vec::new(),
            applied: gathered.end,
            fetched: gathered.fetched,
        };
        match coalesced {
            Some(coalesced) => fill(&mut piece, coalesced),
            None => fill_in_order(&mut piece, std::mem::take(&mut gathered.changes)),
        }
        self.batch.open = true;
        self.forming = Forming::Applying { gathered };
        FeedStep::Apply(piece)
    }

    /// The piece that is out was applied; if it was its batch's last, the batch is committed.
    pub fn piece_applied(&mut self) {
        let Forming::Applying { gathered } = std::mem::replace(&mut self.forming, Forming::Nothing) else {
            return;
        };
        self.counts.applied += gathered.count;
        let Some(end) = gathered.end else {
            self.queue_front_messages(gathered.messages);
            return;
        };
        self.applied = end;
        self.batch = Batch::default();
        self.counts.batches += 1;
        self.markers
            .extend(gathered.messages.into_iter().map(|content| (content, end)));
    }

    /// A marker counts when its batch is committed, so it moves on to the batch's next piece.
    fn queue_front_messages(&mut self, messages: Vec<Bytes>) {
        for content in messages.into_iter().rev() {
            self.queue.push_front(Entry::Message(content));
        }
    }
}

enum Cut {
    /// Nothing that can be sent yet.
    Nothing,
    /// Up to and including a commit.
    Boundary {
        entries: usize,
        end: Lsn,
        changes: usize,
    },
    /// Within a transaction larger than a piece.
    Inside { entries: usize },
}

/// What a change weighs in the queue: its values, and what holding them takes.
fn cost(change: &Change) -> usize {
    const ROW: usize = 64;
    let row = |row: &Row| row.size() + ROW + row.0.len() * size_of::<Cell>();
    match change {
        Change::Insert { new } | Change::Update { old_key: None, new } => row(new),
        Change::Update {
            old_key: Some(old),
            new,
        } => row(old) + row(new),
        Change::Delete { old_key } => row(old_key),
        Change::Truncate { .. } => ROW,
    }
}

fn check_append_only(change: &Change) -> Result<(), FeedError> {
    match change {
        Change::Insert { .. } | Change::Truncate { .. } => Ok(()),
        Change::Update { .. } => Err(FeedError::NotAppendOnly { what: "updated" }),
        Change::Delete { .. } => Err(FeedError::NotAppendOnly { what: "deleted from" }),
    }
}

/// Whether a target column's expression reads a missing column together with one that is there.
fn mixes(reads: &[Vec<usize>], row: &Row) -> bool {
    let missing = |column: &usize| matches!(row.0[*column], Cell::Unchanged);
    reads
        .iter()
        .any(|columns| columns.iter().any(missing) && !columns.iter().all(missing))
}

fn wanted(finals: &[Final]) -> impl Iterator<Item = (u32, &KeyCells, Xid)> {
    finals
        .iter()
        .enumerate()
        .filter_map(|(ordinal, last)| match &last.image {
            Image::Fetch(xid) => Some((ordinal as u32, &last.key, *xid)),
            Image::Absent | Image::Row(_) => None,
        })
}

fn fill(piece: &mut Piece, coalesced: Coalesced) {
    piece.truncate = coalesced.truncate;
    for last in coalesced.finals {
        if last.delete {
            piece.deletes.push(last.key);
        }
        if let Image::Row(row) = last.image {
            piece.puts.push(Put { row });
        }
    }
}

/// Without a key nothing is merged: inserts in stream order, and a truncate forgets those before it.
fn fill_in_order(piece: &mut Piece, changes: Vec<Judged>) {
    for judged in changes {
        match judged.change {
            Change::Insert { new } => piece.puts.push(Put { row: new }),
            Change::Truncate { .. } => {
                piece.truncate = true;
                piece.puts.clear();
            }
            Change::Update { .. } | Change::Delete { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
