//! The incremental copy: which chunk is read next, how large it is, and when a snapshot may be used.
//!
//! ```text
//!  open ─► opened (snapshot, end) ─► registered ─► copying ─► copied
//!   ▲          │ not proven, outdated, another file   │
//!   └──────────┴─── released, after a pause  failed ──┘ canceled: it took too long, and is cut smaller
//! ```
//!
//! One chunk is opened at a time, since the next one begins where it ends; any number is copied at a time. A copy
//! never waits for the stream.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::feed::Feed;
use crate::ledger::{ChunkId, Unusable};
use crate::limits::Limits;
use crate::migration::{Command, OpenedChunk, Proofs};
use crate::plan::Estimate;
use crate::position::Lsn;

/// The source's file was replaced by something else than a truncate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceRewritten;

/// Rows of a chunk, whatever the times say.
const ROWS_MIN: u64 = 100;
const ROWS_MAX: u64 = 1_000_000;
/// The first chunk is small: nothing is known of the time that a row takes.
const FIRST_BYTES: u64 = 4 << 20;
const FIRST_ROWS_MAX: u64 = 1_000;
/// Between a snapshot that could not be used and the next one; it doubles from the first to the second.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);
/// A request to cancel may come between two statements, where it means nothing: it is repeated.
const CANCEL_AGAIN: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(crate) struct Chunks {
    chunk_time: Duration,
    /// See [`Limits::chunk_time_max_ms`].
    chunk_time_max: Duration,
    /// Rows of the next chunk.
    size: u64,
    /// Its snapshot is wanted, and may have been taken.
    opening: bool,
    opened: Option<OpenedChunk>,
    /// As many rows as the chunk that is opened may have at most, if it could be cut.
    opened_rows: Option<u64>,
    copying: BTreeMap<ChunkId, Running>,
    rows: u64,
    not_before: Option<Instant>,
    retry_pause: Duration,
    file: Option<File>,
}

/// A chunk that is being copied.
#[derive(Debug)]
struct Running {
    began: Instant,
    /// It may have so many; `None`: it cannot be cut smaller.
    rows: Option<u64>,
    /// When it is to be canceled, or canceled again; `None`: never.
    cancel_at: Option<Instant>,
    canceled: bool,
}

/// The source's file.
#[derive(Debug)]
struct File {
    number: u32,
    /// Truncates that had arrived when it was seen first.
    truncates: u64,
    /// Another file was found; what replaced it was committed before this position.
    replaced_before: Option<Lsn>,
}

impl Chunks {
    /// `rows` were copied by earlier engines.
    pub(crate) fn new(estimate: &Estimate, limits: &Limits, rows: u64) -> Self {
        let row_bytes = estimate.bytes / estimate.rows.max(1);
        Chunks {
            chunk_time: limits.chunk_time(),
            chunk_time_max: limits.chunk_time_max(),
            size: (FIRST_BYTES / row_bytes.max(1)).clamp(ROWS_MIN, FIRST_ROWS_MAX),
            opening: false,
            opened: None,
            opened_rows: None,
            copying: BTreeMap::new(),
            rows,
            not_before: None,
            retry_pause: RETRY_PAUSE,
            file: None,
        }
    }

    /// Rows copied.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Nothing is out.
    pub(crate) fn is_idle(&self) -> bool {
        !self.opening && self.copying.is_empty()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let cancel = self.copying.values().filter_map(|running| running.cancel_at);
        cancel.chain(self.not_before).min()
    }

    /// A snapshot was taken; it is used, or not, as soon as keys can be judged by it.
    pub(crate) fn opened(&mut self, opened: OpenedChunk) {
        self.opened = Some(opened);
    }

    /// Its rows and its ledger row are committed.
    pub(crate) fn copied(&mut self, now: Instant, id: ChunkId, rows: u64) {
        self.rows += rows;
        if let Some(running) = self.copying.remove(&id) {
            self.resize(rows, now.saturating_duration_since(running.began));
        }
    }

    /// Nothing of it is committed: it was being copied, or only opened.
    pub(crate) fn failed(&mut self, now: Instant, id: ChunkId) {
        match self.copying.remove(&id) {
            None => self.opening = false,
            // Of very large rows even the smallest chunk may be too large.
            Some(Running {
                rows: Some(rows),
                canceled: true,
                ..
            }) => self.size = self.size.min(rows / 2).max(1),
            Some(_) => self.size = (self.size / 2).max(self.rows_min()),
        }
        self.pause(now, RETRY_PAUSE_MAX);
    }

    fn rows_min(&self) -> u64 {
        self.size.min(ROWS_MIN)
    }

    /// What has been copied for too long is canceled (R9): until its rows are committed the stream may have to wait for
    /// them, and its snapshot keeps vacuum from working.
    fn cancel(&mut self, now: Instant) -> impl Iterator<Item = Command> {
        let due = self.copying.iter_mut().filter_map(move |(id, running)| {
            running.cancel_at.take_if(|moment| *moment <= now)?;
            running.cancel_at = Some(now + CANCEL_AGAIN);
            running.canceled = true;
            Some(Command::CancelChunk { id: *id })
        });
        due.collect::<Vec<_>>().into_iter()
    }

