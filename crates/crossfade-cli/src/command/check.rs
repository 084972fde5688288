//! `crossfade check`: everything on the server, or on both servers of a move, that stands in the way. Changes nothing.

use std::error::Error;
use std::fmt::Write as _;

use crossfade_coordinator::reach;
use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::{Notice, Refusal};
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::preflight::server::Findings;
use crossfade_postgres::session::Backend;
use serde_json::{Value, json};

use super::{Context, planning};
use crate::args;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::meaning;
use crate::output::{self, FAINT, GOOD, HEADING};

pub(super) async fn perform(context: &Context, typed: args::Check) -> Outcome {
    match (&typed.from, &typed.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (meaning::connection(Some(from))?, meaning::connection(Some(to))?);
            between(context, (&from, &to), &typed).await
        }
        _one => on_one(context, &typed).await,
    }
}

async fn on_one(context: &Context, typed: &args::Check) -> Outcome {
    let given = typed.change.change.is_some() || typed.change.table.is_some();
    let request = given.then(|| meaning::change(&typed.change)).transpose()?;
    let name = request
        .as_ref()
        .map(|request| meaning::migration_name(None, request))
        .transpose()?;
    let config = meaning::connection(context.url.as_deref())?;
    let (backend, mut findings) = planning::check(&config, request.as_ref().zip(name.as_ref())).await?;
    let connected = connected(&config, &backend, &mut findings).await;
    let server = json!({ "server": config.to_string(), "version_num": backend.version_num });
    Ok(say(context, server, &connected, &findings))
}

/// The same of both servers of a move, and of its tables if it was said which.
async fn between(
    context: &Context,
    (from, to): (&ConnectConfig, &ConnectConfig),
    typed: &args::Check,
) -> Outcome {
    let request = meaning::selection(&typed.selected)
        .map(|selection| meaning::move_request(selection, &typed.selected, &typed.pg_dump));
    let dumps = typed.selected.schema_from == args::SchemaFrom::Dump;
    let pg_dump = dumps.then_some(typed.pg_dump.as_path());
    let name = meaning::name_of_move(None, from)?;
    let found = planning::check_move((from, to), request.as_ref(), pg_dump, &name).await?;
    let (mut text, mut all, mut servers) = (String::new(), Findings::default(), Vec::new());
    for (config, (backend, mut findings)) in [(from, found.source), (to, found.target)] {
        text += &connected(config, &backend, &mut findings).await;
        servers.push(json!({ "server": config.to_string(), "version_num": backend.version_num }));
        all.refusals.extend(findings.refusals);
        all.notices.extend(findings.notices);
    }
    all.refusals.extend(found.tables.refusals);
    all.notices.extend(found.tables.notices);
    Ok(say(context, json!({ "servers": servers }), &text, &all))
}

/// Tries whether changes could be streamed, too, and says what there is a connection to.
async fn connected(config: &ConnectConfig, backend: &Backend, findings: &mut Findings) -> String {
    // What is refused already, with its remedy, is not tried.
    let hopeless = [RefusalCode::RoleCannotReplicate, RefusalCode::NoFreeWalsender];
    let mut refusals = findings.refusals.iter();
    let tried = !refusals.any(|refusal| hopeless.contains(&refusal.code));
    let mut and = "";
    if tried {
        match reach::replication(config).await {
            Ok(()) => and = ", and for replication",
            Err(error) => findings.refusals.push(no_replication(config, &error)),
        }
    }
    let (major, minor) = (backend.version_num / 10_000, backend.version_num % 10_000);
    format!(
        "{GOOD}Connected{GOOD:#} to {config}, PostgreSQL {major}.{minor}, by a session of our own{and}.\n"
    )
}

/// `object` says which servers were looked at.
fn say(context: &Context, mut object: Value, connected: &str, findings: &Findings) -> Exit {
    let exit = match findings.refusals.is_empty() {
        true => Exit::Done,
        false => Exit::Refused,
    };
    object["outcome"] = json!(exit.word());
    object["exit_code"] = json!(exit.code());
    object["refusals"] = json!(findings.refusals);
    object["notices"] = json!(findings.notices);
    context.console.object(&object);
    context
        .console
        .result(&(connected.to_owned() + &render(findings)));
    exit
}

fn no_replication(config: &ConnectConfig, error: &(dyn Error + 'static)) -> Refusal {
    Refusal {
        code: RefusalCode::NoReplication,
        object: config.to_string(),
        message: format!(
            "No connection for replication can be made: {}.",
            in_one_line(error)
        ),
        remedy: "Connect to PostgreSQL itself and not to a pooler; and look at its pg_hba.conf.".to_owned(),
    }
}

fn render(findings: &Findings) -> String {
    let mut text = match findings.refusals.as_slice() {
        [] => format!("{GOOD}Nothing stands in the way.{GOOD:#}\n"),
        refusals => output::refusals::render(refusals),
    };
    if !findings.notices.is_empty() {
        // Writing to a String cannot fail.
        write!(text, "\n{HEADING}Good to know{HEADING:#}\n").ok();
    }
    for Notice {
        code,
        object,
        message,
        offer,
    } in &findings.notices
    {
        write!(text, "\n  {code}  {object}\n    {message}\n").ok();
        if let Some(offer) = offer {
            writeln!(text, "    {FAINT}Offer:{FAINT:#} {offer}").ok();
        }
    }
    text
}
