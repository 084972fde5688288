//! Copying one range: its bounds, its statement, and what runs before it in its transaction.
//!
//! Invariants: the ranges of a table cover every `ctid` there is or will be, each once, whatever the estimate of
//! its size was (T15); ranges follow heap *and* TOAST bytes, so a small heap with a large TOAST table is still
//! split (T16). There is no `ON CONFLICT`: a duplicate in a copy is a bug and must surface as one.

pub mod chunk;

use bytes::BytesMut;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Part, Source, Target};
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};

use crate::derive;
use crate::ident::{self, Ident, literal};
use crate::session::{Session, SqlError};

/// Pages of the heap, `end` excluded; open-ended where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CtidRange {
    /// The first page.
    pub start: u32,
    /// The first page that is not in it; `None`: to the end, wherever that is when the range is read.
    pub end: Option<u32>,
}

/// A position in a heap, as a parameter of type `tid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tid {
    page: u32,
    item: u16,
}

impl Tid {
    fn page(page: u32) -> Self {
        Tid { page, item: 0 }
    }

    /// All positions of all heaps, in their order.
    pub fn number(self) -> u64 {
        u64::from(self.page) << 16 | u64::from(self.item)
    }

    /// The inverse of [`Tid::number`]; of numbers beyond the last position, the last.
    pub fn from_number(number: u64) -> Self {
        Tid {
            page: u32::try_from(number >> 16).unwrap_or(u32::MAX),
            item: (number & 0xFFFF) as u16,
        }
    }
}

impl CtidRange {
    /// The statement's `$1`.
    pub fn lower(&self) -> Tid {
        Tid::page(self.start)
    }

    /// The statement's `$2`. No heap has a page of the number that stands for "open".
    pub fn upper(&self) -> Tid {
        Tid::page(self.end.unwrap_or(u32::MAX))
    }
}

impl ToSql for Tid {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.page.to_be_bytes());
        out.extend_from_slice(&self.item.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TID
    }

    to_sql_checked!();
}

/// Cuts a table of `heap_pages` pages and `total_bytes` bytes (heap and TOAST) into ranges of about
/// `range_bytes`. The result is never empty; its first range begins at page 0 and its last has no end.
pub fn ranges(heap_pages: u32, total_bytes: u64, range_bytes: u64) -> Vec<CtidRange> {
    let wanted = total_bytes.div_ceil(range_bytes.max(1));
    let count = wanted.clamp(1, u64::from(heap_pages.max(1)));
    // Below 2^32 pages times at most as many ranges: no overflow, and the quotient is below 2^32 again.
    let bound = |number: u64| (number * u64::from(heap_pages) / count) as u32;
    (0..count)
        .map(|number| CtidRange {
            start: bound(number),
            end: (number + 1 < count).then(|| bound(number + 1)),
        })
        .collect()
}

/// Empties a target before the copy begins, or begins again.
pub fn empty(target: &Target) -> String {
    let only = derive::only(target);
    format!("TRUNCATE TABLE {only}{}", ident::table(&target.shadow))
}

/// The statement that copies one range into one target; `$1` and `$2` are the range's bounds.
pub fn copy_template(source: &Source, target: &Target) -> String {
    let (columns, values) = columns_and_values(target);
    format!(
        "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\n\
         SELECT {values}\n  FROM ONLY {source} AS {alias}{beside}\n \
         WHERE {alias}.ctid >= $1::tid AND {alias}.ctid < $2::tid{filter}",
        shadow = ident::table(&target.shadow),
        source = ident::table(&source.name),
        alias = Ident(&source.name.name),
        beside = derive::beside(target),
        filter = derive::filtered(target),
    )
}

