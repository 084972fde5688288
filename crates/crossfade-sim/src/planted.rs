//! Bugs planted at the shell's side of the boundary. A checker that none of them trips is not a checker.

/// A broken shell. The core's own rules are broken by the patches in `tests/planted/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// R22: tells the slot what was received.
    AcknowledgesReceived,
    /// R24: statements of a dead engine commit when they like.
    NoGuard,
    /// R27: the cutover's lock lets writers through.
    LockIsShared,
    /// The applied LSN commits before the rows.
    ApplyNotAtomic,
    /// R28: the marker is planted when the lock is asked for.
    MarkerBeforeLock,
    /// R17: the position is read before the fetch's snapshot.
    ReachBeforeSnapshot,
    /// §1: a commit that begins exactly at the applied LSN is taken for applied.
    SkipsCommitAtApplied,
    /// R4: a fetch takes no lock on the source, and so may meet a `TRUNCATE`.
    FetchWithoutLock,
    /// M18: transactions with old snapshots are not listed.
    OldReadersUnlisted,
    /// R11: a copy that begins again finds the rows of the former one.
    TargetNotEmptied,
    /// R29: swaps again when the answer was lost.
    SwapsAgain,
    /// R12: puts before deletes.
    PutsBeforeDeletes,
    /// §2: the copy's snapshot misses commits that are before the consistent point and not yet visible.
    SnapshotMissesDecoded,
    /// R12: keys are classified by their bytes.
    ClassifiesByBytes,
    /// R6: what was dropped before its chunk was read is forgotten by a crash.
    DropsNotRecorded,
    /// R4: a chunk is read without a lock on the source.
    ChunkWithoutLock,
    /// R4: so is what the verification compares.
    PairWithoutLock,
    /// R17: a fetch within an alignment reads under a later snapshot than the alignment's.
    AlignedFetchReadsLater,
    /// R26: what a repair writes is read under a later snapshot than the alignment's.
    RepairReadsLater,
    /// R31: the applier of the way there goes on after the swap.
    Echoes,
    /// R19: rows that are taken out and put back lose the values that are to be kept.
    RetryForgetsKept,
    /// R19, R32: rows that are taken out and put back lose what only the target has.
    RetryForgetsColumns,
    /// R11: a range is reported copied before its rows are committed.
    RangeReportedEarly,
}
