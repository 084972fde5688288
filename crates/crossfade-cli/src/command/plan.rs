//! `crossfade plan`: what would run, or why it would not. Changes nothing.

use anyhow::Context as _;
use crossfade_core::plan::Plan;
use serde_json::json;

use super::{Context, planning};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{meaning, output};

pub(super) async fn perform(context: &Context, typed: args::Plan) -> Outcome {
    let request = meaning::change(&typed.change)?;
    let name = meaning::migration_name(typed.name, &request)?;
    let config = meaning::connection(context.url.as_deref())?;
    let planned = planning::plan(&config, &request, &name).await?;
    if let Some(file) = &typed.out {
        write(file, &planned.plan)?;
    }
    context.console.object(&json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "plan": planned.plan,
        "carried": planned.carried,
    }));
    context
        .console
        .result(&output::plan::render(&planned.plan, &planned.carried));
    context.console.note(&match &typed.out {
        Some(file) => format!(
            "\nNothing was changed. Run it with `crossfade run --plan {}`.",
            file.display()
        ),
        None => "\nNothing was changed. Run it with `crossfade run` and the same arguments.".to_owned(),
    });
    Ok(Exit::Done)
}

fn write(file: &std::path::Path, plan: &Plan) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(plan).context("put the plan into JSON");
    text.and_then(|text| {
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))
    })
    .map_err(Failure::usage)
}
