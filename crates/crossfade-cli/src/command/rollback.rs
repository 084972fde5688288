//! `crossfade rollback`: asks the running engine to swap back; without one this process becomes it.

use crossfade_coordinator::operate::{Request, request};
use crossfade_coordinator::run::What;

use super::{Context, move_, running};
use crate::args::Continue;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: Continue) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let name = typed.name.clone();
    match request(&config, &name, Request::Rollback).await {
        Ok(true) => {
            let text = format!(
                "`{name}` will be rolled back as soon as the old table has caught up. See how it goes with `crossfade \
                 status {name}`."
            );
            Ok(running::taken(context.console, &name, &text))
        }
        Ok(false) => {
            if let Some(from) = typed.other.from.clone() {
                return move_::go_on(context.console, (&from, &config), typed, true).await;
            }
            let mut options = meaning::run_options(&typed.engine);
            options.roll_back = true;
            running::to_its_end(
                context.console,
                &config,
                &name,
                What::Resume(name.clone()),
                options,
            )
            .await
        }
        Err(ended) => running::explained(context.console, &name, Err(ended)),
    }
}
