//! A plan on paper: what is filled with what, every statement in order with its lock, what is carried over.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyMode, CopyStep, Plan, Stage, Statement, Step, Target};
use crossfade_core::refusal::Notice;
use crossfade_core::way_back::{Caveat, WayBackClass};
use crossfade_postgres::catalog::CarriedItem;
use crossfade_postgres::change::limits::{LIMITS, LimitSpec};

use super::units::{bytes, count};
use super::{FAINT, HEADING};

/// The whole plan, for people.
pub(crate) fn render(plan: &Plan, carried: &[CarriedItem]) -> String {
    let mut text = format!(
        "{HEADING}Plan `{}`{HEADING:#} for database {} on PostgreSQL {}\n",
        plan.name,
        plan.server.database,
        version(plan.server.version_num)
    );
    for step in &plan.steps {
        match step {
            Step::CopyIntoTables(step) => copy_step(&mut text, &plan.name, step),
        }
    }
    section(&mut text, "Limits", &limit_lines(&plan.limits));
    section(&mut text, "Carried over", &carried_lines(carried));
    section(&mut text, "To know", &notice_lines(&plan.notices));
    text
}

/// What a confirmation shows above its question.
pub(crate) fn summary(plan: &Plan) -> String {
    let step = |step: &Step| match step {
        Step::CopyIntoTables(step) => format!(
            "copy {} (about {} rows, {}) into {}, follow its changes, swap",
            step.source.name,
            count(step.estimate.rows),
            bytes(step.estimate.bytes),
            match step.targets.len() {
                1 => "a new table".to_owned(),
                several => format!("{several} new tables"),
            }
        ),
    };
    plan.steps.iter().map(step).collect::<Vec<_>>().join("; ")
}

fn copy_step(text: &mut String, name: &MigrationName, step: &CopyStep) {
    let estimate = &step.estimate;
    let mode = match step.copy_mode {
        CopyMode::Snapshot => "snapshot",
        CopyMode::Incremental => "incremental",
    };
    let facts = [
        format!(
            "table     {}{}",
            step.source.name,
            if step.keeps_source {
                ", which stays as it is"
            } else {
                ""
            }
        ),
        format!("copy      {mode}: {}", step.copy_mode_reason),
        format!(
            "estimate  {} rows, {}; writes {} of WAL, takes {} on disk beside the old table",
            count(estimate.rows),
            bytes(estimate.bytes),
            bytes(estimate.wal_bytes),
            bytes(estimate.disk_bytes)
        ),
    ];
    section(text, "What", &facts);
    for target in &step.targets {
        let heading = format!("New {}, built as {}", target.name, target.shadow);
        section(
            text,
            &heading,
            &[column_lines(target), which_rows(target)].concat(),
        );
    }
    if let Some(view) = &step.view {
        section(text, &format!("View {view}"), &view_lines(name, step, view));
    }
    section(text, "Way back", &way_back_lines(step));
    statements(text, "Statements, in order", step, 0, describe);
    if let Some(back) = &step.back {
        section(text, "Columns on the way back", &column_lines(&back.targets[0]));
        let heading = "Statements of the way back";
        statements(text, heading, back, step.statements.len(), describe_back);
    }
}

/// What the view of the old shape is for, and how long it is there.
fn view_lines(name: &MigrationName, step: &CopyStep, view: &TableName) -> Vec<String> {
    let follows = step.back.iter().any(|back| back.source.name == *view);
    let written_to = view.schema != name.retired_schema();
    let lines = [
        (follows, "the old table follows the new ones through it"),
        (
            written_to,
            "applications of the old version write to it as to the table; it stays after `crossfade complete`",
        ),
    ];
    lines
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, line)| line.to_owned())
        .collect()
}

