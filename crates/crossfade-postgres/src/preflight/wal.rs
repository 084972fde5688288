//! Can a slot be created and streamed from?

use crossfade_core::refusal::Refusal;

use super::{Context, refusal};

/// `wal_level`, free slots, free walsenders.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let facts = context.facts;
    let mut refusals = Vec::new();
    if facts.wal_level != "logical" {
        refusals.push(refusal(
            "wal_level",
            "setting wal_level",
            format!("It is {}: changes cannot be decoded.", facts.wal_level),
            "Set wal_level = logical and restart the server.",
        ));
    }
    let (needed, what) = match context.way_back {
        true => (2, "two are needed, one of them for the way back"),
        false => (1, "one is needed"),
    };
    if facts.slots_used + needed > facts.slots_max {
        refusals.push(refusal(
            "no_free_slot",
            "setting max_replication_slots",
            format!(
                "{} of {} replication slots are in use; {what}.",
                facts.slots_used, facts.slots_max
            ),
            "Drop a slot that nobody needs, raise max_replication_slots and restart the server, or do without a way back.",
        ));
    }
    if facts.senders_used + needed > facts.senders_max {
        refusals.push(refusal(
            "no_free_walsender",
            "setting max_wal_senders",
            format!(
                "{} of {} walsenders are in use; {what}.",
                facts.senders_used, facts.senders_max
            ),
            "Raise max_wal_senders and restart the server, or do without a way back.",
        ));
    }
    refusals
}
