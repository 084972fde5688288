//! Is the migration's name free?

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::{Context, refusal};

/// Slot, publication and schemas are named after the migration.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let taken = |object: &String| {
        refusal(
            RefusalCode::NameTaken,
            object.as_str(),
            format!("It exists, and a migration named {} would need it.", context.name),
            &format!(
                "Choose another --name, or end what is left of the former one with `crossfade abort {name}` or \
                 `crossfade complete {name}`.",
                name = context.name
            ),
        )
    };
    context.facts.taken.iter().map(taken).collect()
}
