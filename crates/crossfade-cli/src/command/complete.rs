//! `crossfade complete`: ends a migration whose tables have been swapped.

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::{moves, operate};

use super::{Context, running};
use crate::args::Complete;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: Complete) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let ended = match &typed.other.from {
        Some(from) => {
            let from = meaning::connection(Some(from))?;
            moves::complete(&from, &config, &typed.name, typed.drop).await
        }
        None => operate::complete(&config, &typed.name, typed.drop).await,
    };
    match ended {
        Ok(Ended::Done(_)) => {
            let name = &typed.name;
            let text = if typed.drop {
                format!("`{name}` is complete, and what it retired is dropped. The audit trail stays.")
            } else {
                format!("`{name}` is complete. `crossfade complete {name} --drop` drops what it retired.")
            };
            Ok(running::taken(context.console, name, &text))
        }
        ended => running::explained(context.console, &typed.name, ended),
    }
}
