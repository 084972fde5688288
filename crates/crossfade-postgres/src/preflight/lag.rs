//! May our role see how far standbys are behind, if the change is to wait for them?

use crossfade_core::code::NoticeCode;
use crossfade_core::refusal::Notice;

use super::Context;
use crate::ident::Ident;

/// A limit on their lag that cannot be kept.
pub(super) fn notice(context: &Context<'_>) -> Option<Notice> {
    if !context.limits.wants_standbys() || context.facts.server.may_see_lag {
        return None;
    }
    let role = Ident(&context.facts.server.role);
    Some(Notice {
        code: NoticeCode::ReplicaLagHidden,
        object: format!("role {}", context.facts.server.role),
        message: "It may not see how far standbys are behind: replica_lag_max and replica_lag_bytes_max hold nothing \
                  back, and only a pace_query of yours does."
            .to_owned(),
        offer: Some(format!("GRANT pg_read_all_stats TO {role}")),
    })
}
