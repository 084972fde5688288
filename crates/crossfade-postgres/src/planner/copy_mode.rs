//! How the rows get into the target, and why so.
//!
//! The snapshot copy is the fastest, and everything that is written meanwhile, by us too, waits in the server's log.
//! So the choice is by how long that is and how much.

use crossfade_core::code::RefusalCode;
use crossfade_core::limits::Limits;
use crossfade_core::plan::{CopyMode, Estimate};
use crossfade_core::refusal::Refusal;

use crate::catalog::{Definition, Index};
use crate::change::CopyRequest;
use crate::change::limits::{show_bytes, show_milliseconds};
use crate::preflight::{self, refusal};

/// A snapshot copy that takes longer pins dead rows and log for longer than `auto` accepts.
const SNAPSHOT_SECONDS_MAX: u64 = 600;
/// What a copy is taken to move in a second. A guess on the slow side; the run measures.
const BYTES_PER_SECOND: u64 = 30 << 20;
/// The copy's own log may take this part of what the slot may retain; the rest is the application's.
const RETAINED_SHARE: u64 = 3;

/// What the choice is made from.
pub(crate) struct Pieces<'a> {
    pub(crate) asked: CopyRequest,
    pub(crate) definition: &'a Definition,
    /// The key's columns; none if the table has no key.
    pub(crate) key: &'a [&'a str],
    pub(crate) estimate: &'a Estimate,
    /// Of everything that is copied under the same snapshot, this table among it.
    pub(crate) together: Estimate,
    pub(crate) limits: &'a Limits,
    /// What stands in the way of chunks beside the table itself.
    pub(crate) beside: Option<&'a str>,
    /// `max_slot_wal_keep_size`.
    pub(crate) slot_keeps_bytes: Option<u64>,
}

impl Pieces<'_> {
    /// The mode and the reason, or why the one that was asked for cannot be.
    pub(super) fn choose(&self) -> Result<(CopyMode, String), Refusal> {
        match (self.asked, self.obstacle()) {
            (CopyRequest::Incremental, Some(obstacle)) => Err(self.refused(&obstacle)),
            (_, obstacle) => Ok(self.chosen(obstacle)),
        }
    }

    /// The mode and the reason: the one that was asked for, where it can be.
    pub(crate) fn choose_what_can_be(&self) -> (CopyMode, String) {
        self.chosen(self.obstacle())
    }

    fn chosen(&self, obstacle: Option<String>) -> (CopyMode, String) {
        match (self.asked, obstacle) {
            (CopyRequest::Snapshot, _) => (CopyMode::Snapshot, self.snapshot("asked for")),
            (CopyRequest::Incremental | CopyRequest::Auto, Some(obstacle)) => {
                (CopyMode::Snapshot, self.snapshot(&obstacle))
            }
            (CopyRequest::Incremental, None) => (CopyMode::Incremental, self.incremental("asked for")),
            (CopyRequest::Auto, None) => self.weigh(),
        }
    }

    fn weigh(&self) -> (CopyMode, String) {
        let seconds = self.together.bytes / BYTES_PER_SECOND;
        if seconds > SNAPSHOT_SECONDS_MAX {
            let why = format!(
                "one snapshot would be held for about {} minutes",
                seconds.div_ceil(60)
            );
            return (CopyMode::Incremental, self.incremental(&why));
        }
        if let Some((name, kept)) = self.bound()
            && self.together.wal_bytes > kept / RETAINED_SHARE
        {
            let why = format!(
                "the server may keep {} of WAL for our slot ({name}), and a copy under one snapshot writes about {} \
                 before any of it can be let go",
                show_bytes(kept),
                preflight::about(self.together.wal_bytes)
            );
            return (CopyMode::Incremental, self.incremental(&why));
        }
        (CopyMode::Snapshot, self.snapshot("the fastest way"))
    }

    fn snapshot(&self, why: &str) -> String {
        let kept = match self.bound() {
            Some((name, bytes)) => format!("up to {name} ({})", show_bytes(bytes)),
            None => "without bound: set retained_wal_max to have one".to_owned(),
        };
        format!(
            "{why}: about {} under one snapshot, by several copiers at once; meanwhile the server keeps all WAL for \
             our slot, {kept}",
            preflight::about(self.estimate.bytes)
        )
    }

    fn incremental(&self, why: &str) -> String {
        format!(
            "{why}: about {} in chunks of about {}, each under a snapshot of its own, while changes are applied; goes \
             on with the next chunk after a crash",
            preflight::about(self.estimate.bytes),
            show_milliseconds(self.limits.chunk_time_ms)
        )
    }

    /// The smaller of the two bounds of what our slot may retain.
    fn bound(&self) -> Option<(&'static str, u64)> {
        let limit = self.limits.retained_wal_max_bytes;
        let bounds = [
            limit.map(|bytes| ("retained_wal_max", bytes)),
            self.slot_keeps_bytes
                .map(|bytes| ("max_slot_wal_keep_size", bytes)),
        ];
        bounds.into_iter().flatten().min_by_key(|(_, bytes)| *bytes)
    }

    /// What stands in the way of copying in chunks.
    fn obstacle(&self) -> Option<String> {
        if self.key.is_empty() {
            return Some("the table has no key to cut it by".to_owned());
        }
        if let Some(beside) = self.beside {
            return Some(beside.to_owned());
        }
        let reads_in_order = |index: &&Index| {
            let columns = index.columns.iter().map(Option::as_deref);
            let of_key = columns.eq(self.key.iter().map(|name| Some(*name)));
            of_key && index.valid && index.predicate.is_none() && is_plain(&index.definition)
        };
        let index = self.definition.indexes.iter().find(reads_in_order);
        index
            .is_none()
            .then(|| "no index has the key's columns in their own order".to_owned())
    }

    fn refused(&self, obstacle: &str) -> Refusal {
        refusal(
            RefusalCode::NoChunks,
            self.definition.name.to_string(),
            format!("It cannot be copied in chunks: {obstacle}."),
            "Use `--copy snapshot`, or give the table a primary key on plain columns.",
        )
    }
}

/// A B-tree over its columns as `ORDER BY` sorts them.
fn is_plain(definition: &str) -> bool {
    let other = ["DESC", "COLLATE", "NULLS FIRST", "_ops"];
    definition.starts_with("btree (") && !other.iter().any(|word| definition.contains(word))
}
