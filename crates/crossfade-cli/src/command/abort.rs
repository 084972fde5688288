//! `crossfade abort`: gives a migration up before its swap and leaves nothing but the audit trail.

use crossfade_coordinator::operate;

use super::{Context, running};
use crate::args::Named;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, Named { name }: Named) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let ended = operate::abort(&config, &name).await;
    running::explained(context.console, &name, ended)
}
