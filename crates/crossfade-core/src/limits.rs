//! The `[limits]` of a change: every bound of a run, each with a name and a unit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Durations in milliseconds, sizes in bytes: the form in which a plan stores them. The change file takes
/// `"2s"` and `"10 GB"` and is turned into this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The longest a run may take before it stops, resumable. `None`: no bound.
    pub execution_max_ms: Option<u64>,
    /// One attempt to get the cutover's locks; how long others may queue behind our request.
    pub lock_timeout_ms: u64,
    /// The longest the exclusive lock is held before it is given back.
    pub hold_budget_ms: u64,
    /// All cutover attempts together, waits included; then exit 22, resumable.
    pub cutover_max_ms: u64,
    /// The time that copying one range should take.
    pub chunk_time_ms: u64,
    /// The time after which copying one chunk is canceled, and the chunk cut smaller: until it is copied the changes
    /// behind it may have to wait, and the slot retains them.
    pub chunk_time_max_ms: u64,
    /// The pause between two ranges or chunks of the copy.
    pub chunk_delay_ms: u64,
    /// The time after which one pair of snapshots of the verification is let go for another. While it lives vacuum
    /// removes nothing newer, and DDL on the source waits.
    pub verify_time_ms: u64,
    /// The physical standby that is farthest behind may be this far behind before nothing more is begun. `None`: they
    /// are not looked at.
    pub replica_lag_max_ms: Option<u64>,
    /// As [`Limits::replica_lag_max_ms`], in bytes of WAL that it has not replayed.
    pub replica_lag_bytes_max: Option<u64>,
    /// The user's query: while it says true, or a number above [`Limits::pace_query_max`], nothing more is begun.
    pub pace_query: Option<String>,
    /// See [`Limits::pace_query`].
    pub pace_query_max: i64,
    /// WAL that our slot may retain before nothing more is begun until it is less. `None`: half of
    /// [`Limits::retained_wal_max_bytes`], if there is one.
    pub retained_wal_pace_bytes: Option<u64>,
    /// The time after which a transaction that the stream has brought and that is not visible yet (its commit waits for
    /// a synchronous standby) is named, and waited for only where it was at work.
    pub proof_wait_ms: u64,
    /// WAL that our slot may retain before the engine stops and drops *its* slot. `None`: no bound.
    pub retained_wal_max_bytes: Option<u64>,
    /// Disk that shadow, indexes and retained WAL may take, by estimate. `None`: not checked.
    pub disk_budget_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            execution_max_ms: None,
            lock_timeout_ms: 2_000,
            hold_budget_ms: 5_000,
            cutover_max_ms: 600_000,
            chunk_time_ms: 5_000,
            chunk_time_max_ms: 60_000,
            chunk_delay_ms: 0,
            verify_time_ms: 2_000,
            replica_lag_max_ms: None,
            replica_lag_bytes_max: None,
            pace_query: None,
            pace_query_max: 0,
            retained_wal_pace_bytes: None,
            proof_wait_ms: 5_000,
            retained_wal_max_bytes: None,
            disk_budget_bytes: None,
        }
    }
}

impl Limits {
    /// See [`Limits::lock_timeout_ms`].
    pub fn lock_timeout(&self) -> Duration {
        Duration::from_millis(self.lock_timeout_ms)
    }

    /// See [`Limits::hold_budget_ms`].
    pub fn hold_budget(&self) -> Duration {
        Duration::from_millis(self.hold_budget_ms)
    }

    /// See [`Limits::cutover_max_ms`].
    pub fn cutover_max(&self) -> Duration {
        Duration::from_millis(self.cutover_max_ms)
    }

    /// See [`Limits::chunk_time_ms`].
    pub fn chunk_time(&self) -> Duration {
        Duration::from_millis(self.chunk_time_ms)
    }

    /// See [`Limits::chunk_time_max_ms`].
    pub fn chunk_time_max(&self) -> Duration {
        Duration::from_millis(self.chunk_time_max_ms)
    }

    /// See [`Limits::proof_wait_ms`].
    pub fn proof_wait(&self) -> Duration {
        Duration::from_millis(self.proof_wait_ms)
    }

    /// See [`Limits::verify_time_ms`].
    pub fn verify_time(&self) -> Duration {
        Duration::from_millis(self.verify_time_ms)
    }

    /// See [`Limits::chunk_delay_ms`].
    pub fn chunk_delay(&self) -> Duration {
        Duration::from_millis(self.chunk_delay_ms)
    }

    /// See [`Limits::retained_wal_pace_bytes`].
    pub fn retained_wal_pace(&self) -> Option<u64> {
        let half = self.retained_wal_max_bytes.map(|max| max / 2);
        self.retained_wal_pace_bytes.or(half)
    }

    /// Whether the standbys' lag counts.
    pub fn wants_standbys(&self) -> bool {
        self.replica_lag_max_ms.is_some() || self.replica_lag_bytes_max.is_some()
    }
}
