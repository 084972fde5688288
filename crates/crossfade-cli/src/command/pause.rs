//! `crossfade pause`: no more copying, index builds or cutover until `crossfade continue`.

use crossfade_coordinator::operate::{Request, request};

use super::{Context, running};
use crate::args::Named;
use crate::failure::Outcome;
use crate::meaning;

pub(super) async fn perform(context: &Context, Named { name }: Named) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    match request(&config, &name, Request::Pause).await {
        Ok(true) => {
            let text = format!(
                "`{name}` is paused; changes go on being applied. End it with `crossfade continue {name}`."
            );
            Ok(running::taken(context.console, &name, &text))
        }
        Ok(false) => {
            let hint = format!("It stays paused when one does, until `crossfade continue {name}`.");
            Ok(running::nobody_there(context.console, &name, &hint))
        }
        Err(ended) => running::explained(context.console, &name, Err(ended)),
    }
}
