//! Would the shadow leak into another publication? One of all tables would send it, and its whole copy, to
//! subscribers that do not know it, which stops them (M20).

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, ServerFacts, refusal};

/// Publications of a schema do not see the shadow: it lives in a schema of its own.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let of_table = format!(" of {}", context.table);
    leaks(&context.facts.server, &of_table)
}

/// As [`check`], of any table.
pub(super) fn of_server(server: &ServerFacts) -> Vec<Refusal> {
    leaks(server, "")
}

fn leaks(server: &ServerFacts, of_table: &str) -> Vec<Refusal> {
    let leak = |name: &String| {
        refusal(
            RefusalCode::Publication,
            format!("publication {name}{of_table}"),
            "It publishes all tables: its subscribers would be sent the shadow.".to_owned(),
            "Drop it, or take the table out of it, before the change.",
        )
    };
    server.publications_of_all.iter().map(leak).collect()
}
