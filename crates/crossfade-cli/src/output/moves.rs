//! A move on paper: from where to where, table by table, and what is done at the hand-over.

use std::fmt::Write as _;

use crossfade_core::plan::{Destination, Plan, SchemaSource, Step};

use super::HEADING;
use super::plan::{notice_lines, section};
use super::units::{bytes, count};

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
        "{} tables (about {} rows, {})",
        plan.steps.len(),
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
        format!("sequences {}, moved ahead at each hand-over", destination.sequences.len()),
        "copy      under one snapshot; meanwhile the source keeps all WAL for our slot".to_owned(),
        "hand-over locks every table against writers (SHARE ROW EXCLUSIVE) until the other server leads, at most \
         hold_budget; then writers are refused here, and the way back begins"
            .to_owned(),
    ]
}

fn tables(plan: &Plan) -> Vec<String> {
    let line = |step: &Step| {
        let Step::CopyIntoTables(step) = step;
        format!(
            "{}  {} rows, {}, {} indexes{}",
            step.source.name,
            count(step.estimate.rows),
            bytes(step.estimate.bytes),
            step.statements
                .iter()
                .filter(|statement| {
                    matches!(
                        statement.stage,
                        crossfade_core::plan::Stage::KeyIndex | crossfade_core::plan::Stage::Index
                    )
                })
                .count(),
            if step.source.key.is_none() {
                ", append-only"
            } else {
                ""
            }
        )
    };
    plan.steps.iter().map(line).collect()
}
