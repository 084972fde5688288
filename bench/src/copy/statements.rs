//! The statements of the measurement. Those of `INSERT … SELECT` are the engine's own.
//!
//! They are here and not in `crossfade-postgres` because the engine never runs them: what it passed over for its copy
//! is measured here.

use crossfade_core::name::TableName;
use crossfade_core::plan::{Equality, Expression, Order, Source, SourceColumn, Target, TargetColumn};
use crossfade_lab::orders::Column;
use crossfade_postgres::copy::{CtidRange, copy_template};
use crossfade_postgres::ident::{self, Ident};

/// Where everything happens.
pub(super) const SCHEMA: &str = "crossfade_bench";
/// Statistics and hint bits.
pub(super) const VACUUM: &str = "VACUUM (ANALYZE) orders";
/// Pages of the heap, and bytes of heap and TOAST.
pub(super) const SIZE: &str = "\
SELECT pg_relation_size('orders') / current_setting('block_size')::int8, pg_table_size('orders')";
/// Makes room for the next way.
pub(super) const EMPTY: &str = "TRUNCATE orders_copy";
/// Where the WAL is, in bytes.
pub(super) const WAL: &str = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8";
/// What was copied.
pub(super) const COUNT: &str = "SELECT count(*) FROM orders_copy";
/// Whether commits are flushed.
pub(super) const FSYNC: &str = "SELECT current_setting('fsync')::bool";

/// An empty schema of ours, whatever a former run left.
pub(super) fn begin() -> String {
    format!("{}; CREATE SCHEMA {SCHEMA}", end())
}

/// Nothing of ours.
pub(super) fn end() -> String {
    format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
}

/// The target: as the source, with `id` and `status` retyped.
pub(super) fn target() -> String {
    "CREATE TABLE orders_copy (LIKE orders);
ALTER TABLE orders_copy ALTER id TYPE bigint, ALTER status TYPE order_status USING status::order_status"
        .to_owned()
}

/// What the ways run for a range.
pub(super) struct Statements {
    /// `$1` and `$2` are the range's bounds.
    pub(super) insert_select: String,
    source: Source,
    target: Target,
}

impl Statements {
    /// Renders them.
    pub(super) fn new() -> Statements {
        let (source, target) = (source(), copy());
        Statements {
            insert_select: copy_template(&source, &target),
            source,
            target,
        }
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
            ident::table(&self.source.name),
            range.start,
        )
    }

    /// Writes what [`Statements::copy_out`] read.
    pub(super) fn copy_in(&self) -> String {
        let columns = ident::list(self.target.columns.iter().map(|column| column.name.as_str()));
        format!(
            "COPY {} ({columns}) FROM STDIN (FORMAT binary)",
            ident::table(&self.target.shadow)
        )
    }
}

fn source() -> Source {
    let column = |column: Column| SourceColumn {
        name: column.name().to_owned(),
        type_oid: 0,
        type_name: String::new(),
        equality: Equality::Bytes,
        order: Order::Server,
    };
    Source {
        name: TableName::new(SCHEMA, "orders"),
        oid: 0,
        columns: Column::ALL.into_iter().map(column).collect(),
        key: None,
        identity_to_restore: None,
        full_identity: false,
        binary: true,
        never_missing: Vec::new(),
        each_row_once: false,
        parts: Vec::new(),
        definition: String::new(),
    }
}

fn copy() -> Target {
    let column = |(position, column): (usize, Column)| TargetColumn {
        name: column.name().to_owned(),
        type_name: String::new(),
        value: Expression {
            sql: value(column),
            reads: vec![position],
        },
    };
    Target {
        shadow: TableName::new(SCHEMA, "orders_copy"),
        name: TableName::new(SCHEMA, "orders_copy"),
        columns: Column::ALL.into_iter().enumerate().map(column).collect(),
        key: None,
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    }
}

fn value(column: Column) -> String {
    let name = Ident(column.name());
    match column {
        Column::Id => format!("{name}::bigint"),
        Column::Status => format!("{name}::{SCHEMA}.order_status"),
        Column::Customer
        | Column::Amount
        | Column::Details
        | Column::Note
        | Column::Created
        | Column::Updated => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_casts_where_it_reads() {
        let statements = Statements::new();
        let out = statements.copy_out(CtidRange {
            start: 8,
            end: Some(16),
        });
        assert!(
            out.starts_with(r#"COPY (SELECT "id"::bigint, "customer_id","#),
            "{out}"
        );
        assert!(
            out.contains("ctid >= '(8,0)'::tid AND ctid < '(16,0)'::tid"),
            "{out}"
        );
        assert!(statements.copy_in().ends_with("FROM STDIN (FORMAT binary)"));
    }
}
