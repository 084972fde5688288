//! `crossfade check`: everything on the server that stands in the way. Changes nothing.

use std::error::Error;
use std::fmt::Write as _;

use crossfade_coordinator::reach;
use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::{Notice, Refusal};
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::preflight::server::Findings;
use serde_json::json;

use super::{Context, planning};
use crate::args;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::meaning;
use crate::output::{self, FAINT, GOOD, HEADING};

pub(super) async fn perform(context: &Context, typed: args::Check) -> Outcome {
    let given = typed.change.change.is_some() || typed.change.table.is_some();
    let request = given.then(|| meaning::change(&typed.change)).transpose()?;
    let name = request
        .as_ref()
        .map(|request| meaning::migration_name(None, request))
        .transpose()?;
    let config = meaning::connection(context.url.as_deref())?;
    let (backend, mut findings) = planning::check(&config, request.as_ref().zip(name.as_ref())).await?;
    // What is refused already, with its remedy, is not tried.
    let hopeless = [RefusalCode::RoleCannotReplicate, RefusalCode::NoFreeWalsender];
    let mut refusals = findings.refusals.iter();
    let hopeless = refusals.any(|refusal| hopeless.contains(&refusal.code));
    let replicates = !hopeless
        && match reach::replication(&config).await {
            Ok(()) => true,
            Err(error) => {
                findings.refusals.push(no_replication(&config, &error));
                false
            }
        };
    let exit = match findings.refusals.is_empty() {
        true => Exit::Done,
        false => Exit::Refused,
    };
    context.console.object(&json!({
        "outcome": exit.word(),
        "exit_code": exit.code(),
        "server": config.to_string(),
        "version_num": backend.version_num,
        "refusals": findings.refusals,
        "notices": findings.notices,
    }));
    let version = format!(
        "{}.{}",
        backend.version_num / 10_000,
        backend.version_num % 10_000
    );
    context
        .console
        .result(&render(&config.to_string(), &version, replicates, &findings));
    Ok(exit)
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

fn render(server: &str, version: &str, replicates: bool, findings: &Findings) -> String {
    let mut text =
        format!("{GOOD}Connected{GOOD:#} to {server}, PostgreSQL {version}, by a session of our own");
    text += if replicates {
        ", and for replication.\n"
    } else {
        ".\n"
    };
    text += &match findings.refusals.as_slice() {
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
