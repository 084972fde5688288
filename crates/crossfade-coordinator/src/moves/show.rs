//! What whoever watches the process sees: all tables as if they were one.

use crossfade_core::migration::{Activity, Progress};

use super::engine::Shown;
use crate::report::Status;

/// The sum of all tables, at what the one is at that is least far.
pub(crate) fn status(shown: &Shown) -> Status {
    let activities = shown.tables.iter().map(|table| table.activity);
    let least = activities.min_by_key(|activity| *activity as u8);
    let mut progress = Progress::default();
    for table in &shown.tables {
        let one = &table.progress;
        progress.ranges.0 += one.ranges.0;
        progress.ranges.1 += one.ranges.1;
        progress.rows_copied += one.rows_copied;
        progress.feed.delivered += one.feed.delivered;
        progress.feed.dropped += one.feed.dropped;
        progress.feed.applied += one.feed.applied;
        progress.feed.fetched += one.feed.fetched;
        progress.feed.batches += one.feed.batches;
        progress.waiting += one.waiting;
        progress.verify.slices += one.verify.slices;
        progress.verify.slices_different += one.verify.slices_different;
        progress.verify.rows += one.verify.rows;
    }
    let applied = shown.tables.iter().map(|table| table.progress.applied).min();
    progress.applied = applied.unwrap_or_default();
    Status {
        activity: match shown.handing_over {
            true => Some(Activity::CuttingOver),
            false => least,
        },
        phase: shown.phase,
        paused: shown.paused,
        held_back: None,
        progress,
        rows_expected: shown.rows_expected,
        lag_bytes: shown.lag_bytes,
        retained_bytes: shown.retained_bytes,
        waits_for: None,
        note: shown.note.clone(),
    }
}
