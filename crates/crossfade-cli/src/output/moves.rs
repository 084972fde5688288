//! A move on paper: from where to where, table by table, and what is done at the hand-over.

use std::fmt::Write as _;

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::report::Report;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::{CopyMode, CopyStep, Destination, Plan, SchemaSource, Stage, Statement, Step};

use super::plan::{notice_lines, section};
use super::units::{bytes, count, counted};
use super::{Console, HEADING, advise, complain, ended};
use crossfade_postgres::ident::Ident;

use crate::exit::Exit;

/// The whole plan, for people.
pub(crate) fn render(plan: &Plan) -> String {
    let Some(destination) = &plan.destination else {
        return String::new();
    };
    let mut text = format!(
        "{HEADING}Move `{}`{HEADING:#} from {} to {}\n",
        plan.name, destination.from_place, destination.to_place
    );
    section(&mut text, "What", &facts(plan, destination));
    section(&mut text, "Tables, in the order of their size", &tables(plan));
    section(&mut text, "Changed on the way", &changed(plan));
    let attached = destination.attachments.iter();
    let attached: Vec<String> = attached
        .map(|attachment| format!("{} on {}", attachment.what, attachment.table))
        .collect();
    section(&mut text, "Made on the target when it leads", &attached);
    section(&mut text, "To know", &notice_lines(&plan.notices));
    text
}

/// In one line.
pub(crate) fn summary(plan: &Plan) -> String {
    let (rows, size) = sums(plan);
    let mut text = format!(
        "{} (about {} rows, {})",
        counted(plan.steps.len(), "table"),
        count(rows),
        bytes(size)
    );
    if let Some(destination) = &plan.destination {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            " from {} to {}",
            destination.from_place, destination.to_place
        );
    }
    text
}

/// How a move ended, for people, where that is told otherwise than of a change in place; for programs it is the same.
pub(crate) fn explain(console: Console, name: &MigrationName, ended: &Ended) -> Exit {
    let again = "Give the same command again to go on.";
    match ended {
        _ if console.json => return ended::explain(console, Some(name), ended),
        Ended::Done(report) => console.result(&done(name, report)),
        Ended::Interrupted => advise(&format!("Interrupted; nothing is lost. {again}")),
        Ended::CutoverNotAchieved { obstacle, attempts } => {
            complain(&format!("hand over in {attempts} attempts: {obstacle}"), None);
            advise(&format!("Everything is as it was before. {again}"));
        }
        Ended::Stopped { code, reason, remedy } => {
            complain(&format!("go on: {reason}"), Some(*code));
            advise(remedy);
        }
        Ended::Aborted
        | Ended::NotEqual { .. }
        | Ended::Refused(_)
        | Ended::NoAccess { .. }
        | Ended::NeedsOperator { .. } => return ended::explain(console, Some(name), ended),
    }
    Exit::from(ended)
}

fn done(name: &MigrationName, report: &Report) -> String {
    let ms = |ms: f64| {
        if ms > 0.0 {
            format!("{ms:.0} ms")
        } else {
            "-".to_owned()
        }
    };
    let lines = [
        ("rows copied", count(report.rows_copied)),
        ("changes applied", count(report.changes_applied)),
        ("changes carried back", count(report.changes_carried_back)),
        ("attempts to hand over", report.cutover_attempts.to_string()),
        (
            "writers shut out, at the last hand-over there",
            ms(report.lock_held_ms),
        ),
        (
            "writers shut out, at the last one back",
            ms(report.rollback_lock_held_ms),
        ),
    ];
    // Of a copy nothing is handed over.
    let kept = if report.cutover_attempts > 0 {
        lines.len()
    } else {
        2
    };
    let lines: String = lines
        .iter()
        .take(kept)
        .map(|(what, value)| format!("  {what:<48}{value}\n"))
        .collect();
    format!("Done: move `{name}`.\n\n{HEADING}Report{HEADING:#}\n{lines}")
}

fn sums(plan: &Plan) -> (u64, u64) {
    plan.steps.iter().fold((0, 0), |(rows, size), step| {
        let Step::CopyIntoTables(step) = step;
        (rows + step.estimate.rows, size + step.estimate.bytes)
    })
}

fn facts(plan: &Plan, destination: &Destination) -> Vec<String> {
    let (rows, size) = sums(plan);
    let major = |version: u32| version / 10_000;
    vec![
        format!(
            "servers   PostgreSQL {} to {}",
            major(plan.server.version_num),
            major(destination.server.version_num)
        ),
        format!(
            "tables    {}, about {} rows, {}",
            plan.steps.len(),
            count(rows),
            bytes(size)
        ),
        format!(
            "schema    {}",
            match destination.schema {
                SchemaSource::Dump => "restored from a dump of the source's; indexes are built behind the rows",
                SchemaSource::Existing => "is there",
            }
        ),
        format!("sequences {}, moved ahead at the end", destination.sequences.len()),
        format!("copy      {}", copy(plan)),
        match destination.copy_only {
            true => "end       a copy of one moment, which stands on its own; the source's writers are never locked out",
            false => {
                "hand-over locks every table against writers (SHARE ROW EXCLUSIVE) until the other server leads, at most \
                 hold_budget; then writers are refused here, and the way back begins"
            }
        }
        .to_owned(),
    ]
}

fn copy(plan: &Plan) -> String {
    const UNDER_SNAPSHOT: &str = "under one snapshot; meanwhile the source keeps all WAL for our slot";
    let steps = plan.steps.iter().map(|Step::CopyIntoTables(step)| step);
    let in_chunks: Vec<_> = steps.filter(|step| is_in_chunks(step)).collect();
    let Some(largest) = in_chunks.first() else {
        return UNDER_SNAPSHOT.to_owned();
    };
    let why = largest.copy_mode_reason.split(": ").next().unwrap_or_default();
    let chunks = format!(
        "in chunks, each under a snapshot of its own, while changes are applied; goes on with the next chunk after a crash \
         ({why})"
    );
    match plan.steps.len() - in_chunks.len() {
        0 => chunks,
        others => format!(
            "{} {UNDER_SNAPSHOT}; then {} {chunks}",
            counted(others, "table"),
            counted(in_chunks.len(), "table")
        ),
    }
}

fn is_in_chunks(step: &CopyStep) -> bool {
    step.copy_mode == CopyMode::Incremental
}

/// Columns that are filled with something else than the source's own value.
fn changed(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    for Step::CopyIntoTables(step) in &plan.steps {
        for (column, target) in step.source.columns.iter().zip(&step.targets[0].columns) {
            if target.value.sql != Ident(&column.name).to_string() {
                lines.push(format!(
                    "{}.{} = {}",
                    step.source.name, column.name, target.value.sql
                ));
            }
        }
    }
    lines
}

fn tables(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let Step::CopyIntoTables(step) = step;
        let is_index = |statement: &&Statement| matches!(statement.stage, Stage::KeyIndex | Stage::Index);
        let indexes = step.statements.iter().filter(is_index).count();
        let mut line = format!(
            "{}  {} rows, {}, {}",
            step.source.name,
            count(step.estimate.rows),
            bytes(step.estimate.bytes),
            if indexes == 1 {
                "1 index".to_owned()
            } else {
                format!("{indexes} indexes")
            },
        );
        if step.source.key.is_none() {
            line.push_str(", append-only");
        }
        if is_in_chunks(step) {
            line.push_str(", in chunks");
        }
        line
    };
    plan.steps.iter().map(line).collect()
}
