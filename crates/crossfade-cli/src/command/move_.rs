//! `crossfade move`: plans (or goes on), asks, and moves until it is interrupted, completed or aborted.

use std::io::{BufRead as _, IsTerminal as _};

use crossfade_coordinator::moves::{self, MoveOptions, MoveWhat};
use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_postgres::change::limits;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::moves::plan::MoveRequest;
use tokio::sync::watch;

use super::{Context, planning};
use crate::args::{Continue, Cutover, Move, Verify};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{Console, progress};
use crate::{meaning, output, signals};

/// Those of all limits that bound a move, too.
const LIMITS: [&str; 10] = [
    "chunk_delay",
    "chunk_time",
    "chunk_time_max",
    "execution_max",
    "lock_timeout",
    "hold_budget",
    "cutover_max",
    "verify_time",
    "proof_wait",
    "retained_wal_max",
];

pub(super) async fn perform(context: &Context, typed: Move) -> Outcome {
    let may_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !typed.yes && !typed.plan && !may_ask {
        return Err(
            Failure::usage(anyhow::anyhow!("ask whether to move this: no terminal"))
                .next("Look at it with --plan, then add --yes."),
        );
    }
    let (from, to) = (
        meaning::connection(Some(&typed.from))?,
        meaning::connection(Some(&typed.to))?,
    );
    let name = meaning::name_of_move(typed.name.clone(), &from)?;
    let Some(what) = agreed(context, &typed, (&from, &to), &name).await? else {
        return Ok(Exit::Done);
    };
    to_its_end(context.console, (&from, &to), &name, what, options(typed)).await
}

/// Goes on with a move that there is: as its engine, in this process.
pub(super) async fn go_on(
    console: Console,
    (from, to): (&str, &ConnectConfig),
    typed: Continue,
    roll_back: bool,
) -> Outcome {
    let from = meaning::connection(Some(from))?;
    let engine = meaning::run_options(&typed.engine);
    let options = MoveOptions {
        copiers: engine.copiers,
        cutover_when_ready: engine.cutover_when_ready,
        roll_back,
        until_handed_over: false,
        verify: engine.verify,
        repair: engine.repair,
        hooks: typed.hooks.into(),
        pg_dump: typed.pg_dump,
        reconnect_max: engine.reconnect_max,
    };
    let what = MoveWhat::Resume(typed.name.clone());
    to_its_end(console, (&from, to), &typed.name, what, options).await
}

async fn to_its_end(
    console: Console,
    (from, to): (&ConnectConfig, &ConnectConfig),
    name: &MigrationName,
    what: MoveWhat,
    options: MoveOptions,
) -> Outcome {
    let stop = signals::watch()?;
    let (status, watched) = watch::channel(None);
    let engine = moves::run(from, to, what, options, stop, status);
    let (ended, ()) = tokio::join!(engine, progress::show(console, watched));
    Ok(output::moves::explain(console, name, &ended))
}

fn options(typed: Move) -> MoveOptions {
    MoveOptions {
        copiers: typed.copiers.into(),
        cutover_when_ready: typed.cutover == Cutover::Auto,
        roll_back: false,
        until_handed_over: typed.until_cutover,
        verify: typed.verify != Verify::Off,
        repair: typed.verify == Verify::Repair,
        hooks: typed.hooks.into(),
        pg_dump: typed.pg_dump,
        reconnect_max: typed.reconnect_max,
    }
}

/// What to run; `None` if it was only to be shown, or is not wanted.
async fn agreed(
    context: &Context,
    typed: &Move,
    (from, to): (&ConnectConfig, &ConnectConfig),
    name: &MigrationName,
) -> Result<Option<MoveWhat>, Failure> {
    let request = request(typed)?;
    let change = request.as_ref().map(MoveRequest::canonical);
    if let Some(stored) = planning::stored(to, name, change.as_deref().unwrap_or_default()).await? {
        if change.is_some_and(|change| change != stored.change) {
            return Err(planning::other_change(name));
        }
        context
            .console
            .note(&format!("Move `{name}` goes on where it was."));
        return Ok(Some(MoveWhat::Resume(name.clone())));
    }
    let Some(request) = request else {
        return Err(Failure::usage(anyhow::anyhow!("find out what to move"))
            .next("Give --all, --schema SCHEMA or --tables PATTERN."));
    };
    let plan = planning::plan_move((from, to), &request, name).await?;
    if typed.plan {
        context.console.object(&serde_json::json!({
            "outcome": Exit::Done.word(), "exit_code": Exit::Done.code(), "migration": name, "plan": plan,
        }));
        context.console.result(&output::moves::render(&plan));
        return Ok(None);
    }
    if typed.yes {
        let summary = output::moves::summary(&plan);
        context.console.note(&format!("Move `{name}`: {summary}."));
    } else {
        output::advise(&output::moves::render(&plan));
        if !confirmed(&plan) {
            output::advise("Nothing was changed.");
            return Ok(None);
        }
    }
    Ok(Some(MoveWhat::Plan(Box::new(plan))))
}

fn request(typed: &Move) -> Result<Option<MoveRequest>, Failure> {
    let Some(selection) = meaning::selection(&typed.selected) else {
        return Ok(None);
    };
    let mut request = meaning::move_request(selection, &typed.selected, &typed.pg_dump);
    request.values = typed.change.as_deref().map(meaning::values_file).transpose()?;
    request.copy_only = typed.copy_only;
    if let Some(copy) = typed.copy {
        request.copy = copy.into();
    }
    for text in &typed.limit {
        let (name, value) = meaning::halves(text, "NAME=VALUE")?;
        if !LIMITS.contains(&name) {
            let known = LIMITS.join(", ");
            return Err(Failure::usage(anyhow::anyhow!("bound a move by `{name}`"))
                .next(format!("A move knows {known}.")));
        }
        limits::set(&mut request.limits, name, value).map_err(Failure::usage)?;
    }
    Ok(Some(request))
}

/// Anything but yes is no.
fn confirmed(plan: &Plan) -> bool {
    output::ask(&format!("Run move `{}` now? [y/N] ", plan.name));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
