//! `crossfade run`: plans (or takes a plan), asks, and runs to the end.

use std::io::{BufRead as _, IsTerminal as _};

use crossfade_coordinator::run::What;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::connect::ConnectConfig;

use super::{Context, planning, running};
use crate::args::Run;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::{meaning, output};

pub(super) async fn perform(context: &Context, typed: Run) -> Outcome {
    let may_ask = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !typed.yes && !may_ask {
        return Err(
            Failure::usage(anyhow::anyhow!("ask whether to run this: no terminal"))
                .next("Look at it with `crossfade plan`, then add --yes."),
        );
    }
    let config = meaning::connection(context.url.as_deref())?;
    let options = meaning::run_options(&typed.engine);
    let assent = typed.yes;
    let Some(plan) = agreed(context, &config, typed, assent).await? else {
        output::advise("Nothing was changed.");
        return Ok(Exit::Refused);
    };
    let name = plan.name.clone();
    let what = What::Plan(Box::new(plan));
    running::to_its_end(context.console, &config, &name, what, options).await
}

/// The plan to run; `None` if the user does not want it.
async fn agreed(
    context: &Context,
    config: &ConnectConfig,
    typed: Run,
    assent: bool,
) -> Result<Option<Plan>, Failure> {
    let (plan, carried) = match &typed.what.plan {
        Some(file) => {
            let plan = meaning::plan_file(file)?;
            planning::still_valid(config, &plan).await?;
            (plan, Vec::new())
        }
        None => {
            let request = meaning::change(&typed.what.change)?;
            let name = meaning::migration_name(typed.name, &request)?;
            if let Some(plan) = begun(config, &request, &name).await? {
                context
                    .console
                    .note(&format!("Migration `{name}` goes on where it was."));
                return Ok(Some(plan));
            }
            let planned = planning::plan(config, &request, &name).await?;
            (planned.plan, planned.carried)
        }
    };
    if assent {
        let summary = output::plan::summary(&plan);
        context
            .console
            .note(&format!("Migration `{}`: {summary}.", plan.name));
        return Ok(Some(plan));
    }
    output::advise(&output::plan::render(&plan, &carried));
    Ok(confirmed(&plan).then_some(plan))
}

/// The plan of the migration of that name, if it was begun with the same change: what is already there stands in no
/// one's way then. With another change it is refused.
async fn begun(
    config: &ConnectConfig,
    request: &ChangeRequest,
    name: &MigrationName,
) -> Result<Option<Plan>, Failure> {
    let change = request.canonical();
    let Some(stored) = planning::stored(config, name, &change).await? else {
        return Ok(None);
    };
    if stored.change == change {
        return Ok(Some(stored));
    }
    Err(planning::other_change(name))
}

/// Anything but yes is no.
fn confirmed(plan: &Plan) -> bool {
    output::ask(&format!("Run migration `{}` now? [y/N] ", plan.name));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
