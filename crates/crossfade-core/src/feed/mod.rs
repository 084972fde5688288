//! The feed: judges what the stream delivers and cuts it into pieces that can be applied.
//!
//! ```text
//!  StreamItem ─► queue ─► (route keys) ─► judge ─► (classify keys) ─► coalesce ─► (fetch rows) ─► Piece
//!                  ▲                        │ held: wait for the chunk                              │
//!            commit boundaries ◄────────────┴──────── applied LSN ◄─────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - a batch ends on a commit, and not before the position that its fetched rows may come from (R14, R17);
//! - the applied LSN moves only with a batch's last piece; only it is acknowledged (R22);
//! - one piece is out at a time; its answer comes before the next one is formed;
//! - a batch ends before the first transaction with a change that must be held (R9): what waits is in the queue,
//!   unjudged, and nothing behind it is applied, so the applied LSN says all that a restart has to know.

mod align;
mod coalesce;
mod judge;
mod key;
mod touch;

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use crate::change::{Cell, Change, Row, StreamItem, TransactionPart};
use crate::ledger::{Ledger, Verdict};
use crate::piece::{FetchKey, KeyCells, LedgerNote, Piece, Put, TargetKey, is_marker};
use crate::plan::{Source, Target};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

use align::Alignment;
pub use align::NotAligned;
use coalesce::{Coalesced, Final, Image};
use judge::Cut;
use key::{KeyId, KeyShape};
use touch::{Act, Touch};

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

/// What holding a row takes besides its values.
const ROW_BYTES: usize = 64;
/// What a fetched row is taken to weigh before one is known: on the heavy side, since only large values are left out of
/// the stream.
const FETCHED_ROW_BYTES: usize = 8 << 10;
/// No answer is more than some thousand rows, however light they are.
const FETCHED_ROW_BYTES_MIN: usize = 1 << 10;

/// What the feed wants done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedStep {
    /// Apply this; answer with [`Feed::applied`].
    Apply(Piece),
    /// Find the homes of these keys; answer with [`Feed::routed`].
    Route {
        /// The keys.
        keys: Vec<KeyCells>,
        /// A key's home is the number of these that are below it, in the server's order.
        bounds: Vec<KeyCells>,
    },
    /// Number the equivalence classes of these keys; answer with [`Feed::classified`].
    Classify(Vec<KeyCells>),
    /// Read these rows from the source; answer with [`Feed::fetched`].
    Fetch {
        /// Which rows; as many of them as are expected to fit into a piece.
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
    Change {
        xid: Xid,
        change: Change,
        /// The stream delivered it so often on end.
        times: u64,
    },
    /// The end of a transaction, or a position at which nothing is open.
    Boundary {
        /// Where what is before it was committed.
        commit: Lsn,
        /// Up to here nothing followed.
        upto: Lsn,
    },
    /// The marker of this content was committed at the boundary that follows.
    Message(Bytes),
}

/// A piece that waits for an answer before it can be sent.
#[derive(Debug)]
enum Forming {
    Nothing,
    /// So many entries of the queue.
    Routing {
        entries: usize,
    },
    Classifying {
        gathered: Gathered,
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
    touches: Vec<Touch>,
    count: u64,
    messages: Vec<Bytes>,
    /// The piece ends here, on a commit.
    end: Option<Lsn>,
    /// With that end the target is aligned.
    aligned: Option<Snapshot>,
    removes: Vec<TargetKey>,
    fetched: bool,
}

/// The open batch: what must outlive one piece.
#[derive(Debug, Default)]
struct Batch {
    open: bool,
    /// The batch must not end before this position: a fetched row may come from there (R17).
    reach: Lsn,
    /// The last commit in its pieces so far.
    passed: Lsn,
    /// Its pieces so far end within a transaction.
    inside: bool,
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
    /// See [`Source::never_missing`].
    never_missing: Vec<usize>,
    /// The source is a view: a change says nothing but that a row of it is to be read again (R33).
    of_view: bool,
    ledger: Ledger,
    limits: FeedLimits,
    /// For widening the stream's transaction ids.
    reference: Xid,
    queue: VecDeque<Entry>,
    queue_changes: usize,
    queue_bytes: usize,
    batch: Batch,
    forming: Forming,
    /// What is left of a piece whose rows were not all fetched at once: a piece of its own, and the next one.
    rest: Option<(Gathered, Coalesced)>,
    /// What a fetched row weighs, as far as is known.
    fetched_row_bytes: usize,
    /// The queue begins with a transaction of which a change must be held until a chunk's state changes.
    blocked: bool,
    /// A truncate waits until no chunk is being copied.
    truncate_waits: bool,
    /// The open batch empties the target and the ledger.
    restarting: bool,
    /// Truncates that have arrived.
    truncates: u64,
    alignment: Option<Alignment>,
    /// Transactions that arrived, or may have been applied before, and that no snapshot has been seen to contain yet.
    unseen: BTreeSet<Xid>,
    /// The snapshot of an alignment is being taken: what later ones see proves nothing of it.
    expects_alignment: bool,
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
            never_missing: source.never_missing.clone(),
            of_view: !source.parts.is_empty(),
            ledger,
            limits,
            reference,
            queue: VecDeque::new(),
            queue_changes: 0,
            queue_bytes: 0,
            batch: Batch::default(),
            forming: Forming::Nothing,
            rest: None,
            fetched_row_bytes: FETCHED_ROW_BYTES,
            blocked: false,
            truncate_waits: false,
            restarting: false,
            truncates: 0,
            alignment: None,
            unseen: BTreeSet::new(),
            expects_alignment: false,
            received: applied,
            applied,
            markers: Vec::new(),
            counts: FeedCounts::default(),
        }
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

