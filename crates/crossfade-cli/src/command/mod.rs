//! The subcommands, one file each.

mod abort;
mod bench;
mod check;
mod complete;
mod continue_;
mod cutover;
mod demo;
mod explain;
mod grants;
mod init;
mod move_;
mod pause;
mod plan;
mod planning;
mod rollback;
mod run;
mod running;
mod status;
mod verify;

use crate::args::{Arguments, Command};
use crate::failure::{Failure, Outcome};
use crate::output::Console;

/// What every command is given.
pub(crate) struct Context {
    /// `--url`, as typed.
    pub(crate) url: Option<String>,
    /// How to talk.
    pub(crate) console: Console,
}

/// Does what was asked for.
pub(crate) fn perform(arguments: Arguments, console: Console) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::no_access)?;
    let context = Context {
        console,
        url: arguments.url,
    };
    let outcome = runtime.block_on(dispatch(&context, arguments.command));
    // Whatever a command left behind in tasks has nobody to wait for it.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Init(init) => init::perform(context, init).await,
        Command::Check(check) => check::perform(context, check).await,
        Command::Grants(grants) => grants::perform(context, grants).await,
        Command::Plan(plan) => plan::perform(context, plan).await,
        Command::Run(run) => run::perform(context, run).await,
        Command::Move(moved) => move_::perform(context, *moved).await,
        Command::Status(status) => status::perform(context, status).await,
        Command::Pause(named) => pause::perform(context, named).await,
        Command::Continue(named) => continue_::perform(context, named).await,
        Command::Verify(named) => verify::perform(context, named).await,
        Command::Cutover(named) => cutover::perform(context, named).await,
        Command::Rollback(rollback) => rollback::perform(context, rollback).await,
        Command::Abort(abort) => abort::perform(context, abort).await,
        Command::Complete(complete) => complete::perform(context, complete).await,
        Command::Explain(explain) => explain::perform(context, &explain),
        Command::Bench(bench) => bench::perform(context, bench).await,
        Command::Demo(demo) => demo::perform(context, demo).await,
    }
}
