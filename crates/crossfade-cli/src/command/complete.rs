//! `crossfade complete`: ends a migration whose tables have been swapped.

use crossfade_coordinator::operate;

use super::{Context, running};
use crate::args::Complete;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: Complete) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let ended = operate::complete(&config, &typed.name, typed.drop).await;
    running::explained(context.console, &typed.name, ended)
}
