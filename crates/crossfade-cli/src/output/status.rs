//! Migrations as the state schema shows them.

use crossfade_coordinator::operate::MigrationStatus;

use super::HEADING;
use super::report;

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
    if with_numbers {
        for (what, value) in report::rows(&migration.report) {
            text.push_str(&format!("  {what:<48}{value}\n"));
        }
    }
    text
}

fn engine(migration: &MigrationStatus) -> String {
    match &migration.engine {
        Some(engine) => format!(
            "engine: process {} on {}, heard of {:.0} s ago",
            engine.pid, engine.host, engine.heard_seconds_ago
        ),
        None if migration.phase.is_final() => String::new(),
        None => format!("no engine: `crossfade continue {}`", migration.name),
    }
}