/// Which rows of it come of a row of the source, if that is not one.
fn which_rows(target: &Target) -> Vec<String> {
    let Some(derived) = &target.derived else {
        return Vec::new();
    };
    let names: Vec<&str> = derived
        .key
        .iter()
        .map(|place| target.columns[*place].name.as_str())
        .collect();
    let rows = derived.rows.as_ref().map(|rows| {
        let columns = rows.columns.join(", ");
        format!("rows      one for each of {} as {columns}", rows.call.sql)
    });
    let filter = target
        .filter
        .as_ref()
        .map(|filter| format!("only      {}", filter.sql));
    rows.into_iter()
        .chain(filter)
        .chain([format!("key       {}", names.join(", "))])
        .collect()
}

fn statements(
    text: &mut String,
    heading: &str,
    step: &CopyStep,
    before: usize,
    of: fn(Stage) -> &'static str,
) {
    text.push_str(&format!("\n{HEADING}{heading}{HEADING:#}\n"));
    let mut number = before;
    for stage in stages(&step.statements) {
        // Writing to a String cannot fail.
        writeln!(text, "  {FAINT}{}{FAINT:#}", of(stage)).ok();
        for statement in step.statements_of(stage) {
            number += 1;
            text.push_str(&statement_lines(number, statement));
        }
    }
}

/// What is known of the way back.
fn way_back_lines(step: &CopyStep) -> Vec<String> {
    let way_back = &step.way_back;
    let class = match way_back.class {
        WayBackClass::Off => "none: the run ends with the swap",
        WayBackClass::Exact => "exact: every row of the new table has its place in the old one",
        WayBackClass::Conditional => "conditional: the old table follows until one of these is written",
        WayBackClass::Impossible => "impossible: the run ends with the swap",
    };
    let caveat = |caveat: &Caveat| match &caveat.column {
        Some(column) => format!("  {column}: {}", caveat.what),
        None => format!("  {}", caveat.what),
    };
    let lost = |loss: &Caveat| format!("not carried back: {}", caveat(loss).trim_start());
    let tried = way_back.tried.map(|tried| {
        let which = if tried.all { "all" } else { "the first" };
        format!("tried on {which} {} rows, there and back", count(tried.rows))
    });
    std::iter::once(class.to_owned())
        .chain(way_back.caveats.iter().map(caveat))
        .chain(way_back.lost.iter().map(lost))
        .chain(tried)
        .collect()
}

/// What a stage is in the other direction.
fn describe_back(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "before the cutover",
        Stage::Apply => "applying changes to the retired table; a batch runs those that it needs",
        Stage::LockTarget | Stage::Lock | Stage::LockSequences => {
            "on `crossfade rollback`, one transaction: the locks"
        }
        Stage::Swap => "on `crossfade rollback`, the same transaction: the swap back",
        Stage::AfterSwap => "after the rollback",
        Stage::Complete => "on `crossfade complete` after a rollback",
        Stage::Drop => "on `crossfade complete --drop` after a rollback: the new table",
        Stage::Copy | Stage::KeyIndex | Stage::Index | Stage::Analyze | Stage::Verify | Stage::Abort => {
            describe(stage)
        }
    }
}

/// The stages that occur, in the order in which they first do.
fn stages(statements: &[Statement]) -> Vec<Stage> {
    let mut stages = Vec::new();
    for statement in statements {
        if !stages.contains(&statement.stage) {
            stages.push(statement.stage);
        }
    }
    stages
}

/// What a stage is, to its reader.
fn describe(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "before anything is copied",
        Stage::Copy => "copying, once per range",
        Stage::KeyIndex => "after the copy, before the first change is applied",
        Stage::Apply => "applying changes; a batch runs those that it needs",
        Stage::Index => "when the backlog is applied, in parallel",
        Stage::Analyze => "when all indexes are there",
        Stage::Verify => "comparing every row; a slice of both tables under one pair of snapshots",
        Stage::LockTarget => "cutover, one transaction: the lock on the new table, which nobody else uses",
        Stage::Lock => "cutover, the same transaction: the locks on tables",
        Stage::LockSequences => "cutover, the same transaction: the locks on sequences",
        Stage::Swap => "cutover, the same transaction: the swap",
        Stage::AfterSwap => "after the swap",
        Stage::Complete => "on `crossfade complete`",
        Stage::Drop => "on `crossfade complete --drop` only",
        Stage::Abort => "on `crossfade abort` only",
    }
}

