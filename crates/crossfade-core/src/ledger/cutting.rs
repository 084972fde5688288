//! How the keys are cut into chunks: what is read next, where it ends, and what is left of it.

use super::unproven::InTheWay;
use super::{Chunk, ChunkId, ChunkState, CopiedChunk, Ledger, Opening, Span, Unusable};
use crate::piece::KeyCells;
use crate::snapshot::Snapshot;

/// Between the numbers of two chunks that are cut one after the other.
const STRIDE: u64 = 1 << 32;

impl Ledger {
    /// Chunks of which none is recorded between two that are become one.
    pub(super) fn restore(&mut self, chunk: CopiedChunk) {
        let before = self.chunks.last().and_then(|last| last.upper.as_ref());
        if before != chunk.span.lower.as_ref() {
            // There was one between them, so there is a number.
            let below = self.chunks.last().map_or(0, |last| last.id.0);
            self.chunks.push(Chunk {
                id: ChunkId(below + (chunk.id.0 - below) / 2),
                upper: chunk.span.lower,
                state: ChunkState::Pending,
            });
        }
        self.chunks.push(Chunk {
            id: chunk.id,
            upper: chunk.span.upper,
            state: ChunkState::Copied(chunk.snapshot),
        });
    }

    fn next_id(&self) -> ChunkId {
        self.chunks
            .last()
            .map_or(ChunkId(0), |last| ChunkId(last.id.0 + STRIDE))
    }

    /// The next chunk to read, of about so many rows. `None`: nothing is left that need not wait for a proof, or a
    /// snapshot is out that is not registered yet.
    pub fn open(&mut self, rows: u64) -> Option<Opening> {
        if self.opening.is_some() || self.unproven.holds_up_all() {
            return None;
        }
        let opening = self.pending(rows).or_else(|| self.rest(rows))?;
        self.opening = Some(opening.id);
        Some(opening)
    }

    fn pending(&self, rows: u64) -> Option<Opening> {
        let pending = |index: &usize| self.chunks[*index].state == ChunkState::Pending;
        let free = |index: &usize| !self.unproven.holds_up(self.order(), &self.span(*index));
        let index = (0..self.chunks.len()).filter(pending).find(free)?;
        let Span { lower, upper } = self.span(index);
        Some(Opening {
            id: self.chunks[index].id,
            lower,
            limit: upper,
            rows: self.id_after(index).map(|_| rows),
        })
    }

    fn rest(&self, rows: u64) -> Option<Opening> {
        self.has_rest().then(|| Opening {
            id: self.next_id(),
            lower: self.last_bound(),
            limit: None,
            rows: Some(rows),
        })
    }

    fn span(&self, index: usize) -> Span {
        let before = index
            .checked_sub(1)
            .and_then(|before| self.chunks[before].upper.clone());
        Span {
            lower: before,
            upper: self.chunks[index].upper.clone(),
        }
    }

    fn last_bound(&self) -> Option<KeyCells> {
        self.chunks.last().and_then(|last| last.upper.clone())
    }

    /// A number for what is cut off a chunk, if there is room for one before the next chunk's.
    fn id_after(&self, index: usize) -> Option<ChunkId> {
        const SHARE: u64 = 4;
        let id = self.chunks[index].id.0;
        let next = self.chunks.get(index + 1).map_or(id + STRIDE, |next| next.id.0);
        let room = next - id;
        (room > 1).then(|| ChunkId(id + (room / SHARE).max(1)))
    }

    /// The snapshot that was taken for a chunk is released and will not be used.
    pub fn released(&mut self, id: ChunkId) {
        if self.opening.take_if(|opening| *opening == id).is_some() {
            self.outdated = false;
        }
    }

    /// A chunk that was opened is about to be read, up to `upper`, under `snapshot`. The snapshot sees every drop in it,
    /// and will not be followed by one that does not.
    ///
    /// # Errors
    /// The snapshot does not see everything of the chunk that the stream has passed, or the chunk is none any more. One
    /// that has to wait for what is late is cut off all the same: what comes behind it may be opened.
    pub fn register(
        &mut self,
        id: ChunkId,
        upper: Option<KeyCells>,
        snapshot: Snapshot,
    ) -> Result<(), Unusable> {
        if self.outdated {
            self.counts.outdated += 1;
            return Err(Unusable::Outdated);
        }
        let found = self.chunks.binary_search_by_key(&id, |chunk| chunk.id);
        let span = Span {
            lower: found.map_or_else(|_| self.last_bound(), |index| self.span(index).lower),
            upper,
        };
        if let Some(xid) = self.slot.as_ref().and_then(|slot| snapshot.misses(slot)) {
            self.counts.unseen_by_slot += 1;
            return Err(Unusable::NotProven { xid });
        }
        if let Some(InTheWay { xid, aside }) = self.unproven.in_the_way(self.order(), &span, &snapshot) {
            self.counts.unseen_drop += 1;
            if aside {
                self.counts.passed_over += 1;
                self.cut(id, span.upper, ChunkState::Pending)?;
            }
            return Err(Unusable::NotProven { xid });
        }
        self.prove(&snapshot);
        self.cut(id, span.upper, ChunkState::Copying(snapshot))?;
        self.opening = None;
        self.counts.registered += 1;
        Ok(())
    }

    /// The chunk ends at `upper`, and what is left of it is pending.
    fn cut(&mut self, id: ChunkId, upper: Option<KeyCells>, state: ChunkState) -> Result<(), Unusable> {
        let Ok(index) = self.chunks.binary_search_by_key(&id, |chunk| chunk.id) else {
            self.chunks.push(Chunk { id, upper, state });
            return Ok(());
        };
        if self.chunks[index].upper != upper {
            let left = Chunk {
                id: self.id_after(index).ok_or(Unusable::Outdated)?,
                upper: std::mem::replace(&mut self.chunks[index].upper, upper),
                state: ChunkState::Pending,
            };
            self.chunks.insert(index + 1, left);
            self.counts.cut_smaller += 1;
        }
        self.chunks[index].state = state;
        Ok(())
    }
}
