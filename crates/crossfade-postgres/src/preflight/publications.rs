//! Would the shadow leak into another publication? One of all tables would send it, and its whole copy, to
//! subscribers that do not know it, which stops them (M20).

use crossfade_core::refusal::Refusal;

use super::{Context, refusal};

/// Publications of a schema do not see the shadow: it lives in a schema of its own.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let leaks = |name: &String| {
        refusal(
            "publication",
            format!("publication {name} of {}", context.table),
            "It publishes all tables: its subscribers would be sent the shadow.".to_owned(),
            "Drop it, or take the table out of it, before the change.",
        )
    };
    context.facts.publications_of_all.iter().map(leaks).collect()
}
