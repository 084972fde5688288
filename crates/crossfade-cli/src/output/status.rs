//! Migrations as the state schema shows them.

use crossfade_coordinator::operate::{MigrationStatus, MoveStatus, WayBackStatus};
use crossfade_core::phase::Phase;

use super::HEADING;
use super::report;
use super::units::{bytes, count};

/// A list, for people; with the numbers if it is about one.
pub(crate) fn render(migrations: &[MigrationStatus], one: bool) -> String {
    if migrations.is_empty() {
        return "No migrations.\n".to_owned();
    }
    migrations.iter().map(|migration| block(migration, one)).collect()
}

fn block(migration: &MigrationStatus, with_numbers: bool) -> String {
    let paused = if migration.paused { ", paused" } else { "" };
    let what = match &migration.moved {
        Some(MoveStatus { from, to, tables }) => format!("{tables} tables from {from} to {to}"),
        None => migration.table.clone(),
    };
    let mut text = format!(
        "{HEADING}{}{HEADING:#}  {what}  {}{paused}  {}\n",
        migration.name,
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
    if migration.moved.is_some()
        && let Some(progress) = at_work
    {
        text.push_str(&move_lines(progress, with_numbers));
    }
    if with_numbers {
        for (what, value) in report::rows(&migration.report) {
            text.push_str(&format!("  {what:<48}{value}\n"));
        }
    }
    text
}

/// Which server leads, how far the other one is, and if it is about one move how far each table is.
fn move_lines(progress: &serde_json::Value, each: bool) -> String {
    let number = |of: &serde_json::Value| of.as_u64().unwrap_or_default();
    let verified = if progress["verified"] == true {
        ", verified"
    } else {
        ""
    };
    let mut text = format!(
        "  leads: {}, lag {}{verified}\n",
        progress["leads"].as_str().unwrap_or("not known yet"),
        bytes(number(&progress["lag_bytes"]))
    );
    for table in progress["tables"]
        .as_array()
        .filter(|_| each)
        .into_iter()
        .flatten()
    {
        text.push_str(&format!(
            "  {:<40} {:<14} {} of about {} rows, {} changes{}\n",
            table["table"].as_str().unwrap_or_default(),
            table["activity"].as_str().unwrap_or_default().to_lowercase(),
            count(number(&table["rows_copied"])),
            count(number(&table["rows_expected"])),
            count(number(&table["changes_applied"])),
            if table["verified"] == true {
                ", verified"
            } else {
                ""
            }
        ));
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
        None if migration.moved.is_some() => {
            format!("no engine: `crossfade continue {} --from URL`", migration.name)
        }
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
            moved: None,
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
    fn of_a_move_is_told_which_server_leads_and_how_far_each_table_is() {
        let mut moving = migration(Phase::Ready);
        moving.moved = Some(MoveStatus {
            from: "old:5432/shop".to_owned(),
            to: "new:5432/shop".to_owned(),
            tables: 2,
        });
        moving.engine = Some(crossfade_coordinator::operate::EngineStatus {
            host: "h".to_owned(),
            pid: 7,
            heard_seconds_ago: 0.0,
        });
        moving.progress = serde_json::json!({ "leads": "old:5432/shop", "lag_bytes": 2048, "verified": true, "tables": [
            { "table": "public.items", "activity": "Ready", "rows_copied": 1000, "rows_expected": 1000,
              "changes_applied": 3, "verified": true },
        ] });
        let text = render(&[moving.clone()], true);
        assert!(
            text.contains("2 tables from old:5432/shop to new:5432/shop") && text.contains("public.items"),
            "{text}"
        );
        assert!(
            text.contains("leads: old:5432/shop, lag 2.0 kB, verified"),
            "{text}"
        );
        assert!(!render(&[moving.clone()], false).contains("public.items"));
        moving.engine = None;
        assert!(render(&[moving], true).contains("crossfade continue m --from URL"));
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
