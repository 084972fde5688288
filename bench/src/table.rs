//! The table that everything is measured on: an order-like row with a payload of a width that is chosen, and in some rows
//! a text that is moved out of line.

use crossfade_core::plan::{Equality, Expression, Order, Source, SourceColumn, Target, TargetColumn};
use crossfade_postgres::ident::{Ident, table};
use crossfade_postgres::session::{Session, SqlError};

use crate::table_name;

/// Bytes of a text that is moved out of line. It is not compressed, so its content is no matter.
const TOASTED_BYTES: u64 = 8_000;
/// What `status` can be.
const STATUSES: &str = "'new', 'paid', 'packed', 'shipped', 'returned'";
/// Names of its columns.
const COLUMNS: [&str; 7] = [
    "id", "customer", "status", "amount", "payload", "document", "updated",
];

/// The table that changes are made to.
pub(crate) const ITEMS: &str = "items";

/// The largest payload, in bytes: it is stored in the row, and a row in a page.
pub const WIDTH_MAX: u64 = 6_000;

/// The enum type that a copy casts `status` to.
pub(crate) fn status_type() -> String {
    format!("CREATE TYPE {}.item_status AS ENUM ({STATUSES})", crate::SCHEMA)
}

/// An empty table of that name, without a key.
pub(crate) fn create(name: &str) -> String {
    let name = table(&table_name(name));
    format!(
        "CREATE TABLE {name} (
    id integer NOT NULL,
    customer integer NOT NULL,
    status text NOT NULL,
    amount numeric(12,2) NOT NULL,
    payload text NOT NULL,
    document text,
    updated timestamptz
);
ALTER TABLE {name} ALTER payload SET STORAGE PLAIN, ALTER document SET STORAGE EXTERNAL"
    )
}

/// Makes the table that changes are made to, with its rows, key, index and statistics.
pub(crate) async fn build(session: &Session, rows: u64, width: u64, toast: u64) -> Result<(), SqlError> {
    session.batch_execute(&create(ITEMS)).await?;
    session.batch_execute(&fill(ITEMS, rows, width, toast)).await?;
    for statement in finish(ITEMS) {
        session.batch_execute(&statement).await?;
    }
    Ok(())
}

/// Fills it with the ids from 1 on; of a hundred rows `toast` have a text out of line.
pub(crate) fn fill(name: &str, rows: u64, width: u64, toast: u64) -> String {
    let repeats = TOASTED_BYTES / 32;
    let document = format!("CASE WHEN id % 100 < {toast} THEN repeat(md5(id::text), {repeats}) END");
    format!(
        "INSERT INTO {} SELECT {} FROM pg_catalog.generate_series(1, {rows}) AS id",
        table(&table_name(name)),
        values(width, &document)
    )
}

/// The columns of a new row from its `id`, an integer of any size.
pub(crate) fn values(width: u64, document: &str) -> String {
    let repeats = width.div_ceil(32);
    format!(
        "id, id % 100000, (ARRAY[{STATUSES}])[1 + id % 5], id % 1000000 / 100.0, \
         substr(repeat(md5(id::text), {repeats}), 1, {width}), {document}, NULL::timestamptz"
    )
}

/// The key and the index that applications have, and what makes the first reader pay for nothing.
fn finish(name: &str) -> [String; 3] {
    let qualified = table(&table_name(name));
    [
        format!("ALTER TABLE {qualified} ADD PRIMARY KEY (id)"),
        format!("CREATE INDEX ON {qualified} (customer)"),
        vacuum(name),
    ]
}

/// Statistics and hint bits.
pub(crate) fn vacuum(name: &str) -> String {
    format!("VACUUM (ANALYZE) {}", table(&table_name(name)))
}

/// The number of rows, and a sum that depends on every value of every row but not on their order. An `id` reads the same
/// whatever integer it is.
pub(crate) fn content(qualified: &str) -> String {
    format!(
        "SELECT count(*), coalesce(sum(pg_catalog.hashtextextended(item::text, 0)::numeric), 0)::text FROM {qualified} AS item"
    )
}

/// The table as the engine's copy statement wants it.
pub(crate) fn source(name: &str) -> Source {
    let column = |name: &str| SourceColumn {
        name: name.to_owned(),
        type_oid: 0,
        type_name: String::new(),
        equality: Equality::Bytes,
        order: Order::Server,
    };
    Source {
        name: table_name(name),
        oid: 0,
        columns: COLUMNS.into_iter().map(column).collect(),
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

/// A table to copy it into, with `id` and `status` cast.
pub(crate) fn target(name: &str) -> Target {
    let column = |(position, column): (usize, &str)| TargetColumn {
        name: column.to_owned(),
        type_name: String::new(),
        value: Expression {
            sql: match column {
                "id" => "id::bigint".to_owned(),
                "status" => format!("status::{}.item_status", crate::SCHEMA),
                other => Ident(other).to_string(),
            },
            reads: vec![position],
        },
    };
    Target {
        shadow: table_name(name),
        name: table_name(name),
        columns: COLUMNS.into_iter().enumerate().map(column).collect(),
        key: None,
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    }
}
