//! Migrations as the state schema shows them.

use crossfade_coordinator::operate::{MigrationStatus, WayBackStatus};
use crossfade_core::phase::Phase;

use super::HEADING;
use super::report;
use super::units::bytes;

/// A list, for people; with the numbers if it is about one.
pub(crate) fn render(migrations: &[MigrationStatus], one: bool) -> String {
    if migrations.is_empty() {
        return "No migrations.\n".to_owned();
    }
    migrations.iter().map(|migration| block(migration, one)).collect()
}

fn block(migration: &MigrationStatus, with_numbers: bool) -> String {
    let paused = if migration.paused { ", paused" } else { "" };
    let mut text = format!(
        "{HEADING}{}{HEADING:#}  {}  {}{paused}  {}\n",
        migration.name,
        migration.table,
        migration.phase.as_str(),
        engine(migration)
    );
    // What the engine wrote of itself is of yesterday when it is gone.
    let at_work = migration.engine.as_ref().map(|_| &migration.progress);
    if let Some(waits_for) = at_work.and_then(|progress| progress["waits_for"].as_str()) {
        text.push_str(&format!("  waits: {waits_for}\n"));
    }
    if let Some(way_back) = &migration.way_back {
        text.push_str(&format!(
            "  way back: {}\n",
            state_of(way_back, migration.name.as_str())
        ));
    }
    if let Some(why) = at_work.and_then(|progress| progress["held_back"].as_str()) {
        text.push_str(&format!("  held back: {why}\n"));
    }
    if with_numbers {
        for (what, value) in report::rows(&migration.report) {
            text.push_str(&format!("  {what:<48}{value}\n"));
        }
    }
    text
}

fn state_of(way_back: &WayBackStatus, name: &str) -> String {
    if let Some(lost) = &way_back.lost {
        return format!("lost, {lost}: `crossfade complete {name}` ends with the new table");
    }
    match (&way_back.closed_since, way_back.lag_bytes) {
        (Some(since), _) => format!(
            "closed since {since}: {}",
            way_back.reason.as_deref().unwrap_or("the reason is not known")
        ),
        (None, Some(_)) if let Some(doubt) = &way_back.doubt => {
            format!("rollback not ready, it will first compare every row: {doubt}")
        }
        (None, Some(lag)) => format!("rollback ready, lag {}", bytes(lag)),
        (None, None) => "not begun yet".to_owned(),
    }
}

fn engine(migration: &MigrationStatus) -> String {
    match &migration.engine {
        Some(engine) => format!(
            "engine: process {} on {}, heard of {:.0} s ago",
            engine.pid, engine.host, engine.heard_seconds_ago
        ),
        None if migration.phase.is_final() => String::new(),
        // Nothing follows any more.
        None if migration.phase == Phase::Swapped && migration.way_back.is_none() => {
            format!("in place: `crossfade complete {}` ends it", migration.name)
        }
        None => format!("no engine: `crossfade continue {}`", migration.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(phase: Phase) -> MigrationStatus {
        MigrationStatus {
            name: "m".parse().unwrap(),
            table: "public.t".to_owned(),
            phase,
            paused: false,
            engine: None,
            way_back: None,
            progress: serde_json::json!({ "waits_for": "pid 7", "held_back": "pace" }),
            report: Default::default(),
        }
    }

    #[test]
    fn what_an_engine_that_is_gone_waited_for_is_not_told() {
        let text = render(&[migration(Phase::Ready)], false);
        assert!(
            text.contains("crossfade continue m") && !text.contains("pid 7") && !text.contains("pace"),
            "{text}"
        );
    }

    #[test]
    fn what_is_in_place_without_a_way_back_is_only_to_be_completed() {
        let text = render(&[migration(Phase::Swapped)], false);
        assert!(
            text.contains("crossfade complete m") && !text.contains("continue"),
            "{text}"
        );
    }
}
