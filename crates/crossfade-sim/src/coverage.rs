//! How often each branch, phase and fault was reached: a simulation that never reaches a place proves nothing
//! about it.

macro_rules! reached {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// A place that runs must reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reached {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Reached {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Reached] = &[$(Reached::$name,)+];
        }
    };
}

reached! {
    // The copy.
    /// The copy read the slot's own snapshot.
    SnapshotExact,
    /// The copy read a later one.
    SnapshotLate,
    /// The slot's creation waited for running transactions.
    SlotWaited,
    /// Two ranges were copied at the same time.
    RangesSideBySide,
    /// A target half filled was emptied.
    CopyBegunAgain,
    /// Two chunks were open at the same time.
    ChunksSideBySide,
    /// A chunk's snapshot was not used.
    ChunkReleased,
    /// A chunk's copy failed.
    ChunkFailed,
    /// It was canceled, since it took too long.
    ChunkCanceled,
    /// A proof of visibility was waited for long enough.
    ProofLate,
    /// Another chunk was opened meanwhile.
    ChunkOpenedAside,
    /// The server was asked where keys are at home.
    KeysRouted,
    /// A change was dropped for a chunk still to be read, and remembered.
    DropRecorded,
    /// Such drops were proven and forgotten.
    DropsProven,
    /// A truncate between two chunks.
    CopyRestarted,
    /// The target was compared while it was copied.
    ChunksChecked,
    /// An engine started with some chunks copied.
    StartedBetweenChunks,
    // The ledger, a branch each.
    /// Dropped for a chunk still to be read.
    LedgerPendingDropped,
    /// A change waited until it was known whether the snapshot that was taken is used.
    LedgerPendingHeld,
    /// Dropped, since the copy that runs sees it.
    LedgerCopyingDropped,
    /// Held for a copy that runs.
    LedgerCopyingHeld,
    /// Dropped, since the recorded chunk has it.
    LedgerCopiedDropped,
    /// Applied.
    LedgerCopiedApplied,
    /// A truncate that every copy sees, or will.
    LedgerTruncateDropped,
    /// A truncate that waits until no copy runs.
    LedgerTruncateHeld,
    /// A truncate of a target that was read before it.
    LedgerTruncateEmptied,
    /// A truncate that began the copy again.
    LedgerTruncateRestarted,
    /// A snapshot was registered.
    LedgerRegistered,
    /// A snapshot did not see a dropped change.
    LedgerUnseenDrop,
    /// A chunk was passed over, and those behind it read.
    LedgerPassedOver,
    /// A chunk was cut into smaller ones.
    LedgerCutSmaller,
    /// A snapshot did not see what the slot will not send.
    LedgerUnseenBySlot,
    /// A snapshot of a chunk that was none any more.
    LedgerOutdated,
    /// A chunk was pending again.
    LedgerFailed,
    /// The ledger was that of an alignment.
    LedgerAligned,
    // The feed.
    /// The copy contained it.
    ChangeDropped,
    /// It did not.
    ChangeApplied,
    /// A transaction larger than a piece.
    PieceInsideTransaction,
    /// A piece with rows from the source.
    PieceFetched,
    /// A batch of more than one piece.
    BatchOfManyPieces,
    /// A piece of nothing but its position.
    IdlePositionApplied,
    /// A fetch's snapshot did not see the change yet.
    FetchAskedAgain,
    /// A second fetch in the snapshot of the first.
    FetchInSameSnapshot,
    /// The rows were too heavy to be held at once.
    FetchAnsweredInPart,
    /// In the cutover's own session.
    FetchUnderLock,
    /// The row was not there any more.
    FetchedRowGone,
    /// The server was asked which keys are equal.
    KeysClassified,
    /// A piece that empties the target.
    TruncateApplied,
    /// A value was kept from the target's row.
    ValueKept,
    /// Deleted and inserted in one piece.
    RowReplaced,
    /// A unique value went from one row to another within a piece (R19).
    UniqueRetried,
    /// The stream had to wait.
    BackPressure,
    /// The target was compared before everything that the copy saw had come by.
    CopyAhead,
    /// The target was compared at a consistent boundary.
    ConsistentChecked,
    // The verification.
    /// Both snapshots were there, and showed one instant.
    Pinned,
    /// A change that had arrived was held, since the snapshot did not see it.
    AlignedHolding,
    /// The target was ahead of the applied LSN.
    AlignedAhead,
    /// A row was read under the alignment's snapshot.
    FetchAligned,
    /// A row was written anew by an alignment, as if it had differed.
    RowRepaired,
    /// A slice that was not the last.
    SliceOfMany,
    /// Every row was compared, and none differed.
    VerifiedEqual,
    /// Asked for by an operator.
    VerifyAsked,
    /// A snapshot did not see what was applied.
    PairInvisible,
    /// The rest of the stream did not come in time, or did not fit.
    PairGivenUp,
    // The gate for pace.
    /// A standby fell too far behind.
    GateClosed,
    /// It caught up.
    GateOpened,
    /// Changes were applied all the same.
    AppliedWhileClosed,
    // The cutover.
    /// No lock within the slice.
    LockTimedOut,
    /// The hold budget ran out.
    LockGivenBack,
    /// Somebody held an old snapshot.
    OldReadersWaitedFor,
    /// A reader waited for our lock.
    ReaderQueued,
    /// Known not to have been committed.
    SwapRolledBack,
    /// The answer was lost, the swap was not.
    SwapLostCommitted,
    /// Both were lost.
    SwapLostRolledBack,
    /// Changes were applied under the lock.
    DrainedChanges,
    /// Not achieved in its time.
    GaveUp,
    /// A swap succeeded after a failed attempt.
    SecondAttempt,
    /// The new table is in place.
    Swapped,
    /// Writers went on with it.
    WrittenAfterSwap,
    // The way back.
    /// Changes of our own last drain were in the stream before the swap.
    OwnDrainSkipped,
    /// So were messages of ours.
    OwnMessagesSkipped,
    /// The end of the swap was found and written down.
    BackBegun,
    /// The answer to one of the way back's own steps was lost, with its work or without.
    BackAnswerLost,
    /// The retired table was compared at a consistent boundary.
    BackChecked,
    /// It was compared while it was ahead of the applied LSN, after an alignment.
    BackAhead,
    /// A piece for the retired table with rows of the new one.
    PieceFetchedBack,
    /// A piece that empties the retired table.
    TruncateAppliedBack,
    /// A value was kept from the retired table's row.
    ValueKeptBack,
    /// A row of the retired table was deleted and inserted in one piece.
    RowReplacedBack,
    /// A unique value went from one row to another within a piece.
    UniqueRetriedBack,
    /// The retired table did not take a row.
    RowRefused,
    /// The way back was closed.
    BackClosed,
    /// It was opened again, and closed again.
    BackClosedAgain,
    /// It was open again.
    BackReopened,
    /// What mends the row did not fit into one piece with it.
    ClosedForGood,
    /// Asked for by an operator.
    VerifyBackAsked,
    /// Every row was compared, and none differed.
    VerifiedEqualBack,
    /// The slot of the way back retained too much.
    BackWalBudget,
    /// The old table is in its place again.
    RolledBack,
    /// Writers went on with it.
    WrittenAfterRollback,
    // Engines that started at a phase.
    /// An engine started where the way back had begun.
    StartedBack,
    /// An engine started where it was closed.
    StartedClosed,
    /// An engine started at the durable phase `rolled_back`.
    StartedRolledBack,
    /// An engine started at the durable phase `planned`.
    StartedPlanned,
    /// An engine started at the durable phase `prepared`.
    StartedPrepared,
    /// An engine started at the durable phase `copying`.
    StartedCopying,
    /// An engine started at the durable phase `copied`.
    StartedCopied,
    /// An engine started at the durable phase `following`.
    StartedFollowing,
    /// An engine started at the durable phase `ready`.
    StartedReady,
    /// An engine started at the durable phase `swapped`.
    StartedSwapped,
    /// An engine started at the durable phase `completed`.
    StartedCompleted,
    // Activities.
    /// See `Activity::Preparing`.
    AtPreparing,
    /// See `Activity::OpeningSnapshot`.
    AtOpeningSnapshot,
    /// See `Activity::Copying`.
    AtCopying,
    /// See `Activity::RecordingChunk`.
    AtRecordingChunk,
    /// See `Activity::BuildingKeyIndex`.
    AtBuildingKeyIndex,
    /// See `Activity::DrainingBacklog`.
    AtDrainingBacklog,
    /// See `Activity::BuildingIndexes`.
    AtBuildingIndexes,
    /// See `Activity::Draining`.
    AtDraining,
    /// See `Activity::Analyzing`.
    AtAnalyzing,
    /// See `Activity::Verifying`.
    AtVerifying,
    /// See `Activity::Ready`.
    AtReady,
    /// See `Activity::CuttingOver`.
    AtCuttingOver,
    /// See `Activity::Finishing`.
    AtFinishing,
    /// See `Activity::PreparingBack`.
    AtPreparingBack,
    /// See `Activity::SeekingSwap`.
    AtSeekingSwap,
    /// See `Activity::FollowingBack`.
    AtFollowingBack,
    /// See `Activity::BackClosed`.
    AtBackClosed,
    /// See `Activity::Stopped`.
    AtStopped,
    // Faults.
    /// `kill -9`.
    EngineCrashed,
    /// Power lost.
    ServerCrashed,
    /// The stream broke.
    ConnectionLost,
    /// `kill -9`, after the swap.
    EngineCrashedBack,
    /// Power lost, after the swap.
    ServerCrashedBack,
    /// The stream broke, after the swap.
    ConnectionLostBack,
    /// Everything stood still, after the swap.
    StalledBack,
    /// A statement of a dead engine committed before the next one began.
    DeadEngineCommitted,
    /// The answer to a batch's COMMIT was lost, and the batch with it.
    PieceAnswerLost,
    /// Only the answer was lost.
    PieceAnswerLostCommitted,
    /// The answer to the ledger row's COMMIT was lost.
    ChunkAnswerLost,
    /// A crash lost asynchronous commits.
    CommitsLost,
    /// A connection was slow.
    ConnectionSlow,
    /// A connection was dead, and its engine noticed after a while.
    ConnectionDead,
    /// Everything stood still for a while.
    Stalled,
    // The world.
    /// A commit record began exactly where another ended.
    CommitAdjoins,
    /// A commit could be decoded and not be seen.
    DecodedInvisible,
    /// A commit could be seen and be lost.
    VisibleUnflushed,
    /// A transaction committed after one that began later.
    CommitsOutOfOrder,
    /// 32-bit ids began again.
    EpochCrossed,
    /// Ids were used up by the hundreds of millions.
    XidsBurned,
    /// The source was truncated.
    Truncated,
    // Operators.
    /// Asked to hold back.
    Paused,
    /// Asked to go on.
    Continued,
    /// Asked to cut over.
    CutoverAsked,
    /// Asked to go back.
    RollbackAsked,
    /// Asked to end the way back.
    Completed,
    /// Asked to end.
    Interrupted,
    /// Gave up, and nothing was left.
    Aborted,
    /// The run's time was over.
    OutOfTime,
    /// The slot retained too much.
    WalBudget,
    /// A migration ended with all done.
    Done,
}

/// Counts of one run or of many.
#[derive(Clone, Debug)]
pub struct Coverage([u64; Reached::ALL.len()]);

impl Default for Coverage {
    fn default() -> Self {
        Coverage([0; Reached::ALL.len()])
    }
}

impl Coverage {
    pub(crate) fn reach(&mut self, place: Reached) {
        self.0[place as usize] += 1;
    }

    pub(crate) fn reach_often(&mut self, place: Reached, times: u64) {
        self.0[place as usize] += times;
    }

    /// How often.
    pub fn count(&self, place: Reached) -> u64 {
        self.0[place as usize]
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Coverage) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    /// Places that were never reached.
    pub fn missing(&self) -> impl Iterator<Item = Reached> {
        Reached::ALL
            .iter()
            .copied()
            .filter(|place| self.count(*place) == 0)
    }
}
