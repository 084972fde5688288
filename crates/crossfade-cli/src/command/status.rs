//! `crossfade status`: migrations and how far they are.

use crossfade_coordinator::operate;
use serde_json::json;

use super::Context;
use crate::args::Status;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{meaning, output};

pub(super) async fn perform(context: &Context, typed: Status) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let found = operate::status(&config, typed.name.as_ref()).await;
    let migrations = found.map_err(|ended| Failure::Engine {
        name: typed.name.clone(),
        ended,
    })?;
    context.console.object(&json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "migrations": migrations,
    }));
    let text = output::status::render(&migrations, typed.name.is_some());
    context.console.result(&text);
    Ok(Exit::Done)
}
