//! From the queue to judged touches: where a piece is cut, what the ledger says of each change in it, and where it
//! must end because something has to wait for a chunk (R5, R9, R10).

use super::touch::{self, Touch};
use super::{Entry, Feed, FeedStep, Forming, Gathered, cost};
use crate::change::Change;
use crate::ledger::{ChunkId, Home, Ledger, Opening, Truncation, Unusable, Verdict};
use crate::piece::KeyCells;
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

/// Up to where the queue fits into a piece.
pub(super) enum Cut {
    /// Nothing that can be sent yet.
    Nothing,
    /// Up to and including a commit.
    Boundary { entries: usize, changes: usize },
    /// Within a transaction larger than a piece.
    Inside { entries: usize },
    /// Nothing more belongs into the open batch: whatever comes was committed behind what its rows may come from.
    Reached,
}

/// What a pass over the queue's first entries found.
struct Pass {
    /// So many entries can be applied now; the others wait.
    entries: usize,
    /// For every touch in them.
    applies: Vec<bool>,
    /// A change, or a truncate, must wait.
    holds: Option<Holds>,
    restarts: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    Change,
    Truncate,
}

/// Chunks, from the copy's side. Judging and these exclude each other: all take `&mut self`.
impl Feed {
    /// See [`Ledger::open`]. Nothing is opened while a truncate waits for the copies or begins them again; nor within a
    /// batch with fetched rows, whose fetch holds a lock on the source until the batch ends: should the opening wait
    /// behind somebody who waits for that lock, a change that waits for the opening would keep the batch from its end.
    pub fn open_chunk(&mut self, rows: u64) -> Option<Opening> {
        if self.truncate_waits || self.restarting || self.batch.reach > Lsn(0) {
            return None;
        }
        self.ledger.open(rows)
    }

    /// See [`Ledger::unproven`].
    pub fn unproven(&self) -> impl Iterator<Item = Xid> {
        self.ledger.unproven()
    }

    /// See [`Ledger::wait_aside`].
    pub fn wait_aside(&mut self, xid: Xid) {
        self.ledger.wait_aside(xid);
    }

    /// Whether a chunk's state may change now. Keys whose homes the server is finding were asked for with the
    /// bounds as they are.
    pub fn may_register(&self) -> bool {
        !matches!(self.forming, Forming::Routing { .. })
    }

    /// A truncate waits for the copies, or begins them again: an opened chunk is of no use.
    pub fn restarts_copy(&self) -> bool {
        self.truncate_waits || self.restarting
    }

    /// See [`Ledger::register`].
    ///
    /// # Errors
    /// The snapshot does not see everything that the stream has passed (R7), or the chunk is none any more.
    pub fn register_chunk(
        &mut self,
        id: ChunkId,
        upper: Option<KeyCells>,
        snapshot: Snapshot,
    ) -> Result<(), Unusable> {
        self.observe(&snapshot);
        self.blocked = false;
        self.ledger.register(id, upper, snapshot)
    }

    /// See [`Ledger::released`].
    pub fn chunk_released(&mut self, id: ChunkId) {
        self.ledger.released(id);
        self.blocked = false;
    }

    /// See [`Ledger::recorded`].
    pub fn chunk_recorded(&mut self, id: ChunkId) {
        self.ledger.recorded(id);
        self.blocked = false;
    }

    /// See [`Ledger::failed`].
    pub fn chunk_failed(&mut self, id: ChunkId) {
        self.ledger.released(id);
        self.ledger.failed(id);
        self.blocked = false;
    }

    /// Every chunk is copied.
    pub fn is_whole(&self) -> bool {
        self.ledger.is_whole()
    }

    /// See [`Ledger::counts`].
    pub fn chunks(&self) -> (u32, u32) {
        self.ledger.counts()
    }

    /// What judges.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Truncates that have arrived since this engine started.
    pub fn truncates(&self) -> u64 {
        self.truncates
    }

    /// The applied LSN has passed the insert positions read after all snapshots of the copy: from here on
    /// everything is applied. To be told at a boundary.
    pub fn settle(&mut self) {
        self.ledger.settle();
    }
}

impl Feed {
    /// The commit of the first transaction in the queue, if it has arrived.
    fn next_commit(&self) -> Option<Lsn> {
        self.queue.iter().find_map(|entry| match entry {
            Entry::Boundary { commit, .. } => Some(*commit),
            Entry::Change { .. } | Entry::Message(_) => None,
        })
    }

    /// The open batch's rows come from no later than what its pieces hold: whatever is still to come was committed
    /// behind it. To draw in more would fetch more, from later, and under steady writes never end.
    pub(super) fn has_reached(&self) -> bool {
        let reach = self.batch.reach;
        let fetched = reach > Lsn(0) && !self.batch.inside;
        fetched
            && self
                .next_commit()
                .map_or(self.received >= reach, |commit| commit > reach)
    }

