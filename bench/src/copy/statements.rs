//! The statements of the measurement. Those of `INSERT … SELECT` are the engine's own.
//!
//! They are here and not in `crossfade-postgres` because the engine never runs them: what it passed over for its copy
//! is measured here.

use crossfade_core::plan::{Source, Target};
use crossfade_postgres::copy::{CtidRange, copy_template};
use crossfade_postgres::ident;

use crate::table;

/// Where the WAL is, in bytes.
pub(super) const WAL: &str = "SELECT (pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
/// Columns of the target that are indexed before it is filled, as many as are wanted.
const INDEXED: [&str; 2] = ["customer", "status, updated"];
/// How many secondary indexes there can be.
pub const INDEXES_MAX: u64 = INDEXED.len() as u64;

/// What the ways run from one table into another.
pub(super) struct Statements {
    /// `$1` and `$2` are the range's bounds.
    pub(super) insert_select: String,
    source: Source,
    target: Target,
}

impl Statements {
    /// Renders them for tables of these names.
    pub(super) fn new(from: &str, to: &str) -> Statements {
        let (source, target) = (table::source(from), table::target(to));
        Statements {
            insert_select: copy_template(&source, &target),
            source,
            target,
        }
    }

    fn from(&self) -> String {
        ident::table(&self.source.name)
    }

    fn to(&self) -> String {
        ident::table(&self.target.shadow)
    }

    /// Pages of the heap, and bytes of heap and TOAST.
    pub(super) fn size(&self) -> String {
        let table = ident::literal(&self.from());
        format!(
            "SELECT pg_relation_size({table}) / current_setting('block_size')::int8, pg_table_size({table})"
        )
    }

    /// Makes an empty target with so many secondary indexes, instead of one that is there.
    pub(super) fn renew(&self, indexes: u64) -> String {
        let (from, to) = (self.from(), self.to());
        let wanted = INDEXED
            .iter()
            .take(usize::try_from(indexes).unwrap_or(INDEXED.len()));
        let indexes: Vec<String> = wanted
            .map(|columns| format!("; CREATE INDEX ON {to} ({columns})"))
            .collect();
        format!(
            "DROP TABLE IF EXISTS {to}; CREATE TABLE {to} (LIKE {from} INCLUDING STORAGE); \
             ALTER TABLE {to} ALTER id TYPE bigint, ALTER status TYPE item_status USING status::item_status{}",
            indexes.concat()
        )
    }

    /// How many rows were copied, and the sum of their ids.
    pub(super) fn copied(&self) -> String {
        format!("SELECT count(*), coalesce(sum(id), 0)::int8 FROM {}", self.to())
    }

    /// Reads a range, cast; the bounds are literals because `COPY` takes no parameters.
    pub(super) fn copy_out(&self, range: CtidRange) -> String {
        let values: Vec<&str> = self
            .target
            .columns
            .iter()
            .map(|column| column.value.sql.as_str())
            .collect();
        let upper = range
            .end
            .map(|end| format!(" AND ctid < '({end},0)'::tid"))
            .unwrap_or_default();
        format!(
            "COPY (SELECT {} FROM ONLY {} WHERE ctid >= '({},0)'::tid{upper}) TO STDOUT (FORMAT binary)",
            values.join(", "),
            self.from(),
            range.start,
        )
    }

    /// Writes what [`Statements::copy_out`] read.
    pub(super) fn copy_in(&self) -> String {
        let columns = ident::list(self.target.columns.iter().map(|column| column.name.as_str()));
        format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", self.to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_casts_where_it_reads() {
        let statements = Statements::new("items", "copied");
        let out = statements.copy_out(CtidRange {
            start: 8,
            end: Some(16),
        });
        assert!(
            out.starts_with(r#"COPY (SELECT id::bigint, "customer", status::public.item_status"#),
            "{out}"
        );
        assert!(
            out.contains("ctid >= '(8,0)'::tid AND ctid < '(16,0)'::tid"),
            "{out}"
        );
        assert!(statements.copy_in().ends_with("FROM STDIN (FORMAT binary)"));
    }

    #[test]
    fn a_target_has_as_many_indexes_as_are_wanted() {
        let statements = Statements::new("items", "copied");
        let counts = [0, 1, 2, 9].map(|wanted| statements.renew(wanted).matches("CREATE INDEX").count());
        assert_eq!(counts, [0, 1, 2, 2]);
    }
}
