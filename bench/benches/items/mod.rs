//! Rows and a source as `crossfade bench` has them, in binary as the stream carries them.

use bytes::Bytes;
use crossfade_core::change::{Cell, Row};
use crossfade_core::name::TableName;
use crossfade_core::plan::{Equality, Key, Order, Source, SourceColumn};

const COLUMNS: [(&str, u32, &str); 6] = [
    ("id", 23, "integer"),
    ("customer", 23, "integer"),
    ("status", 25, "text"),
    ("payload", 25, "text"),
    ("document", 25, "text"),
    ("updated", 1_184, "timestamp with time zone"),
];

/// The table that changes come from.
pub(crate) fn source() -> Source {
    let column = |(name, type_oid, type_name): (&str, u32, &str)| SourceColumn {
        name: name.to_owned(),
        type_oid,
        type_name: type_name.to_owned(),
        equality: Equality::Bytes,
        order: Order::Server,
    };
    Source {
        name: TableName::new("public", "items"),
        oid: 16_384,
        columns: COLUMNS.into_iter().map(column).collect(),
        key: Some(Key { columns: vec![0] }),
        identity_to_restore: None,
        full_identity: false,
        binary: true,
        never_missing: Vec::new(),
        each_row_once: false,
        parts: Vec::new(),
        definition: String::new(),
    }
}

/// A row with a payload of a hundred bytes.
pub(crate) fn row(id: u32, document: Cell) -> Row {
    let int = |value: u32| Cell::Binary(Bytes::copy_from_slice(&value.to_be_bytes()));
    Row([
        int(id),
        int(id % 100_000),
        Cell::Binary(Bytes::from_static(b"shipped")),
        Cell::Binary(Bytes::from(vec![b'x'; 100])),
        document,
        Cell::Binary(Bytes::from_static(&[0, 2, 180, 1, 2, 3, 4, 5])),
    ]
    .into())
}
