//! Would row security hide rows from us? Then the copy would fail rather than be whole.

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, refusal};
use crate::ident::Ident;

/// Applies to owners too under `FORCE ROW LEVEL SECURITY`.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    if !context.facts.row_security_applies {
        return Vec::new();
    }
    vec![refusal(
        RefusalCode::RowSecurityApplies,
        context.table.to_string(),
        "Its policies filter what our role reads.".to_owned(),
        &format!(
            "As a superuser run `ALTER ROLE {} BYPASSRLS`.",
            Ident(&context.facts.server.role)
        ),
    )]
}
