//! What the machine wants done, and what it is told.

use std::time::Duration;

use crate::change::{Row, StreamItem};
use crate::cutover::{CutoverCommand, CutoverEvent};
use crate::detector::Seen;
use crate::ledger::{ChunkId, Opening, Span};
use crate::pace::Observation;
use crate::phase::Phase;
use crate::piece::{FetchKey, KeyCells, Piece};
use crate::position::Lsn;
use crate::snapshot::Snapshot;
use crate::verify::{Verified, VerifyCommand, VerifyEvent};

/// A range of the copy, by its number in the list that [`Event::SnapshotOpened`] announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RangeId(pub u32);

/// What the shell shall do. Unless said otherwise each is answered by exactly one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publication, schema, shadow → [`Event::Prepared`].
    Prepare,
    /// Write the phase down → [`Event::PhaseRecorded`].
    RecordPhase(Phase),
    /// Drop a slot of ours that is there, empty the target, lock, create the slot, import its snapshot, measure
    /// → [`Event::SnapshotOpened`].
    OpenSnapshot,
    /// Copy one range under the snapshot → [`Event::RangeCopied`].
    CopyRange(RangeId),
    /// Write the ledger row, the applied LSN and phase `copied` in one transaction → [`Event::ChunkRecorded`].
    RecordChunk {
        /// Where the stream begins.
        consistent_point: Lsn,
        /// What the copy read.
        snapshot: Snapshot,
        /// How many rows.
        rows: u64,
    },
    /// Let the snapshot go. Not answered.
    CloseSnapshot,
    /// Drop a slot of ours that is there, empty target and ledger, create the slot, write down where it begins
    /// → [`Event::SlotOpened`].
    OpenSlot,
    /// Lock the source, take a snapshot, find the chunk's end → [`Event::ChunkOpened`]. The snapshot is kept until
    /// [`Command::CopyChunk`] or [`Command::ReleaseChunk`] of the same chunk.
    OpenChunk(Opening),
    /// Copy the chunk under its snapshot, and its ledger row in the same transaction → [`Event::ChunkCopied`] or
    /// [`Event::ChunkFailed`].
    CopyChunk {
        /// Which.
        id: ChunkId,
        /// Its keys.
        span: Span,
    },
    /// Cancel the copy that runs, which takes too long. Not answered but by the answer to [`Command::CopyChunk`],
    /// whichever that is.
    CancelChunk {
        /// Which.
        id: ChunkId,
    },
    /// Let go of its snapshot. Not answered.
    ReleaseChunk {
        /// Which.
        id: ChunkId,
    },
    /// Stream from here → [`Event::Stream`], again and again.
    Follow {
        /// Everything that ended at or before it is applied.
        from: Lsn,
    },
    /// After the swap: stream the former source, which is the retired table now, from here on → [`Event::Detected`],
    /// again and again (R31).
    Detect {
        /// Everything that ended at or before it was looked at.
        from: Lsn,
    },
    /// Write down what the detector has seen → [`Event::SeenNoted`].
    NoteSeen(Seen),
    /// Tell the detector's slot. Not answered.
    AcknowledgeSeen(Lsn),
    /// The index by which changes are applied, unless it is there → [`Event::KeyIndexBuilt`].
    BuildKeyIndex,
    /// All other indexes and constraints that are not there → [`Event::IndexesBuilt`]. No piece is out meanwhile.
    BuildIndexes,
    /// → [`Event::Analyzed`].
    Analyze,
    /// Read the WAL insert position and make it durable, so that the stream passes it → [`Event::InsertPosition`].
    ReadInsertPosition,
    /// → [`Event::Routed`].
    Route {
        /// Keys.
        keys: Vec<KeyCells>,
        /// The bounds of all chunks.
        bounds: Vec<KeyCells>,
    },
    /// → [`Event::Classified`].
    Classify(Vec<KeyCells>),
    /// → [`Event::Fetched`].
    Fetch {
        /// Which rows.
        keys: Vec<FetchKey>,
        /// In the transaction of the last fetch, which is kept for this until [`Command::EndFetch`]; never under
        /// the lock, where every snapshot sees the same.
        same_snapshot: bool,
        /// In the cutover's own session, whose lock stands in everyone else's way.
        locked: bool,
        /// Before that: the last one came too early.
        pause: Duration,
    },
    /// The batch with fetched rows has ended: end the fetching transaction. Not answered.
    EndFetch,
    /// → [`Event::PieceApplied`], or [`Event::PieceRefused`].
    Apply(Piece),
    /// Tell the slot. Not answered.
    Acknowledge(Lsn),
    /// A step of the cutover → [`Event::Cutover`].
    Cutover(CutoverCommand),
    /// Publication and slot of the reverse stream → [`Event::BackPrepared`].
    PrepareBack,
    /// Write down where the reverse stream begins → [`Event::BackBegun`].
    BeginBack(Lsn),
    /// End the reverse stream and write down why → [`Event::BackClosed`].
    CloseBack {
        /// Everything committed at or before it is in the retired table.
        since: Lsn,
        /// What was refused, and which row.
        reason: String,
    },
    /// A step of the verification → [`Event::Verify`], or [`Event::Fetched`].
    Verify(VerifyCommand),
    /// The row that was refused has been taken: forget it → [`Event::BackReopened`].
    ReopenBack,
    /// End the streams, validate what the swap left unvalidated, drop slots that nobody reads any more → [`Event::Finished`].
    Finish,
    /// Nothing more will come.
    Stop(Stop),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// See [`Command::Prepare`].
    Prepared,
    /// See [`Command::RecordPhase`].
    PhaseRecorded,
    /// See [`Command::OpenSnapshot`].
    SnapshotOpened {
        /// The slot's consistent point.
        consistent_point: Lsn,
        /// Its snapshot.
        snapshot: Snapshot,
        /// Into how many ranges the source was cut.
        ranges: u32,
    },
    /// See [`Command::CopyRange`].
    RangeCopied {
        /// Which.
        range: RangeId,
        /// How many rows.
        rows: u64,
    },
    /// See [`Command::RecordChunk`].
    ChunkRecorded,
    /// See [`Command::OpenSlot`].
    SlotOpened {
        /// The slot's consistent point.
        consistent_point: Lsn,
        /// What its snapshot sees: none of it will be sent.
        snapshot: Snapshot,
    },
    /// See [`Command::OpenChunk`].
    ChunkOpened(OpenedChunk),
    /// See [`Command::CopyChunk`]: its rows and its ledger row are committed.
    ChunkCopied {
        /// Which.
        id: ChunkId,
        /// How many rows.
        rows: u64,
    },
    /// See [`Command::CopyChunk`]: nothing of it is committed, and it may be tried again.
    ChunkFailed {
        /// Which.
        id: ChunkId,
    },
    /// See [`Command::BuildKeyIndex`].
    KeyIndexBuilt,
    /// See [`Command::BuildIndexes`].
    IndexesBuilt,
    /// See [`Command::Analyze`].
    Analyzed,
    /// See [`Command::ReadInsertPosition`].
    InsertPosition(Lsn),
    /// What the reader delivered.
    Stream(StreamItem),
    /// What the detector's reader delivered.
    Detected(StreamItem),
    /// See [`Command::NoteSeen`].
    SeenNoted,
    /// See [`Command::Route`]: for each key the number of bounds below it.
    Routed(Vec<u32>),
    /// See [`Command::Classify`].
    Classified(Vec<u32>),
    /// See [`Command::Fetch`].
    Fetched {
        /// Under which snapshot.
        snapshot: Snapshot,
        /// One for each key, or for as many of the first ones as may be held at once; one at least.
        rows: Vec<Option<Row>>,
        /// The durable WAL insert position read after the snapshot.
        reach: Lsn,
    },
    /// See [`Command::Apply`].
    PieceApplied,
    /// The retired table does not take a row, and nothing of the batch is in it. Of the reverse stream only: in
    /// the other direction it ends the engine.
    PieceRefused {
        /// Why, and which row.
        reason: String,
    },
    /// See [`Command::PrepareBack`].
    BackPrepared,
    /// See [`Command::BeginBack`].
    BackBegun,
    /// See [`Command::CloseBack`].
    BackClosed,
    /// See [`Command::ReopenBack`].
    BackReopened,
    /// See [`Command::Cutover`].
    Cutover(CutoverEvent),
    /// See [`Command::Verify`].
    Verify(VerifyEvent),
    /// See [`Command::Finish`].
    Finished,
    /// An operator asked for something.
    Asked(Ask),
    /// A fresh snapshot, told unasked every half second or so: the stream's ids are widened by it, and what it sees is
    /// proved visible, also where nothing else asks.
    Reference(Snapshot),
    /// WAL that our slot retains, in bytes.
    RetainedWal(u64),
    /// What the gate for pace has to know.
    Observed(Observation),
    /// So many sessions may copy at the same time from now on, in place of [`Options::copiers`](super::Options::copiers).
    Copiers(usize),
}

