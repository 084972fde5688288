//! What stands beside the source row where a target's expressions are evaluated, and which rows of it count.

use crossfade_core::plan::Target;

use crate::ident::{self, Ident};

/// What the rows of the call are called beside the source row. Columns are unqualified, so nobody names it.
const CALLED: &str = "crossfade rows";

/// Follows the source row in a `FROM`: the target's set-returning call, or nothing.
pub(crate) fn beside(target: &Target) -> String {
    let rows = target.derived.as_ref().and_then(|derived| derived.rows.as_ref());
    rows.map_or(String::new(), |rows| {
        // On a line of its own, so that a comment in the text ends before the parenthesis.
        format!(
            "\n CROSS JOIN LATERAL ROWS FROM (\n{}\n) WITH ORDINALITY AS {} ({})",
            rows.call.sql,
            Ident(CALLED),
            ident::list(rows.columns.iter().map(String::as_str)),
        )
    })
}

/// The target's filter as a further condition, or nothing.
pub(crate) fn filtered(target: &Target) -> String {
    let filter = target.filter.as_ref();
    filter.map_or(String::new(), |filter| format!("\n   AND ({})", filter.sql))
}

/// Before a target's name, where nothing but its own rows is meant: those of a partitioned one are in its partitions.
pub(crate) fn only(target: &Target) -> &'static str {
    if target.partitioned { "" } else { "ONLY " }
}
