//! What a migration did, in numbers.

use crossfade_coordinator::report::Report;
use crossfade_core::name::MigrationName;

use super::units::{count, millis};
use super::{GOOD, HEADING};

/// For people, after the last phase.
pub(crate) fn render(name: Option<&MigrationName>, report: &Report) -> String {
    let name = name.map(|name| format!(" `{name}`")).unwrap_or_default();
    let lines: String = rows(report)
        .into_iter()
        .map(|(what, value)| format!("  {what:<48}{value}\n"))
        .collect();
    let what = match report.timeline.rolled_back {
        Some(_) => "has its old table in place again, with every write made since the swap",
        None => "has its new table in place",
    };
    format!("{GOOD}Done{GOOD:#}: migration{name} {what}.\n\n{HEADING}Report{HEADING:#}\n{lines}")
}

/// What and how much.
pub(crate) fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let times = &report.timeline;
    let span = |from, to| between(from, to).map_or("-".to_owned(), |time| millis(time as f64));
    let mut rows = vec![
        ("rows copied", count(report.rows_copied)),
        ("changes delivered by the stream", count(report.changes_delivered)),
        ("  of these already in the copy", count(report.changes_dropped)),
        ("changes applied", count(report.changes_applied)),
        (
            "  of these under the cutover's lock",
            count(report.changes_last_drain),
        ),
        ("rows fetched again from the source", count(report.rows_fetched)),
        ("copy took", span(times.copy_started, times.copy_ended)),
        ("indexes and backlog took", span(times.copy_ended, times.indexed)),
        (
            "whole run took",
            span(times.started, times.ended.or(times.swapped)),
        ),
        ("rows compared before the cutover", compared(report)),
        ("cutover attempts", report.cutover_attempts.to_string()),
        ("exclusive lock held for", millis(report.lock_held_ms)),
        (
            "others queued behind our request for at most",
            millis(report.lock_queue_ms_max),
        ),
        (
            "sessions that waited when it was released",
            report.sessions_waiting_at_swap.to_string(),
        ),
    ];
    if report.changes_carried_back > 0 || times.rolled_back.is_some() {
        rows.push((
            "changes carried back after the swap",
            count(report.changes_carried_back),
        ));
    }
    if report.strays > 0 {
        rows.push(("writes of others to the old table", count(report.strays)));
    }
    if times.rolled_back.is_some() {
        let held = millis(report.rollback_lock_held_ms);
        rows.push(("exclusive lock held by the rollback for", held));
    }
    rows
}

fn compared(report: &Report) -> String {
    match &report.verification {
        None => "none".to_owned(),
        Some(found) if found.equal => format!("{}, all equal", count(found.rows)),
        Some(found) => format!("{}, some differ", count(found.rows)),
    }
}

fn between(from: Option<u64>, to: Option<u64>) -> Option<u64> {
    to.zip(from).map(|(to, from)| to.saturating_sub(from))
}