/// Two statements of which one runs into the other: a range of the source out of one server, and into the target of
/// another.
pub fn pipe_templates(source: &Source, target: &Target, range: CtidRange) -> [String; 2] {
    let (columns, values) = columns_and_values(target);
    let format = crate::apply::format_of(source);
    let (lower, upper) = (range.lower(), range.upper());
    let out = format!(
        "COPY (SELECT {values}\n  FROM ONLY {source} AS {alias}\n WHERE {alias}.ctid >= '({},{})'::tid \
         AND {alias}.ctid < '({},{})'::tid{filter}) TO STDOUT (FORMAT {format})",
        lower.page,
        lower.item,
        upper.page,
        upper.item,
        source = ident::table(&source.name),
        alias = Ident(&source.name.name),
        filter = derive::filtered(target),
    );
    let into = format!(
        "COPY {} ({columns}) FROM STDIN (FORMAT {format})",
        ident::table(&target.shadow)
    );
    [out, into]
}

/// The key of the row at `$1`, such as `id = 42`, for people; where it is, if the table has no key.
pub fn show_key(source: &Source) -> String {
    format!(
        "SELECT {shown} FROM ONLY {table} AS {alias} WHERE {alias}.ctid = $1::tid",
        shown = shown_key(source),
        alias = Ident(&source.name.name),
        table = ident::table(&source.name)
    )
}

/// The key of a row of the source's alias, as a text.
pub(crate) fn shown_key(source: &Source) -> String {
    let alias = Ident(&source.name.name);
    let columns = source.key.iter().flat_map(|key| &key.columns);
    let shown: Vec<String> = columns
        .map(|column| {
            let column = Ident(&source.columns[*column].name);
            let label = literal(&format!("{column} = "));
            format!("{label} || pg_catalog.quote_nullable({alias}.{column}::text)")
        })
        .collect();
    if shown.is_empty() {
        format!("'ctid = ' || {alias}.ctid::text")
    } else {
        shown.join(" || ', ' || ")
    }
}

/// What a copy writes, and what from.
fn columns_and_values(target: &Target) -> (String, String) {
    let columns = ident::list(target.columns.iter().map(|column| column.name.as_str()));
    let values: Vec<&str> = target
        .columns
        .iter()
        .map(|column| column.value.sql.as_str())
        .collect();
    (columns, values.join(", "))
}

/// Begins a transaction that reads the source: the lock comes before the snapshot (R4), so that whatever would
/// rewrite or empty the table is either seen by our checks or waits for us.
pub fn begin_reading(source: &Source) -> String {
    format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ; {}",
        lock_for_reading(source)
    )
}

/// The lock of every transaction that reads the source.
pub fn lock_for_reading(source: &Source) -> String {
    let own = |table: &TableName| format!("ONLY {}", ident::table(table));
    let part = |part: &Part| match part.partitioned {
        true => ident::table(&part.name),
        false => own(&part.name),
    };
    let tables = match source.parts.is_empty() {
        true => own(&source.name),
        false => source.parts.iter().map(part).collect::<Vec<_>>().join(", "),
    };
    format!("LOCK TABLE {tables} IN ACCESS SHARE MODE")
}

/// Begins a transaction that only looks at an exported snapshot.
pub const BEGIN_IMPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// Takes over an exported snapshot; must follow [`begin_reading`] before any query.
pub fn import_snapshot(name: &str) -> String {
    format!("SET TRANSACTION SNAPSHOT {}", literal(name))
}

/// Exports the transaction's snapshot, and says which one it is.
pub const EXPORT_SNAPSHOT: &str =
    "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text";

/// The transaction's snapshot.
pub const CURRENT_SNAPSHOT: &str = "SELECT pg_catalog.pg_current_snapshot()::text";

/// What `$1`, a table's oid, is now: its file, the oid that the name `$2` has, heap pages, and bytes of heap and
/// TOAST. Functions over the current catalogs, not queries under the snapshot: a rewrite must be seen.
pub const SOURCE_STATE: &str = "\
SELECT pg_catalog.pg_relation_filenode($1::oid),
       pg_catalog.to_regclass($2::text)::oid,
       pg_catalog.pg_relation_size($1::oid) / pg_catalog.current_setting('block_size')::int8,
       pg_catalog.pg_table_size($1::oid)";

