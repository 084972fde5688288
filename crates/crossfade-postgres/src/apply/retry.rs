//! The second attempt at a piece after a unique or exclusion violation (R19).
//!
//! Values swapped between rows violate a constraint in whatever order the rows are written. So every touched row
//! is taken out first, remembered with the columns that puts keep and the ones we never write, and then all
//! images go in. A prefix of the stream is a state that the source was in, so whatever still collides is real.

use super::statements::Names;
use crate::ident::Ident;

/// In the order in which they run, after the deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryStatements {
    /// Turns all puts into images.
    pub stage_all: String,
    /// Remembers the rows that these will replace.
    pub remember: String,
    /// Takes them out.
    pub take_out: String,
    /// Writes the images whose row was there.
    pub put_back: String,
    /// Writes those whose row was not there and that keep nothing. With the former as many as were staged.
    pub put_new: String,
}

pub(super) fn render(names: &Names<'_>) -> RetryStatements {
    let (shadow, rows, image, old) = (&names.shadow, &names.rows, &names.image, &names.old);
    let (columns, all_columns) = (names.columns(), names.all_columns());
    let in_target = names.same_row("t", "i");
    let in_old = names.same_row("o", "i");
    RetryStatements {
        stage_all: names.stage_images(false),
        remember: format!(
            "INSERT INTO {old} ({all_columns})\nSELECT {values}\n  FROM {rows} AS t, {image} AS i\n WHERE {in_target}",
            values = of_target(names).join(", "),
        ),
        take_out: format!("DELETE FROM {rows} AS t\n USING {image} AS i\n WHERE {in_target}"),
        put_back: format!(
            "INSERT INTO {shadow} ({all_columns}) OVERRIDING SYSTEM VALUE\n\
             SELECT {values}\n  FROM {image} AS i\n  JOIN {old} AS o ON {in_old}",
            values = completed(names).join(", "),
        ),
        put_new: format!(
            "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\n\
             SELECT {columns}\n  FROM {image} AS i\n \
             WHERE {keeps_nothing} AND NOT EXISTS (SELECT FROM {old} AS o WHERE {in_old})",
            keeps_nothing = names.keeps_nothing("i"),
        ),
    }
}

fn of_target(names: &Names<'_>) -> Vec<String> {
    let written = names.target.columns.iter().map(|column| &column.name);
    written
        .chain(names.others)
        .map(|name| format!("t.{}", Ident(name)))
        .collect()
}

/// What the put carries, what it keeps from the old row, and what we never write.
fn completed(names: &Names<'_>) -> Vec<String> {
    let columns = names.target.columns.iter().enumerate();
    let written = columns.map(|(position, column)| {
        let name = Ident(&column.name);
        if names.may_keep(position) {
            format!(
                "CASE WHEN {} THEN o.{name} ELSE i.{name} END",
                names.is_kept("i", column)
            )
        } else {
            format!("i.{name}")
        }
    });
    written
        .chain(names.others.iter().map(|name| format!("o.{}", Ident(name))))
        .collect()
}