    /// Towards the size that takes the time wanted, by no more than a factor of two at once. What a chunk that was
    /// cut short took says little.
    fn resize(&mut self, rows: u64, took: Duration) {
        if rows * 2 < self.size {
            return;
        }
        let per_row = took.as_secs_f64().max(1e-6) / rows as f64;
        let wanted = (self.chunk_time.as_secs_f64() / per_row) as u64;
        let wanted = wanted.clamp(self.size / 2, self.size * 2);
        self.size = wanted.clamp(self.rows_min(), ROWS_MAX);
    }

    fn pause(&mut self, now: Instant, pause: Duration) {
        self.not_before = Some(now + pause);
    }

    /// What to do next: use or release the snapshot that was taken, and open another chunk if one of `copiers` is
    /// free for it.
    ///
    /// # Errors
    /// The source was rewritten.
    pub(crate) fn go_on(
        &mut self,
        now: Instant,
        feed: &mut Feed,
        proofs: &mut Proofs,
        copiers: usize,
    ) -> Result<Vec<Command>, SourceRewritten> {
        proofs.late(now).for_each(|xid| feed.wait_aside(xid));
        let mut commands: Vec<Command> = self.cancel(now).collect();
        if let Some(opened) = self.opened.take_if(|_| feed.may_register()) {
            commands.push(self.register(now, feed, proofs, opened)?);
        }
        if self.not_before.is_some_and(|moment| moment > now) {
            return Ok(commands);
        }
        self.not_before = None;
        if !self.opening
            && self.copying.len() < copiers
            && let Some(opening) = feed.open_chunk(self.size)
        {
            self.opening = true;
            self.opened_rows = opening.rows;
            commands.push(Command::OpenChunk(opening));
        }
        Ok(commands)
    }

    fn register(
        &mut self,
        now: Instant,
        feed: &mut Feed,
        proofs: &mut Proofs,
        opened: OpenedChunk,
    ) -> Result<Command, SourceRewritten> {
        let known = self.is_known_file(feed, &opened)?;
        let OpenedChunk {
            id, span, snapshot, ..
        } = opened;
        let outcome = if known && !feed.restarts_copy() {
            feed.register_chunk(id, span.upper.clone(), snapshot)
        } else {
            Err(Unusable::Outdated)
        };
        self.opening = false;
        Ok(match outcome {
            Ok(()) => {
                self.retry_pause = RETRY_PAUSE;
                self.begin(now, id);
                Command::CopyChunk { id, span }
            }
            Err(unusable) => {
                feed.chunk_released(id);
                if let Unusable::NotProven { xid } = unusable {
                    proofs.miss(now, xid);
                }
                self.pause(now, self.retry_pause);
                self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
                Command::ReleaseChunk { id }
            }
        })
    }

    fn begin(&mut self, now: Instant, id: ChunkId) {
        let rows = self.opened_rows.filter(|rows| *rows > 1);
        let running = Running {
            began: now,
            rows,
            cancel_at: rows.map(|_| now + self.chunk_time_max),
            canceled: false,
        };
        self.copying.insert(id, running);
    }

    /// Whether the source's file is the one that is being copied. A truncate replaces it, and comes in the stream;
    /// any other replacement is a rewrite (R4).
    fn is_known_file(&mut self, feed: &Feed, opened: &OpenedChunk) -> Result<bool, SourceRewritten> {
        let seen = File {
            number: opened.file,
            truncates: feed.truncates(),
            replaced_before: None,
        };
        let file = self.file.get_or_insert(seen);
        if file.number == opened.file {
            return Ok(true);
        }
        if feed.truncates() > file.truncates {
            self.file = None;
            return self.is_known_file(feed, opened);
        }
        if feed.received() >= *file.replaced_before.get_or_insert(opened.position) {
            return Err(SourceRewritten);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks() -> Chunks {
        let limits = Limits {
            chunk_time_ms: 1_000,
            ..Limits::default()
        };
        let estimate = Estimate {
            rows: 1_000_000,
            bytes: 100_000_000,
            ..Estimate::default()
        };
        Chunks::new(&estimate, &limits, 0)
    }

    #[test]
    fn sizes_follow_the_time_within_their_clamp() {
        let mut chunks = chunks();
        assert_eq!(chunks.size, FIRST_ROWS_MAX);
        chunks.resize(1_000, Duration::from_millis(1));
        assert_eq!(chunks.size, 2_000, "at most twice as many");
        chunks.resize(2_000, Duration::from_millis(1_250));
        assert_eq!(chunks.size, 1_600);
        chunks.resize(5, Duration::from_secs(9));
        assert_eq!(chunks.size, 1_600, "the last chunk says nothing");
        for _ in 0..20 {
            chunks.resize(chunks.size, Duration::from_secs(600));
        }
        assert_eq!(chunks.size, ROWS_MIN);
    }
}