/// The source's file (`relfilenode`) now; `None` if there is no such table. A function over the current catalogs, as
/// [`SOURCE_STATE`].
///
/// # Errors
/// As the server says.
pub async fn file(session: &Session, source: &Source) -> Result<Option<u32>, SqlError> {
    if source.parts.is_empty() {
        let table = ident::table(&source.name);
        return Ok(session.query_one(FILE, &[&table]).await?.get(0));
    }
    let parts: Vec<String> = source.parts.iter().map(|part| ident::table(&part.name)).collect();
    Ok(session.query_one(FILE_OF_VIEW, &[&parts]).await?.get(0))
}

const FILE: &str = "SELECT pg_catalog.pg_relation_filenode(pg_catalog.to_regclass($1::text))";

/// The files of a view are those of its tables `$1` and of their partitions, as one number. A partition that was detached
/// and attached again has its file and has lost what was written to it meanwhile; its row of `pg_inherits` is another.
const FILE_OF_VIEW: &str = "\
WITH part AS (SELECT pg_catalog.to_regclass(name) AS relid FROM unnest($1::text[]) AS name)
SELECT (pg_catalog.hashtext(pg_catalog.string_agg(
          pg_catalog.concat_ws(' ', relid::oid, pg_catalog.pg_relation_filenode(relid), i.xmin), ',' ORDER BY relid))
        & 4294967295::int8)::oid
  FROM (SELECT relid FROM part UNION
        SELECT p.relid FROM part, pg_catalog.pg_partition_tree(part.relid) AS p) AS all_parts
  LEFT JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = relid";

/// Settings of a session that copies: with the bounds unknown at planning time nothing may be preferred to a
/// scan of the range.
pub const COPIER_SETTINGS: &str = "SET enable_seqscan = off";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fixture;

    fn assert_covers(ranges: &[CtidRange]) {
        assert_eq!(ranges.first().map(|range| range.start), Some(0));
        assert_eq!(ranges.last().map(|range| range.end), Some(None));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].end, Some(pair[1].start));
            assert!(pair[0].start < pair[1].start, "{pair:?}");
        }
    }

    #[test]
    fn ranges_cover_everything_once() {
        for pages in [0, 1, 2, 3, 7, 1000, u32::MAX - 1] {
            for (total, range) in [
                (0, 1),
                (1, 1),
                (10, 3),
                (u64::from(pages) * 8192, 64 << 13),
                (9, 0),
            ] {
                // More ranges than a test can hold come only with absurd sizes.
                if total / range.max(1) < 100_000 {
                    assert_covers(&ranges(pages, total, range));
                }
            }
        }
    }

    #[test]
    fn empty_and_one_page_tables_are_one_open_range() {
        let open = [CtidRange { start: 0, end: None }];
        assert_eq!(ranges(0, 0, 1 << 20), open);
        assert_eq!(ranges(1, 8192, 1 << 20), open);
    }

    #[test]
    fn toast_counts() {
        let toasted = ranges(8, 64 << 20, 16 << 20);
        let starts: Vec<u32> = toasted.iter().map(|range| range.start).collect();
        assert_eq!(starts, [0, 2, 4, 6]);
        assert_eq!(
            ranges(2, 64 << 20, 1 << 20).len(),
            2,
            "not more ranges than pages"
        );
    }

    #[test]
    fn statements() {
        let (source, mut target) = fixture::orders();
        insta::assert_snapshot!(copy_template(&source, &target));
        target.filter = Some(fixture::expression("amount > 0", &[2]));
        insta::assert_snapshot!(copy_template(&source, &target));
        insta::assert_snapshot!(begin_reading(&source));
        insta::assert_snapshot!(show_key(&source));
    }
}
