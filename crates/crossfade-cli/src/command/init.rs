//! `crossfade init`: a commented change file to start from.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use super::{Context, planning};
use crate::args::Init;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{meaning, output};

pub(super) async fn perform(context: &Context, typed: Init) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let text = planning::template(&config, &typed.table).await?;
    if typed.out == Path::new("-") {
        output::print(&text);
        return Ok(Exit::Done);
    }
    write(&typed.out, &text, typed.force)?;
    let file = typed.out.display();
    context.console.object(&json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "file": typed.out,
    }));
    context.console.result(&format!(
        "Wrote {file}. Edit it, then look at `crossfade plan --change {file}`.\n"
    ));
    Ok(Exit::Done)
}

/// Somebody's edits are not written over unless asked.
fn write(file: &Path, text: &str, force: bool) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options
        .write(true)
        .truncate(force)
        .create(force)
        .create_new(!force);
    let written = options
        .open(file)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written
        .with_context(|| format!("write {}", file.display()))
        .map_err(|error| {
            Failure::usage(error).next("Give another file with --out, or replace it with --force.")
        })
}
