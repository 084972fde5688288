//! What a checker may find.

use crossfade_core::migration::{Activity, Stop};
use crossfade_core::position::Lsn;

use crate::row::Row;

/// A promise of the protocol that was broken, or a contract between machine and shell.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// R1: a duplicate in the copy is a bug and surfaces as one.
    #[error("the copy met key {key}, which is in the target already")]
    CopyMetDuplicate {
        /// The key.
        key: u8,
    },
    /// At the end of a batch the target is not the transform of the source.
    #[error("{} differs at {at} in key {}: expected {:?}, found {:?}", .place, .difference.key, .difference.expected, .difference.found)]
    Differs {
        /// What was compared.
        place: Place,
        /// As of which position.
        at: Lsn,
        /// The first difference.
        difference: Difference,
    },
    /// M18: a reader's snapshot is older than the rows of the table that it will read.
    #[error("the swap committed while reader {pid} holds a snapshot older than the last apply")]
    OldReader {
        /// The reader.
        pid: i32,
    },
    /// R22.
    #[error("acknowledged {acknowledged}, and only {applied} is applied durably")]
    AcknowledgedTooMuch {
        /// What the slot was told.
        acknowledged: Lsn,
        /// What is durable.
        applied: Lsn,
    },
    /// R16: a keep-update is never a no-op.
    #[error("a value of key {key} is to be kept and the target has no such row")]
    KeptNothing {
        /// The key.
        key: u8,
    },
    /// R16: an expression mixes a missing column with others.
    #[error("key {key} keeps a column that an expression mixes with others")]
    KeptMixed {
        /// The key.
        key: u8,
    },
    /// R19, R25: the source has no such violation at any commit, so neither has a consistent target.
    #[error("code {code} is in the target twice")]
    NotUnique {
        /// The value.
        code: u32,
    },
    /// Within a piece every key occurs at most once in each list.
    #[error("key {key} occurs twice in a piece")]
    RepeatedInPiece {
        /// The key.
        key: u8,
    },
    /// A piece or answer that nobody can read.
    #[error("a row or key of the piece is not one of the table's")]
    Unreadable,
    /// Pieces out of order, twice at a time, or without their batch.
    #[error("a piece came that does not belong to the open batch")]
    PieceOutOfTurn,
    /// R25: the applier is stopped while indexes are built.
    #[error("a piece or fetch is out while indexes are built")]
    BusyDuringIndexBuild,
    /// Our own lock stands in its way.
    #[error("a fetch waits for the cutover's own lock")]
    FetchBehindOwnLock,
    /// The cutover's session is asked for rows when it holds no lock.
    #[error("a fetch in the cutover's session, which does not hold the lock")]
    FetchWithoutOwnLock,
    /// A snapshot is to be used again whose transaction has ended.
    #[error("a fetch in the transaction of another, which is not open")]
    NoFetchOpen,
    /// R27.
    #[error("the swap ran without the exclusive lock")]
    SwapWithoutLock,
    /// R29.
    #[error("the swap ran twice")]
    SwappedTwice,
    /// R31: the reverse stream begins at the end of the swap's commit record.
    #[error("the way back begins at {at}, and the swap's commit record ends at {swap}")]
    BeginsElsewhere {
        /// As written down.
        at: Lsn,
        /// As it is.
        swap: Lsn,
    },
    /// R32: what is told of a closed way back.
    #[error("the way back is said to be closed since {since}, and has come to {applied}")]
    ClosedElsewhere {
        /// As told.
        since: Lsn,
        /// As it is.
        applied: Lsn,
    },
    /// R31: the slot of the way back is there before the swap is.
    #[error("the new table is in place, and there is no slot for the way back")]
    NoWayBack,
    /// An engine that was started again after the end.
    #[error("the migration ended, was continued, and ended otherwise")]
    EndedOtherwise,
    /// Too little has happened to prove much.
    #[error("a seed of {chunks} chunks and {faults} faults")]
    Small {
        /// Chunks or ranges copied.
        chunks: u64,
        /// Faults.
        faults: u64,
    },
    /// What can wait began while the gate for pace was closed.
    #[error("began while the gate for pace was closed: {command}")]
    BegunWhileClosed {
        /// What.
        command: String,
    },
    /// Nothing fails any more and the migration does not end.
    #[error("no end after {steps} quiet steps, at {activity:?}")]
    NoProgress {
        /// Quiet steps.
        steps: u64,
        /// What the machine is at; `None` between two engines.
        activity: Option<Activity>,
    },
    /// A stop that this world gives no reason for.
    #[error("stopped with {stop:?}")]
    Stopped {
        /// The reason given.
        stop: Stop,
    },
    /// A panic in a machine.
    #[error("panic: {message}")]
    Panicked {
        /// Its message.
        message: String,
    },
}

/// What was compared with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Target and transform of the source as of the applied LSN.
    Target,
    /// R26: target and transform of the source under a pair of snapshots.
    Pair,
    /// Target and transform of the source's latest committed state, at the swap.
    Swap,
    /// Target and what is known of it without the engine, at the swap: with the column that only it has.
    SwapHistory,
    /// The table that applications use and their acknowledged commits, at the end.
    Ledger,
    /// The table's row versions and its commits: the world checks itself.
    Source,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Place::Target => "the target",
            Place::Pair => "the pair of snapshots",
            Place::Swap => "the swapped-in table",
            Place::SwapHistory => "the swapped-in table's history",
            Place::Ledger => "the writers' ledger",
            Place::Source => "the source",
        })
    }
}

/// The first key in which two tables differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: u8,
    /// The row that should be there, for people.
    pub expected: Option<String>,
    /// The row that is there.
    pub found: Option<String>,
}

impl Difference {
    pub(crate) fn new(key: u8, expected: Option<&Row>, found: Option<&Row>) -> Self {
        let show = |row: Option<&Row>| row.map(|row| format!("{row:?}"));
        Difference {
            key,
            expected: show(expected),
            found: show(found),
        }
    }
}
