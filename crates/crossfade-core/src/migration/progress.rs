//! Where a machine is and how far it has come, for people.

use crate::detector::Strays;
use crate::feed::FeedCounts;
use crate::ledger::LedgerCounts;
use crate::position::Lsn;
use crate::verify::VerifyProgress;

use super::Invisible;

/// Numbers for progress and report; counted since this engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Ranges of the copy, or chunks that are known so far, and how many are done.
    pub ranges: (u32, u32),
    /// Rows copied.
    pub rows_copied: u64,
    /// See [`FeedCounts`].
    pub feed: FeedCounts,
    /// See [`LedgerCounts`].
    pub ledger: LedgerCounts,
    /// Changes applied under the cutover's lock.
    pub last_drain: u64,
    /// Changes that wait in memory.
    pub waiting: usize,
    /// See [`crate::feed::Feed::applied`].
    pub applied: Lsn,
    /// See [`crate::feed::Feed::received`].
    pub received: Lsn,
    /// Cutover attempts so far.
    pub attempts: u32,
    /// A transaction that is waited for, for longer than usual; what it has not touched goes on.
    pub invisible: Option<Invisible>,
    /// See [`VerifyProgress`].
    pub verify: VerifyProgress,
    /// See [`Strays`].
    pub strays: Strays,
}

/// What the machine is at. One line of the module's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Publication, schema, shadow.
    Preparing,
    /// Slot and snapshot.
    OpeningSnapshot,
    /// Copying ranges.
    Copying,
    /// Writing the ledger row.
    RecordingChunk,
    /// Building the index by which changes are applied.
    BuildingKeyIndex,
    /// Applying what came during the copy.
    DrainingBacklog,
    /// Building the other indexes.
    BuildingIndexes,
    /// Applying what came during the index builds.
    Draining,
    /// `ANALYZE`.
    Analyzing,
    /// Comparing every row.
    Verifying,
    /// Following; a cutover may be asked for.
    Ready,
    /// Publication and slot of the reverse stream.
    PreparingBack,
    /// In a cutover.
    CuttingOver,
    /// After the swap.
    Finishing,
    /// Reading the reverse stream up to the swap.
    SeekingSwap,
    /// The retired table follows; a rollback may be asked for.
    FollowingBack,
    /// The retired table has refused a row.
    BackClosed,
    /// Ended.
    Stopped,
}