    pub(super) fn find_cut(&self) -> Cut {
        if self.has_reached() {
            return Cut::Reached;
        }
        // A transaction of which a part is in the batch belongs into it whole.
        let mut within = self.batch.inside;
        let bounded = self.batch.reach > Lsn(0);
        let (mut changes, mut bytes) = (0, 0);
        let mut last_boundary = None;
        for (position, entry) in self.queue.iter().enumerate() {
            let entries = position + 1;
            match entry {
                Entry::Boundary { commit, .. } if bounded && *commit > self.batch.reach && !within => {
                    return last_boundary.unwrap_or(Cut::Nothing);
                }
                Entry::Boundary { .. } => {
                    within = false;
                    last_boundary = Some(Cut::Boundary { entries, changes });
                }
                Entry::Message(_) => {}
                Entry::Change { change, .. } => {
                    changes += 1;
                    bytes += cost(change);
                    if changes >= self.limits.piece_changes_max || bytes >= self.limits.piece_bytes_max {
                        return last_boundary.unwrap_or(Cut::Inside { entries });
                    }
                }
            }
        }
        last_boundary.unwrap_or(Cut::Nothing)
    }

    /// The keys that the queue's first entries touch. Without a key there is one home.
    pub(super) fn keys_of(&self, entries: usize) -> Vec<KeyCells> {
        let Some(shape) = &self.shape else {
            return Vec::new();
        };
        let changes = self.queue.iter().take(entries).filter_map(|entry| match entry {
            Entry::Change { change, .. } => Some(change),
            Entry::Boundary { .. } | Entry::Message(_) => None,
        });
        changes.flat_map(|change| touch::keys(change, shape)).collect()
    }

    /// The server's answer to [`FeedStep::Route`]: for each key the number of bounds below it.
    pub fn routed(&mut self, homes: Vec<u32>) -> Option<FeedStep> {
        match std::mem::replace(&mut self.forming, Forming::Nothing) {
            Forming::Routing { entries } => self.judged(entries, homes.into_iter().map(Home).collect()),
            other => {
                self.forming = other;
                None
            }
        }
    }

    /// Judges the queue's first entries and forms a piece of those that need not wait.
    pub(super) fn judged(&mut self, entries: usize, homes: Vec<Home>) -> Option<FeedStep> {
        let pass = self.judge(entries, homes);
        self.blocked = pass.holds.is_some();
        self.truncate_waits = pass.holds == Some(Holds::Truncate);
        self.restarting |= pass.restarts;
        if pass.entries == 0 {
            return None;
        }
        let gathered = self.take(pass);
        Some(self.form(gathered))
    }

    /// In stream order, up to the first change that must be held: its whole transaction waits (R9). What of it was
    /// judged already is judged again later; that one of its changes was dropped before is no more than remembered.
    fn judge(&mut self, entries: usize, homes: Vec<Home>) -> Pass {
        let mut homes = homes.into_iter();
        // Of a table without a key, or without bounds, everything is at home in one chunk.
        let mut next_home = || homes.next().unwrap_or(Home(0));
        let (ledger, shape) = (&mut self.ledger, self.shape.as_ref());
        let mut pass = Pass {
            entries,
            applies: Vec::new(),
            holds: None,
            restarts: false,
        };
        let mut boundary = (0, 0);
        for (position, entry) in self.queue.iter().take(entries).enumerate() {
            let Entry::Change { xid, change, .. } = entry else {
                if matches!(entry, Entry::Boundary { .. }) {
                    boundary = (position + 1, pass.applies.len());
                }
                continue;
            };
            if matches!(change, Change::Truncate { .. }) {
                match ledger.judge_truncate(*xid) {
                    Truncation::Drop => pass.applies.push(false),
                    Truncation::Empty => pass.applies.push(true),
                    Truncation::Restart => {
                        pass.applies.push(true);
                        pass.restarts = true;
                    }
                    Truncation::Hold => pass.holds = Some(Holds::Truncate),
                }
            }
            let mut judge = |key: Option<&KeyCells>| match ledger.judge(next_home(), *xid, key) {
                Verdict::Drop => pass.applies.push(false),
                Verdict::Apply => pass.applies.push(true),
                Verdict::Hold => pass.holds = Some(Holds::Change),
            };
            match shape {
                Some(shape) => touch::keys(change, shape).for_each(|key| judge(Some(&key))),
                None if matches!(change, Change::Truncate { .. }) => {}
                None => judge(None),
            }
            if pass.holds.is_some() {
                let applies;
                (pass.entries, applies) = boundary;
                pass.applies.truncate(applies);
                break;
            }
        }
        pass
    }

    /// Takes what was judged from the queue; what is dropped ends here.
    fn take(&mut self, pass: Pass) -> Gathered {
        let mut gathered = Gathered::default();
        let mut applies = pass.applies.into_iter();
        for entry in self.queue.drain(..pass.entries) {
            match entry {
                Entry::Change { xid, change, times } => {
                    self.queue_changes -= 1;
                    self.queue_bytes -= cost(&change);
                    let before = gathered.touches.len();
                    let acts = touch::touches(change, self.shape.as_ref());
                    let judged = acts.zip(applies.by_ref());
                    let kept = judged.filter_map(|(act, applies)| applies.then_some(Touch { xid, act }));
                    gathered.touches.extend(kept);
                    if gathered.touches.len() > before {
                        gathered.count += times;
                    } else {
                        self.counts.dropped += times;
                    }
                }
                Entry::Message(content) => gathered.messages.push(content),
                Entry::Boundary { upto, .. } => gathered.end = Some(upto),
            }
        }
        gathered
    }
}
