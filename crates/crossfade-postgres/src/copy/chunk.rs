//! The statements of one chunk: where it ends, and its copy.
//!
//! Bounds travel as the stream's keys do, by `COPY` into a staging table of the session: the server alone compares
//! them (R12), and no value becomes a text of a statement. The subselects are evaluated once, before the scan, so
//! that the scan is one of the key's index.

use crossfade_core::plan::{Source, Target};

use super::{columns_and_values, shown_key};
use crate::apply::fetch::FetchStatements;
use crate::derive;
use crate::ident::{self, Ident};

/// The staged bounds' numbers.
pub const LOWER: u32 = 0;
/// See [`LOWER`].
pub const UPPER: u32 = 1;

/// Settings of a session that copies chunks: what reads a range of keys goes through the key's index, in its order.
pub const CHUNK_SETTINGS: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET lock_timeout = '2s'";

/// Which bounds a chunk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// There is a chunk before it.
    pub lower: bool,
    /// There is a chunk after it.
    pub upper: bool,
}

/// The key of the last row of a chunk of so many between the staged bounds, in the form in which keys travel; no row if
/// fewer than `rows` are left. `rows` is a number, or what stands for one where the statement is shown.
pub fn chunk_end(source: &Source, bounds: Bounds, rows: &str) -> Option<String> {
    let staged = FetchStatements::render(source)?;
    let alias = Ident(&source.name.name).to_string();
    let keys = staged.key_of(&alias);
    Some(format!(
        "COPY (SELECT 0::pg_catalog.int4, {keys}\n  FROM ONLY {source} AS {alias}{within}\n \
         ORDER BY {keys} OFFSET {rows} LIMIT 1) TO STDOUT (FORMAT {format})",
        source = ident::table(&source.name),
        within = within(&staged, &alias, bounds, " WHERE "),
        format = staged.format,
    ))
}

/// The first row between the staged bounds, by its key such as `id = 42`, for people.
pub fn chunk_first(source: &Source, bounds: Bounds) -> Option<String> {
    let staged = FetchStatements::render(source)?;
    let alias = Ident(&source.name.name).to_string();
    Some(format!(
        "SELECT {shown}\n  FROM ONLY {source} AS {alias}{within}\n ORDER BY {keys} LIMIT 1",
        shown = shown_key(source),
        source = ident::table(&source.name),
        within = within(&staged, &alias, bounds, " WHERE "),
        keys = staged.key_of(&alias),
    ))
}

/// How many rows are between the staged bounds.
pub fn chunk_rows(source: &Source, bounds: Bounds) -> Option<String> {
    let staged = FetchStatements::render(source)?;
    let alias = Ident(&source.name.name).to_string();
    Some(format!(
        "SELECT count(*) FROM ONLY {source} AS {alias}{within}",
        source = ident::table(&source.name),
        within = within(&staged, &alias, bounds, " WHERE "),
    ))
}

/// The statement that copies a chunk into one target, between the staged bounds.
pub fn chunk_copy(source: &Source, target: &Target, bounds: Bounds) -> Option<String> {
    let staged = FetchStatements::render(source)?;
    let (columns, values) = columns_and_values(target);
    let alias = Ident(&source.name.name).to_string();
    Some(format!(
        "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\n\
         SELECT {values}\n  FROM ONLY {source} AS {alias}{beside}\n WHERE true{within}{filter}",
        shadow = ident::table(&target.shadow),
        source = ident::table(&source.name),
        within = within(&staged, &alias, bounds, "\n   AND "),
        beside = derive::beside(target),
        filter = derive::filtered(target),
    ))
}

/// Two statements of which one runs into the other: a chunk, between the staged bounds, out of one server and into the
/// target of another.
pub fn chunk_pipe(source: &Source, target: &Target, bounds: Bounds) -> Option<[String; 2]> {
    let staged = FetchStatements::render(source)?;
    let (columns, values) = columns_and_values(target);
    let alias = Ident(&source.name.name).to_string();
    let format = staged.format;
    let out = format!(
        "COPY (SELECT {values}\n  FROM ONLY {source} AS {alias}\n WHERE true{within}{filter}) \
         TO STDOUT (FORMAT {format})",
        source = ident::table(&source.name),
        within = within(&staged, &alias, bounds, "\n   AND "),
        filter = derive::filtered(target),
    );
    let into = format!(
        "COPY {} ({columns}) FROM STDIN (FORMAT {format})",
        ident::table(&target.shadow)
    );
    Some([out, into])
}

fn within(staged: &FetchStatements, alias: &str, bounds: Bounds, first: &str) -> String {
    let bound = |number: u32| {
        let cells = staged.keys.iter().map(|key| staged.staged_cell(key, number));
        cells.collect::<Vec<_>>().join(", ")
    };
    let keys = staged.key_of(alias);
    let lower = bounds.lower.then(|| format!("({keys}) > ({})", bound(LOWER)));
    let upper = bounds.upper.then(|| format!("({keys}) <= ({})", bound(UPPER)));
    let both: Vec<String> = lower.into_iter().chain(upper).collect();
    if both.is_empty() {
        return String::new();
    }
    format!("{first}{}", both.join("\n   AND "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fixture;

    #[test]
    fn statements() {
        let (source, mut target) = fixture::orders_by_two();
        let both = Bounds {
            lower: true,
            upper: true,
        };
        let open = Bounds {
            lower: false,
            upper: false,
        };
        let above = Bounds { lower: true, ..open };
        insta::assert_snapshot!(chunk_end(&source, above, "5000").unwrap());
        insta::assert_snapshot!(chunk_end(&source, open, "5000").unwrap());
        insta::assert_snapshot!(chunk_copy(&source, &target, both).unwrap());
        target.filter = Some(fixture::expression("amount > 0", &[2]));
        insta::assert_snapshot!(chunk_end(&source, both, "5000").unwrap());
        insta::assert_snapshot!(chunk_copy(&source, &target, open).unwrap());
        insta::assert_snapshot!(chunk_pipe(&source, &target, both).unwrap().join("\n"));
        let (source, target) = fixture::orders_without_key();
        assert_eq!(chunk_copy(&source, &target, both), None);
    }
}
