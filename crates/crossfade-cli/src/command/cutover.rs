//! `crossfade cutover`: asks the running engine to swap as soon as it is ready.

use crossfade_coordinator::operate::{Request, request};

use super::{Context, running};
use crate::args::Named;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, Named { name }: Named) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    match request(&config, &name, Request::Cutover).await {
        Ok(true) => {
            let text = format!(
                "`{name}` will be cut over as soon as it is ready. See how it goes with `crossfade status {name}`."
            );
            Ok(running::taken(context.console, &name, &text))
        }
        Ok(false) => {
            let hint = format!(
                "Start one that swaps: `crossfade continue {name} --cutover auto`; of a move with --from URL and its hooks, \
                 too."
            );
            Ok(running::nobody_there(context.console, &name, &hint))
        }
        Err(ended) => running::explained(context.console, &name, Err(ended)),
    }
}
