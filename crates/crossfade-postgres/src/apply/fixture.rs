//! A source and a target for the snapshot tests of statements.

use crossfade_core::name::TableName;
use crossfade_core::plan::{
    Derived, Equality, Expression, Key, Order, Rows, Source, SourceColumn, Target, TargetColumn,
};

/// An expression that reads these source columns.
pub(crate) fn expression(sql: &str, reads: &[usize]) -> Expression {
    Expression {
        sql: sql.to_owned(),
        reads: reads.to_vec(),
    }
}

fn source_column(name: &str, type_oid: u32, type_name: &str) -> SourceColumn {
    SourceColumn {
        name: name.to_owned(),
        type_oid,
        type_name: type_name.to_owned(),
        equality: Equality::Bytes,
        order: Order::Server,
    }
}

fn target_column(name: &str, type_name: &str, value: Expression) -> TargetColumn {
    TargetColumn {
        name: name.to_owned(),
        type_name: type_name.to_owned(),
        value,
    }
}

/// `orders (id integer, status text, amount numeric, note text)` with `id` and `status` retyped, and names that
/// need quotes.
pub(crate) fn orders() -> (Source, Target) {
    let source = Source {
        name: TableName::new("public", "Orders"),
        oid: 16384,
        columns: vec![
            source_column("id", 23, "integer"),
            source_column("status", 25, "text"),
            source_column("amount", 1700, "numeric(10,2)"),
            source_column("a \"note\"", 25, "text"),
        ],
        key: Some(Key { columns: vec![0] }),
        identity_to_restore: None,
        full_identity: false,
        binary: true,
        never_missing: Vec::new(),
        each_row_once: false,
        parts: Vec::new(),
        definition: String::new(),
    };
    let target = Target {
        shadow: TableName::new("crossfade_m", "Orders"),
        name: TableName::new("public", "Orders"),
        columns: vec![
            target_column("id", "bigint", expression("id", &[0])),
            target_column(
                "status",
                "public.order_status",
                expression("status::public.order_status", &[1]),
            ),
            target_column("amount", "numeric(10,2)", expression("\"Orders\".amount", &[2])),
            target_column("a \"note\"", "text", expression("\"a \"\"note\"\"\"", &[3])),
        ],
        key: Some(vec![0]),
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    };
    (source, target)
}

/// The same, with a second key column.
pub(crate) fn orders_by_two() -> (Source, Target) {
    let (mut source, mut target) = orders();
    source.key = Some(Key { columns: vec![0, 2] });
    target.key = Some(vec![0, 2]);
    (source, target)
}

/// The same, without a key.
pub(crate) fn orders_without_key() -> (Source, Target) {
    let (mut source, mut target) = orders();
    source.key = None;
    target.key = None;
    (source, target)
}

/// [`orders_by_two`], of which only some are in the target.
pub(crate) fn orders_filtered() -> (Source, Target) {
    let (source, mut target) = orders_by_two();
    target.filter = Some(expression("amount > 0", &[2]));
    target.derived = Some(Derived {
        key: vec![0, 2],
        rows: None,
    });
    (source, target)
}

/// A row for each word of an order's note.
pub(crate) fn order_tags() -> (Source, Target) {
    let (source, mut target) = orders();
    target.shadow = TableName::new("crossfade_m", "order_tags");
    target.name = TableName::new("public", "order_tags");
    target.columns = vec![
        target_column("order_id", "bigint", expression("id", &[0])),
        target_column("n", "bigint", expression("n", &[])),
        target_column("tag", "text", expression("lower(tag)", &[])),
    ];
    target.filter = Some(expression("tag <> ''", &[]));
    target.derived = Some(Derived {
        key: vec![0, 1],
        rows: Some(Rows {
            call: expression("string_to_table(\"a \"\"note\"\"\", ' ')", &[3]),
            columns: vec!["tag".to_owned(), "n".to_owned()],
        }),
    });
    (source, target)
}
