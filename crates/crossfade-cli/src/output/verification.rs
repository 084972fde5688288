//! What a comparison of all rows came to.

use crossfade_coordinator::report::Verification;
use crossfade_core::name::MigrationName;
use crossfade_core::verify::{Difference, Kind};

use super::GOOD;
use super::units::{count, counted};

/// Rows that are shown to people; programs get all that are known.
const SHOWN: usize = 20;

/// Every row is equal.
pub(crate) fn equal(name: &MigrationName, found: &Verification) -> String {
    format!(
        "{GOOD}Equal{GOOD:#}: migration `{name}`, {}.\n{}",
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
    let mut text: String = found.differences.iter().take(SHOWN).map(line).collect();
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

fn line(difference: &Difference) -> String {
    let kind = match difference.kind {
        Kind::Missing => "missing in the new table",
        Kind::Extra => "in the new table only",
        Kind::Different => "different",
    };
    if difference.key.is_empty() {
        format!("  a row {kind}\n")
    } else {
        format!("  {}: {kind}\n", difference.key)
    }
}
