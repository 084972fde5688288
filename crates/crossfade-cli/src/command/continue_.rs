//! `crossfade continue`: ends a pause where an engine runs; else this process becomes the engine, of a change or of a move.

use crossfade_coordinator::operate::{Request, request};
use crossfade_coordinator::run::What;

use super::{Context, move_, running};
use crate::args::{Continue, Cutover};
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: Continue) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let (console, name) = (context.console, typed.name.clone());
    match request(&config, &name, Request::Continue).await {
        Ok(true) if typed.engine.cutover == Cutover::Auto => {
            match request(&config, &name, Request::Cutover).await {
                Ok(_) => Ok(running::taken(
                    console,
                    &name,
                    &format!("The engine of `{name}` goes on, and swaps as soon as it is ready."),
                )),
                Err(ended) => running::explained(console, &name, Err(ended)),
            }
        }
        Ok(true) => Ok(running::taken(
            console,
            &name,
            &format!("The engine of `{name}` goes on."),
        )),
        Ok(false) => {
            if let Some(from) = typed.other.from.clone() {
                return move_::go_on(console, (&from, &config), typed, false).await;
            }
            let options = meaning::run_options(&typed.engine);
            running::to_its_end(console, &config, &name, What::Resume(name.clone()), options).await
        }
        Err(ended) => running::explained(console, &name, Err(ended)),
    }
}