    /// Whether the stream should be read on. Saying no is the back-pressure; a copy never waits for the stream.
    pub fn has_capacity(&self) -> bool {
        self.queue_bytes < self.queue_bytes_max()
    }

    /// No batch is open and no piece is out: the target is as of the applied LSN.
    pub fn is_at_boundary(&self) -> bool {
        !self.batch.open && matches!(self.forming, Forming::Nothing)
    }

    /// The marker of that content has arrived, and waits.
    pub fn has_marker(&self, content: &Bytes) -> bool {
        let is_it = |entry: &Entry| matches!(entry, Entry::Message(message) if message == content);
        self.queue.iter().any(is_it)
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

    /// A snapshot of this server's life. To be told at least every 2^30 transactions, also when nothing is fetched:
    /// the stream's ids are widened by it, and what it sees is proved visible.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.reference = self.reference.max(snapshot.xmax());
        self.ledger.observe(snapshot);
        if !self.expects_alignment {
            self.prove(snapshot);
        }
    }

    /// A transaction that the last fetch would have had to see, and did not (R16).
    pub fn unseen_by_fetch(&self) -> Option<Xid> {
        let Forming::Fetching { coalesced, .. } = &self.forming else {
            return None;
        };
        let snapshot = self.batch.snapshot.as_ref()?;
        unseen(&coalesced.finals, snapshot)
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
            self.truncates += u64::from(matches!(change, Change::Truncate { .. }));
            match self.ledger.judge_alike(xid) {
                Some(Verdict::Drop) => self.counts.dropped += 1,
                Some(Verdict::Hold | Verdict::Apply) | None => {
                    self.unseen.insert(xid);
                    self.enqueue(xid, change)?;
                }
            }
        }
        let markers = part.messages.iter().filter(|content| is_marker(content));
        // A copy, not a view: it must not keep the block alive that the stream was read into.
        let markers = markers.map(|content| Entry::Message(Bytes::copy_from_slice(content)));
        self.queue.extend(markers);
        if let Some(commit_lsn) = part.commit_lsn {
            self.boundary(commit_lsn);
        }
        Ok(())
    }

    fn enqueue(&mut self, xid: Xid, change: Change) -> Result<(), FeedError> {
        if self.shape.is_none() {
            check_append_only(&change)?;
        }
        if self.is_said_again(xid, &change) {
            return Ok(());
        }
        self.queue_bytes += cost(&change);
        self.queue_changes += 1;
        let times = 1;
        self.queue.push_back(Entry::Change { xid, change, times });
        Ok(())
    }

    /// Many rows of a view's part may be of one row of the view, and a statement writes them on end.
    fn is_said_again(&mut self, xid: Xid, change: &Change) -> bool {
        match self.queue.back_mut() {
            Some(Entry::Change {
                xid: before,
                change: said,
                times,
            }) if self.of_view && *before == xid && said == change => {
                *times += 1;
                true
            }
            Some(Entry::Change { .. } | Entry::Boundary { .. } | Entry::Message(_)) | None => false,
        }
    }

    fn boundary(&mut self, lsn: Lsn) {
        if lsn <= self.received {
            return;
        }
        self.received = lsn;
        match self.queue.back_mut() {
            Some(Entry::Boundary { upto, .. }) => *upto = lsn,
            _ => self.queue.push_back(Entry::Boundary {
                commit: lsn,
                upto: lsn,
            }),
        }
    }

    /// The next thing to do, if there is one. `flush`: also advance over positions at which nothing was changed.
    pub fn poll(&mut self, flush: bool) -> Option<FeedStep> {
        if !matches!(self.forming, Forming::Nothing) {
            return None;
        }
        if let Some((gathered, coalesced)) = self.rest.take() {
            return Some(self.fetch_or_send(gathered, coalesced));
        }
        if self.blocked {
            return None;
        }
        if self.alignment.is_some() {
            let gathered = self.gather_aligned()?;
            return Some(self.form(gathered));
        }
        let entries = match self.find_cut() {
            Cut::Boundary { entries, changes } if changes > 0 || self.batch.open || flush => entries,
            Cut::Inside { entries } => entries,
            Cut::Boundary { .. } | Cut::Nothing => return None,
            Cut::Reached => return Some(self.end_batch()),
        };
        let keys = self.keys_of(entries);
        match keys.iter().map(|key| self.ledger.home(key)).collect() {
            Some(homes) => self.judged(entries, homes),
            None => {
                self.forming = Forming::Routing { entries };
                let bounds = self.ledger.bounds();
                Some(FeedStep::Route { keys, bounds })
            }
        }
    }

    /// With a piece of nothing, at the last commit that its pieces hold.
    fn end_batch(&mut self) -> FeedStep {
        let gathered = Gathered {
            end: Some(self.batch.passed),
            ..Gathered::default()
        };
        self.send(gathered, Some(Coalesced::default()))
    }

    fn form(&mut self, gathered: Gathered) -> FeedStep {
        let Some(shape) = &self.shape else {
            return self.send(gathered, None);
        };
        let keys = coalesce::keys(&gathered.touches);
        if shape.exact || keys.is_empty() {
            let ids = keys.iter().map(key::by_bytes).collect();
            return self.merge(gathered, ids);
        }
        self.forming = Forming::Classifying { gathered };
        FeedStep::Classify(keys)
    }

    /// The server's answer to [`FeedStep::Classify`]: one class for each key.
    pub fn classified(&mut self, classes: Vec<u32>) -> Option<FeedStep> {
        match std::mem::replace(&mut self.forming, Forming::Nothing) {
            Forming::Classifying { gathered } => {
                let ids = classes.into_iter().map(KeyId::Class).collect();
                Some(self.merge(gathered, ids))
            }
            other => {
                self.forming = other;
                None
            }
        }
    }

    fn merge(&mut self, mut gathered: Gathered, ids: Vec<KeyId>) -> FeedStep {
        let touches = std::mem::take(&mut gathered.touches);
        let mut coalesced = coalesce::coalesce(touches, ids, |row| self.must_fetch(row));
        if coalesced.truncate {
            self.batch.absent.clear();
        }
        self.forget_absent(&mut coalesced);
        self.fetch_or_send(gathered, coalesced)
    }

    /// What is missing of a row cannot be kept from the target's.
    fn must_fetch(&self, row: &Row) -> bool {
        let missing = |column: &usize| matches!(row.0[*column], Cell::Unchanged);
        self.of_view || self.never_missing.iter().any(missing) || mixes(&self.reads, row)
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
                (false, true) => last.image = Image::Fetch,
                (true, true) | (false, false) => {}
            }
        }
    }

    fn fetch_or_send(&mut self, gathered: Gathered, coalesced: Coalesced) -> FeedStep {
        let fitting = (self.limits.piece_bytes_max / self.fetched_row_bytes).max(1);
        let keys: Vec<FetchKey> = wanted(&coalesced.finals)
            .take(fitting)
            .map(|(ordinal, last)| FetchKey {
                ordinal,
                key: last.key.clone(),
            })
            .collect();
        if keys.is_empty() {
            return self.send(gathered, Some(coalesced));
        }
        let seen = |snapshot: &Snapshot| unseen(&coalesced.finals, snapshot).is_none();
        let same_snapshot = self.batch.snapshot.as_ref().is_some_and(seen);
        self.forming = Forming::Fetching { gathered, coalesced };
        FeedStep::Fetch { keys, same_snapshot }
    }

    /// The answer to [`FeedStep::Fetch`]: for each key its row, if there is one, under `snapshot`, or for the first of
    /// the keys if the rows weigh more than a piece may; for one at least. The others are asked for again. `reach` is the
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
        self.observe(&snapshot);
        let seen = unseen(&coalesced.finals, &snapshot).is_none();
        let same = self.batch.snapshot.as_ref() == Some(&snapshot);
        self.batch.snapshot = Some(snapshot);
        if !seen {
            return Some(self.fetch_or_send(gathered, coalesced));
        }
        // In an alignment it was read under the snapshot that the batch ends at: not from the future. And two rows of one
        // snapshot come from the same future.
        if self.alignment.is_none() && !(same && self.batch.reach > Lsn(0)) {
            self.batch.reach = self.batch.reach.max(reach);
        }
        self.counts.fetched += rows.len() as u64;
        self.weigh(&rows);
        gathered.fetched = true;
        let exact = self.shape.as_ref().is_some_and(|shape| shape.exact);
        let finals = coalesced.finals.iter_mut().zip(&coalesced.ids);
        let wanting = finals.filter(|(last, _)| last.image == Image::Fetch);
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
        if let Some(rest) = coalesced.split_unfetched() {
            // The end of the piece, and what counts with it, comes with its last part.
            let first = Gathered {
                removes: std::mem::take(&mut gathered.removes),
                fetched: true,
                ..Gathered::default()
            };
            self.rest = Some((std::mem::replace(&mut gathered, first), rest));
        }
        Some(self.send(gathered, Some(coalesced)))
    }

    /// Rows to come are taken to be as heavy on average as these, or a little lighter than was thought before: one light
    /// answer says little of the next.
    fn weigh(&mut self, rows: &[Option<Row>]) {
        let bytes: usize = rows.iter().flatten().map(row_cost).sum();
        let average = bytes.div_ceil(rows.len().max(1));
        self.fetched_row_bytes = average.max(self.fetched_row_bytes / 2).max(FETCHED_ROW_BYTES_MIN);
    }

    fn send(&mut self, mut gathered: Gathered, coalesced: Option<Coalesced>) -> FeedStep {
        match gathered.end {
            Some(end) => (self.batch.passed, self.batch.inside) = (end, false),
            None => self.batch.inside = true,
        }
        let reached = |end: &Lsn| *end >= self.batch.reach || self.has_reached();
        gathered.end = gathered.end.filter(reached);
        let mut piece = Piece {
            first: !self.batch.open,
            truncate: false,
            removes: std::mem::take(&mut gathered.removes),
            deletes: Vec::new(),
            puts: Vec::new(),
            applied: gathered.end,
            aligned: gathered.aligned.clone(),
            fetched: gathered.fetched,
            ledger: LedgerNote::default(),
        };
        if piece.applied.is_some() {
            piece.ledger = self.ledger.take_note();
        }
        match coalesced {
            Some(coalesced) => fill(&mut piece, coalesced),
            None => fill_in_order(&mut piece, std::mem::take(&mut gathered.touches)),
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
        self.restarting = false;
        if let Some(snapshot) = gathered.aligned {
            self.aligned(&snapshot);
        }
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

/// What a change weighs in the queue: its values, and what holding them takes.
fn cost(change: &Change) -> usize {
    match change {
        Change::Insert { new } | Change::Update { old_key: None, new } => row_cost(new),
        Change::Update {
            old_key: Some(old),
            new,
        } => row_cost(old) + row_cost(new),
        Change::Delete { old_key } => row_cost(old_key),
        Change::Truncate { .. } => ROW_BYTES,
    }
}

fn row_cost(row: &Row) -> usize {
    row.size() + ROW_BYTES + row.0.len() * size_of::<Cell>()
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

/// A transaction that wrote a row which is to be fetched, and that the snapshot does not see (R16).
fn unseen(finals: &[Final], snapshot: &Snapshot) -> Option<Xid> {
    let mut writers = wanted(finals).flat_map(|(_, last)| &last.writers).copied();
    writers.find(|xid| !snapshot.sees(*xid))
}

fn wanted(finals: &[Final]) -> impl Iterator<Item = (u32, &Final)> {
    finals
        .iter()
        .enumerate()
        .filter_map(|(ordinal, last)| match &last.image {
            Image::Fetch => Some((ordinal as u32, last)),
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
fn fill_in_order(piece: &mut Piece, touches: Vec<Touch>) {
    for touch in touches {
        match touch.act {
            Act::Put { key: _, new } => piece.puts.push(Put { row: new }),
            Act::Truncate => {
                piece.truncate = true;
                piece.puts.clear();
            }
            Act::PutMoved { .. } | Act::Delete { .. } => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
