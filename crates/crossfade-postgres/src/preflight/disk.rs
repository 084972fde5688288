//! Does the new table fit into the disk budget? Free disk is not visible from SQL, so this is by estimate.

use crossfade_core::code::{NoticeCode, RefusalCode};
use crossfade_core::refusal::{Notice, Refusal};

use super::{Context, refusal};
use crate::change::limits::show_bytes;

/// New table, indexes and the WAL that is retained meanwhile, against `disk_budget`.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let needed = context.estimate.disk_bytes + context.estimate.wal_bytes;
    match context.limits.disk_budget_bytes {
        Some(budget) if needed > budget => vec![refusal(
            RefusalCode::DiskBudget,
            context.table.to_string(),
            format!(
                "About {} are needed for the new table, its indexes and retained WAL, and the budget is {}.",
                about(needed),
                show_bytes(budget)
            ),
            "Make room and raise `disk_budget` in [limits].",
        )],
        _ => Vec::new(),
    }
}

/// `max_slot_wal_keep_size` below what the copy alone writes may cost us the slot.
pub(super) fn notices(context: &Context<'_>) -> Vec<Notice> {
    let wal = context.estimate.wal_bytes;
    match context.facts.server.slot_keeps_bytes {
        Some(kept) if kept < wal => vec![Notice {
            code: NoticeCode::SlotMayBeLost,
            object: "setting max_slot_wal_keep_size".to_owned(),
            message: format!(
                "It keeps {} for a slot, and the copy alone writes about {}: the server may invalidate our slot, \
                 and the run would have to start over.",
                show_bytes(kept),
                about(wal)
            ),
            offer: None,
        }],
        _ => Vec::new(),
    }
}

/// Rounded up to whole megabytes: it is an estimate.
pub(crate) fn about(bytes: u64) -> String {
    show_bytes(bytes.div_ceil(1 << 20) << 20)
}