fn statement_lines(number: usize, statement: &Statement) -> String {
    let sql = statement.sql.trim_end().replace('\n', "\n       ");
    let lock = if statement.locks.is_empty() {
        "no lock on anything of yours".to_owned()
    } else {
        format!("{}, held {}", statement.locks.join(", "), statement.held)
    };
    format!("  {number:>3}. {sql}\n       {FAINT}-- {lock}{FAINT:#}\n")
}

fn column_lines(target: &Target) -> Vec<String> {
    let width = |of: fn(&crossfade_core::plan::TargetColumn) -> &str| {
        let widths = target.columns.iter().map(|column| of(column).chars().count());
        widths.max().unwrap_or(0)
    };
    let (names, types) = (width(|column| &column.name), width(|column| &column.type_name));
    let line = |column: &crossfade_core::plan::TargetColumn| {
        format!(
            "{:names$}  {:types$}  from {}",
            column.name, column.type_name, column.value.sql
        )
    };
    let filter = target
        .filter
        .iter()
        .map(|filter| format!("only rows where {}", filter.sql));
    target.columns.iter().map(line).chain(filter).collect()
}

fn limit_lines(limits: &Limits) -> Vec<String> {
    let width = LIMITS.iter().map(|spec| spec.name.len()).max().unwrap_or(0);
    let line = |spec: &LimitSpec| format!("{:width$}  {}", spec.name, spec.show(limits));
    LIMITS.iter().map(line).collect()
}

fn carried_lines(carried: &[CarriedItem]) -> Vec<String> {
    let mut classes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for item in carried {
        classes.entry(&item.class).or_default().push(&item.object);
    }
    classes
        .into_iter()
        .map(|(class, objects)| format!("{class}: {}", objects.join(", ")))
        .collect()
}

pub(super) fn notice_lines(notices: &[Notice]) -> Vec<String> {
    let lines = |notice: &Notice| {
        let first = format!("{}  {}: {}", notice.code, notice.object, notice.message);
        let offer = notice
            .offer
            .iter()
            .map(|offer| format!("  you may add, before this is planned or after `complete`: {offer}"));
        std::iter::once(first).chain(offer).collect::<Vec<_>>()
    };
    notices.iter().flat_map(lines).collect()
}

pub(super) fn section(text: &mut String, heading: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    text.push_str(&format!("\n{HEADING}{heading}{HEADING:#}\n"));
    for line in lines {
        text.push_str(&format!("  {line}\n"));
    }
}

/// `15.20` of `150020`.
pub(crate) fn version(version_num: u32) -> String {
    format!("{}.{}", version_num / 10_000, version_num % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_shows_its_lock() {
        let statement = Statement {
            stage: Stage::Lock,
            sql: "LOCK TABLE public.orders\nIN ACCESS EXCLUSIVE MODE".to_owned(),
            locks: vec!["ACCESS EXCLUSIVE on public.orders".to_owned()],
            held: "until the swap commits, at most 5 s".to_owned(),
        };
        insta::assert_snapshot!(anstream::adapter::strip_str(&statement_lines(7, &statement)), @"
          7. LOCK TABLE public.orders
             IN ACCESS EXCLUSIVE MODE
             -- ACCESS EXCLUSIVE on public.orders, held until the swap commits, at most 5 s
        ");
        let free = Statement {
            locks: vec![],
            ..statement
        };
        assert!(statement_lines(1, &free).contains("no lock on anything of yours"));
    }

    #[test]
    fn what_is_carried_is_grouped_by_class() {
        let item = |class: &str, object: &str| CarriedItem {
            class: class.to_owned(),
            object: object.to_owned(),
        };
        let lines = carried_lines(&[item("index", "a"), item("column", "id"), item("index", "b")]);
        assert_eq!(lines, ["column: id", "index: a, b"]);
    }
}
