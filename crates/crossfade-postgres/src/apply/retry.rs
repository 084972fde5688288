//! The second attempt at a piece after a unique or exclusion violation (R19).
//!
//! Values swapped between rows violate a constraint in whatever order the rows are written. So every touched row
//! is taken out first, remembered with the columns that puts keep and the ones we never write, and then all
//! images go in. The stream's prefixes are states that the source was in, so whatever still collides is real.

use super::statements::Names;
use crate::ident::{self, Ident};

/// In the order in which they run, after the deletes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryStatements {
    /// Remembers the rows that puts will replace.
    pub remember: String,
    /// Takes them out.
    pub take_out: String,
    /// Writes the puts whose row was there.
    pub put_back: String,
    /// Writes the puts whose row was not there.
    pub put_new: String,
    /// How many puts belong into this target: what the last two must add up to; `None` when all do.
    pub count_puts: Option<String>,
}

pub(super) fn render(names: &Names<'_>, others: &[String]) -> RetryStatements {
    let written = names.columns();
    let every: Vec<&str> = names
        .target
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let every: Vec<&str> = every
        .into_iter()
        .chain(others.iter().map(String::as_str))
        .collect();
    let of_target: Vec<String> = every.iter().map(|name| format!("t.{}", Ident(name))).collect();
    let keys = names.staged_keys(&names.put, "");
    let filter = names.target.filter.as_ref();
    let in_target = filter.map(|filter| format!("(({}) IS TRUE)", filter.sql));
    let and = |condition: &str| match &in_target {
        Some(filter) => format!(" WHERE {condition} AND {filter}"),
        None => format!(" WHERE {condition}"),
    };
    let whole = and(&format!("{}.{} IS NULL", names.alias, names.kept));
    let any = in_target
        .as_ref()
        .map_or_else(String::new, |filter| format!(" WHERE {filter}"));
    RetryStatements {
        remember: format!(
            "INSERT INTO {old} ({every})\nSELECT {of_target}\n  FROM {shadow} AS t, ({keys}) AS s\n WHERE {same}",
            old = names.old,
            every = ident::list(every.iter().copied()),
            of_target = of_target.join(", "),
            shadow = names.shadow,
            same = names.same_key("t", "s"),
        ),
        take_out: format!(
            "DELETE FROM {shadow} AS t\n USING ({keys}) AS s\n WHERE {same}",
            shadow = names.shadow,
            same = names.same_key("t", "s"),
        ),
        put_back: format!(
            "INSERT INTO {shadow} ({every}) OVERRIDING SYSTEM VALUE\n\
             SELECT {values}\n  FROM ({images}) AS s\n  JOIN {old} AS o ON {same}",
            shadow = names.shadow,
            every = ident::list(every.iter().copied()),
            values = completed(names, others).join(", "),
            images = names.staged_images(&any),
            old = names.old,
            same = names.same_key("o", "s"),
        ),
        put_new: format!(
            "INSERT INTO {shadow} ({written}) OVERRIDING SYSTEM VALUE\n\
             SELECT {values}\n  FROM ({images}) AS s\n \
             WHERE NOT EXISTS (SELECT FROM {old} AS o WHERE {same})",
            shadow = names.shadow,
            values = numbered(names).join(", "),
            images = names.staged_images(&whole),
            old = names.old,
            same = names.same_key("o", "s"),
        ),
        count_puts: filter.map(|_| {
            format!(
                "SELECT pg_catalog.count(*) FROM {} AS {}{any}",
                names.put, names.alias
            )
        }),
    }
}

/// The final image: what the put carries, what it keeps from the old row, and what we never write.
fn completed(names: &Names<'_>, others: &[String]) -> Vec<String> {
    let columns = names.target.columns.iter().enumerate();
    let written = columns.map(|(position, column)| {
        if names.may_keep(position) {
            let kept = names.is_kept("s", column);
            format!(
                "CASE WHEN {kept} THEN o.{} ELSE s.c{position} END",
                Ident(&column.name)
            )
        } else {
            format!("s.c{position}")
        }
    });
    written
        .chain(others.iter().map(|name| format!("o.{}", Ident(name))))
        .collect()
}

fn numbered(names: &Names<'_>) -> Vec<String> {
    (0..names.target.columns.len())
        .map(|position| format!("s.c{position}"))
        .collect()
}
