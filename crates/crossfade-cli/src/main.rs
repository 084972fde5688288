//! The `crossfade` binary.
//!
//! ```text
//! args (what was typed) ─► meaning (what is meant) ─► command (what is done) ─► exit (what it came to)
//! ```
//!
//! Nothing here decides about rows, and nothing speaks SQL: this is printing, asking and mapping.

mod args;
mod codes;
mod command;
#[cfg(test)]
mod errors_page;
mod exit;
mod failure;
mod logging;
mod meaning;
mod output;
mod signals;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;
use crate::exit::Exit;
use crate::output::Console;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are no mistakes; clap prints each where it belongs.
        Err(error) => {
            error.print().ok();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return exit.into();
        }
    };
    arguments.color.apply();
    logging::start(&arguments);
    let console = Console::of(&arguments);
    match command::perform(arguments, console) {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report(console).into(),
    }
}
