//! What a run reports: numbers and moments, for people and for `--json`.

use std::time::SystemTime;

use crossfade_core::migration::{Activity, Progress};
use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;
use crossfade_core::verify::{Difference, Verified};
use crossfade_core::way_back::Direction;
use serde::{Deserialize, Serialize};

/// The moments of a migration, in milliseconds since 1970 by the engine's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timeline {
    /// The engine that made it began.
    pub started: Option<u64>,
    /// The slot's snapshot was there; the copy began.
    pub copy_started: Option<u64>,
    /// The ledger row was committed.
    pub copy_ended: Option<u64>,
    /// The backlog was applied and all indexes were built.
    pub indexed: Option<u64>,
    /// Ready for a cutover for the first time.
    pub ready: Option<u64>,
    /// The successful attempt held its lock.
    pub locked: Option<u64>,
    /// The swap was committed.
    pub swapped: Option<u64>,
    /// The old table was in its place again.
    pub rolled_back: Option<u64>,
    /// Everything after the swap was done.
    pub ended: Option<u64>,
}

/// The last comparison of all rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verification {
    /// Which way: forward the new table had to be like the source, back the retired one like the new one.
    pub direction: Direction,
    /// Every row was compared, and none differs.
    pub equal: bool,
    /// When its result was there, in milliseconds since 1970 by the engine's clock.
    pub at: u64,
    /// The position at which the last pair of snapshots was aligned.
    pub aligned: Lsn,
    /// The slices were the whole table.
    pub whole: bool,
    /// Slices compared.
    pub slices: u32,
    /// Of these, slices that differ.
    pub slices_different: u32,
    /// Rows compared.
    pub rows: u64,
    /// Pairs of snapshots.
    pub pairs: u32,
    /// Rows that differ and are known by key, of a table without one by place.
    pub differences: Vec<Difference>,
    /// There are more of them.
    pub more: bool,
    /// Rows that had differed and were repaired right before it.
    pub repaired: u32,
    /// Columns that were not compared, because the server alone fills them.
    pub unverified: Vec<String>,
}

impl Verification {
    /// What the report says of it.
    pub(crate) fn new(direction: Direction, found: &Verified, unverified: Vec<String>) -> Self {
        Verification {
            direction,
            equal: found.is_equal(),
            at: now_ms(),
            aligned: found.aligned,
            whole: found.whole,
            slices: found.slices,
            slices_different: found.slices_different,
            rows: found.rows,
            pairs: found.pairs,
            differences: found.differences.clone(),
            more: found.more,
            repaired: found.repaired,
            unverified,
        }
    }
}

/// What a migration has done so far; kept in the state schema and added to by every engine that works on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Rows copied.
    pub rows_copied: u64,
    /// Row changes delivered by the stream.
    pub changes_delivered: u64,
    /// Of these, dropped because the copy contained them.
    pub changes_dropped: u64,
    /// Row changes applied.
    pub changes_applied: u64,
    /// Of these, under the cutover's lock.
    pub changes_last_drain: u64,
    /// Rows fetched from the source because the stream did not carry them whole.
    pub rows_fetched: u64,
    /// Cutover attempts.
    pub cutover_attempts: u32,
    /// How long the exclusive lock was held by the attempt that succeeded, in milliseconds.
    pub lock_held_ms: f64,
    /// How long others queued at the longest behind our request for the lock before we had it, over all attempts,
    /// in milliseconds.
    pub lock_queue_ms_max: f64,
    /// Sessions that waited for our lock when it was given back by the swap.
    pub sessions_waiting_at_swap: u32,
    /// Row changes applied to the retired table after the swap.
    pub changes_carried_back: u64,
    /// Transactions on the retired table that were not the engine's.
    pub strays: u64,
    /// Attempts to swap back.
    pub rollback_attempts: u32,
    /// How long the exclusive lock was held by the one that succeeded, in milliseconds.
    pub rollback_lock_held_ms: f64,
    /// The last comparison of all rows; none before the first, or if it was not wanted.
    pub verification: Option<Verification>,
    /// When what happened.
    pub timeline: Timeline,
}

/// What is going on, published as it changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// What the machine is at; `None` before it has started.
    pub activity: Option<Activity>,
    /// How far it has come, durably.
    pub phase: Phase,
    /// Held back by an operator.
    pub paused: bool,
    /// Why nothing more is begun: the gate for pace is closed.
    pub held_back: Option<String>,
    /// Numbers.
    pub progress: Progress,
    /// Rows that the copy is expected to have in all.
    pub rows_expected: u64,
    /// WAL between the insert position and the applied LSN, in bytes, as last measured.
    pub lag_bytes: u64,
    /// WAL that our slot retains, in bytes.
    pub retained_bytes: u64,
    /// A transaction that is waited for, for longer than usual, and what it waits for, or what is in the cutover's way; in
    /// words.
    pub waits_for: Option<String>,
    /// The last thing worth a line: an obstacle, a reconnection, a retry.
    pub note: Option<String>,
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
