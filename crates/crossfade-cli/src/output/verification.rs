//! What a comparison of all rows came to.

use crossfade_coordinator::report::Verification;
use crossfade_core::name::MigrationName;
use crossfade_core::verify::{Difference, Kind};
use crossfade_core::way_back::Direction;

use super::GOOD;
use super::units::{count, counted};

/// Rows that are shown to people; programs get all that are known.
const SHOWN: usize = 20;

/// Every row is equal.
pub(crate) fn equal(name: &MigrationName, found: &Verification) -> String {
    let repaired = match found.repaired {
        0 => String::new(),
        rows => format!(", {} repaired before", counted(rows, "row")),
    };
    format!(
        "{GOOD}Equal{GOOD:#}: migration `{name}`, {}{repaired}.\n{}",
        extent(found),
        unverified(found)
    )
}

/// What was compared.
pub(crate) fn extent(found: &Verification) -> String {
    format!(
        "{} rows in {} under {} of snapshots, the last at {}",
        count(found.rows),
        counted(found.slices, "slice"),
        counted(found.pairs, "pair"),
        found.aligned
    )
}

/// Something differs, or was not compared.
pub(crate) fn not_equal(found: &Verification) -> String {
    if !found.whole {
        return format!("compare all rows: the slices have a gap ({})", extent(found));
    }
    let more = if found.more { "at least " } else { "" };
    format!(
        "find every row equal: {more}{} of {} differ, in {} of {}",
        found.differences.len(),
        count(found.rows),
        found.slices_different,
        counted(found.slices, "slice")
    )
}

/// The rows that differ, a line each.
pub(crate) fn differences(found: &Verification) -> String {
    let mut text: String = {
        let shown = found.differences.iter().take(SHOWN);
        shown
            .map(|difference| line(found.direction, difference))
            .collect()
    };
    if found.more || found.differences.len() > SHOWN {
        text.push_str("  and more\n");
    }
    text
}

/// Columns without a counterpart.
pub(crate) fn unverified(found: &Verification) -> String {
    if found.unverified.is_empty() {
        return String::new();
    }
    format!(
        "Not compared, because the server alone fills them: {}.\n",
        found.unverified.join(", ")
    )
}

/// What that means, and what to do.
pub(crate) fn advice(found: &Verification, name: &str) -> String {
    match found.direction {
        Direction::Forward => format!(
            "Nothing was swapped, and nothing will be before a verification finds every row equal. The source is as the \
             application left it. Unless somebody else wrote to the new table this is a defect: keep both tables and \
             report it. `crossfade continue {name} --verify repair` writes these rows anew and compares all once more; \
             `crossfade abort {name}` gives up."
        ),
        Direction::Back => format!(
            "The new table is in its place and complete. The old one does not take its place again before a verification \
             finds every row equal: mend these rows in the old table, as a role that may write to it, then `crossfade \
             rollback {name}`, or let `crossfade rollback {name} --verify repair` write them anew \
             from the new table: what that does not hold is lost then. `crossfade continue {name}` only follows; `crossfade complete {name}` ends with the new table."
        ),
    }
}

fn line(direction: Direction, difference: &Difference) -> String {
    let table = match direction {
        Direction::Forward => "new",
        Direction::Back => "old",
    };
    let kind = match difference.kind {
        Kind::Missing => format!("missing in the {table} table"),
        Kind::Extra => format!("in the {table} table only"),
        Kind::Different => "different".to_owned(),
        Kind::Twice => "more than once in what the new tables make of it".to_owned(),
        Kind::NotOnce => "not in exactly one of the new tables, as the change wants it".to_owned(),
    };
    if difference.key.is_empty() {
        format!("  a row {kind}\n")
    } else {
        format!("  {}: {kind}\n", difference.key)
    }
}