/// A chunk whose snapshot is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedChunk {
    /// Which.
    pub id: ChunkId,
    /// Its keys.
    pub span: Span,
    /// What it will be read under.
    pub snapshot: Snapshot,
    /// The source's file (`relfilenode`) under the lock.
    pub file: u32,
    /// The WAL insert position, read under the lock: whatever replaced the file was committed before it.
    pub position: Lsn,
}

/// What an operator may ask for, from any machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Start no more ranges, index builds or cutover; changes go on being applied.
    Pause,
    /// Go on.
    Continue,
    /// Cut over when ready.
    Cutover,
    /// After the swap: go back.
    Rollback,
    /// Compare every row, when ready.
    Verify,
    /// The same, and repair rows that differ.
    Repair,
    /// Give up and leave nothing.
    Abort,
    /// The process was asked to end.
    Interrupt,
}

/// Why the machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The new table is in place, or the old one again, and everything after that is done.
    Done,
    /// Another machine goes on at once, from the durable state.
    Again,
    /// Asked to end; can go on.
    Interrupted,
    /// Asked to give up: the shell removes every trace.
    Aborted,
    /// The verification found rows that differ, or did not compare all; not to be cut over.
    NotEqual(Box<Verified>),
    /// The cutover was not achieved in its time; can go on.
    CutoverNotAchieved {
        /// The last obstacle, in words.
        obstacle: String,
        /// Attempts made.
        attempts: u32,
    },
    /// [`crate::limits::Limits::execution_max_ms`] has passed; can go on.
    OutOfTime,
    /// [`crate::limits::Limits::retained_wal_max_bytes`] is exceeded: the shell drops our slot.
    WalBudget {
        /// How much is retained, in bytes.
        retained: u64,
    },
    /// The source's file was replaced, and the stream brought no truncate (R4); the source is untouched.
    SourceRewritten,
    /// The stream brought what cannot be followed; the source is untouched.
    CannotFollow(crate::feed::FeedError),
}
