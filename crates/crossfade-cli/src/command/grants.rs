//! `crossfade grants`: the SQL that gives a role what a change or a move takes. Changes nothing.

use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::moves::relations::Selection;
use crossfade_postgres::planner::{Grant, Grants};
use serde_json::json;

use super::{Context, planning};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: args::Grants) -> Outcome {
    match (&typed.from, &typed.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (meaning::connection(Some(from))?, meaning::connection(Some(to))?);
            of_move(context, (&from, &to), &typed).await
        }
        _one => of_change(context, &typed).await,
    }
}

async fn of_change(context: &Context, typed: &args::Grants) -> Outcome {
    let request = typed.change.as_deref().map(meaning::change_file).transpose()?;
    let table = match &request {
        Some(request) => request.table.clone(),
        None => typed
            .table
            .as_deref()
            .unwrap_or_default()
            .parse()
            .map_err(Failure::usage)?,
    };
    let config = meaning::connection(context.url.as_deref())?;
    let grants = planning::grants(&config, &table, request.as_ref(), typed.to.as_deref()).await?;
    context.console.object(&json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "role": grants.role,
        "grants": grants.grants,
    }));
    context.console.result(&script(&grants, typed.selected.all));
    context.console.note(&match lacks(&grants) {
        false => format!("Role {} has everything that it needs.", grants.role),
        true => format!(
            "Nothing was changed. Run this as a superuser, or as whoever may give all of it; then `crossfade plan` as {}.",
            grants.role
        ),
    });
    Ok(Exit::Done)
}

/// One script for each server, and what the role has there in comments.
async fn of_move(
    context: &Context,
    (from, to): (&ConnectConfig, &ConnectConfig),
    typed: &args::Grants,
) -> Outcome {
    let selection = meaning::selection(&typed.selected).unwrap_or(Selection::All);
    let what = (&selection, typed.selected.schema_from.into());
    let both = planning::grants_of_move((from, to), what, typed.role.as_deref()).await?;
    let places = [("source", planning::place(from)), ("target", planning::place(to))];
    let (mut text, mut servers) = (Vec::new(), Vec::new());
    for (grants, (side, place)) in both.iter().zip(&places) {
        let head = comment(&format!("On the {side}, {place}, for role {}", grants.role));
        text.push(format!("-- ==== {head} ====\n\n{}", script(grants, true)));
        servers.push(json!({
            "side": side, "server": place, "role": grants.role, "grants": grants.grants,
        }));
    }
    context.console.object(&json!({
        "outcome": Exit::Done.word(), "exit_code": Exit::Done.code(), "servers": servers,
    }));
    context.console.result(&text.join("\n"));
    context.console.note(match both.iter().any(lacks) {
        false => "The role has everything that it needs, on both servers.",
        true => {
            "Nothing was changed. Run each part on its server as a superuser, or as whoever may give all of it; then \
             `crossfade check` with the same --from and --to, as that role."
        }
    });
    Ok(Exit::Done)
}

fn lacks(grants: &Grants) -> bool {
    let mut grants = grants.grants.iter();
    grants.any(|grant| !grant.held && !grant.optional)
}

/// For psql. What the role has is left out, or in comments.
fn script(grants: &Grants, all: bool) -> String {
    let mut text = String::new();
    for grant in &grants.grants {
        if grant.held && !all {
            continue;
        }
        let Grant { statement, why, .. } = grant;
        let optional = if grant.optional { "Optional. " } else { "" };
        text += &format!("\n-- {optional}{}\n", comment(why));
        text += &match grant.held {
            true => format!("-- The role has it: {};\n", comment(statement)),
            false => format!("{statement};\n"),
        };
    }
    text.trim_start().to_owned()
}

/// A name may have a new line in it, which would end the comment.
fn comment(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_comment() {
        let grant = |held| Grant {
            statement: "GRANT \"x\nDROP TABLE t; --\" TO y".to_owned(),
            why: "x\nDROP TABLE t; -- owns it".to_owned(),
            optional: false,
            held,
        };
        let grants = Grants {
            role: "y".to_owned(),
            grants: vec![grant(true)],
        };
        let held = script(&grants, true);
        assert!(
            held.lines().all(|line| line.is_empty() || line.starts_with("--")),
            "{held}"
        );
        let grants = Grants {
            role: "y".to_owned(),
            grants: vec![grant(false)],
        };
        let needed = script(&grants, false);
        // Within the quoted name it is a name.
        assert_eq!(needed.matches("\nDROP").count(), 1, "{needed}");
    }
}
