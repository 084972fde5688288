//! `crossfade grants`: the SQL that gives a role what a change takes. Changes nothing.

use crossfade_postgres::planner::{Grant, Grants};
use serde_json::json;

use super::{Context, planning};
use crate::args;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::meaning;

pub(super) async fn perform(context: &Context, typed: args::Grants) -> Outcome {
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
    context.console.result(&script(&grants, typed.all));
    let missing = grants
        .grants
        .iter()
        .filter(|grant| !grant.held && !grant.optional);
    context.console.note(&match missing.count() {
        0 => format!("Role {} has everything that it needs.", grants.role),
        _ => format!(
            "Nothing was changed. Run this as a superuser, or as whoever may give all of it; then `crossfade plan` as {}.",
            grants.role
        ),
    });
    Ok(Exit::Done)
}

/// For psql. What the role has is left out, or in comments.
fn script(grants: &Grants, all: bool) -> String {
    let mut text = String::new();
    for grant in &grants.grants {
        if grant.held && !all {
            continue;
        }
        let Grant { statement, why, .. } = grant;
        // A name may have a new line in it, which would end the comment.
        let comment = |text: &str| text.replace(['\r', '\n'], " ");
        let optional = if grant.optional { "Optional. " } else { "" };
        text += &format!("\n-- {optional}{}\n", comment(why));
        text += &match grant.held {
            true => format!("-- The role has it: {};\n", comment(statement)),
            false => format!("{statement};\n"),
        };
    }
    text.trim_start().to_owned()
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
