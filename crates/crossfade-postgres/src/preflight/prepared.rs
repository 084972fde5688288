//! Does a prepared transaction hold a lock on the table? It would hold up slot and cutover for as long as it
//! stays, and nobody may be there to end it.

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, refusal};
use crate::ident;

/// One refusal a transaction.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let held = |gid: &String| {
        let literal = ident::literal(gid);
        refusal(
            RefusalCode::PreparedTransaction,
            format!("prepared transaction {gid}"),
            format!("It holds a lock on {}.", context.table),
            &format!("Run `COMMIT PREPARED {literal}` or `ROLLBACK PREPARED {literal}`."),
        )
    };
    context.facts.prepared.iter().map(held).collect()
}
