//! `crossfade abort`: gives a migration up before its swap and leaves nothing but the audit trail.

use crossfade_coordinator::{moves, operate};

use super::{Context, running};
use crate::args::Abort;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, Abort { name, other }: Abort) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let ended = match &other.from {
        Some(from) => moves::abort(&meaning::connection(Some(from))?, &config, &name).await,
        None => operate::abort(&config, &name).await,
    };
    running::explained(context.console, &name, ended)
}
