//! Can a slot be created and streamed from, without delay?

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, ServerFacts, refusal};

/// `wal_level`, free slots, free walsenders, and standbys that the stream waits for.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    of_server(&context.facts.server, context.way_back)
}

/// As [`check`], of any migration.
pub(super) fn of_server(server: &ServerFacts, way_back: bool) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    if server.wal_level != "logical" {
        refusals.push(refusal(
            RefusalCode::WalLevel,
            "setting wal_level",
            format!("It is {}: changes cannot be decoded.", server.wal_level),
            "Set wal_level = logical and restart the server.",
        ));
    }
    let (needed, what) = match way_back {
        true => (2, "two are needed, one of them for the way back"),
        false => (1, "one is needed"),
    };
    if server.slots_used + needed > server.slots_max {
        refusals.push(refusal(
            RefusalCode::NoFreeSlot,
            "setting max_replication_slots",
            format!(
                "{} of {} replication slots are in use; {what}.",
                server.slots_used, server.slots_max
            ),
            "Drop a slot that nobody needs, raise max_replication_slots and restart the server, or do without a way back.",
        ));
    }
    if server.senders_used + needed > server.senders_max {
        refusals.push(refusal(
            RefusalCode::NoFreeWalsender,
            "setting max_wal_senders",
            format!(
                "{} of {} walsenders are in use; {what}.",
                server.senders_used, server.senders_max
            ),
            "Raise max_wal_senders and restart the server, or do without a way back.",
        ));
    }
    refusals.extend(server.awaited_standbys.iter().map(|slot| {
        refusal(
            RefusalCode::StandbyAwaited,
            "setting synchronized_standby_slots",
            format!("It names the slot {slot}, which nobody streams from: changes would not be sent to us."),
            "Start that standby, or take its slot out of synchronized_standby_slots and reload.",
        )
    }));
    refusals
}
