//! The source: its columns as the stream carries them, and how their values are compared and sent.

use crossfade_core::plan::{Equality, Order, SourceColumn};
use postgres_types::Type;
use tokio_postgres::Row;

use crate::session::{Session, SqlError};

const COLUMNS: &str = include_str!("source.sql");

/// A column of the source table, generated ones included.
pub(crate) struct TableColumn {
    pub(crate) column: SourceColumn,
    /// The server computes it: the stream does not carry it, and the copy must not write it.
    pub(crate) generated: bool,
    /// Its type and all types within it have send and receive functions.
    pub(crate) binary: bool,
    /// Its binary form means the same on every server.
    pub(crate) portable: bool,
    /// Its type is an enum.
    pub(crate) is_enum: bool,
}

/// Reads all columns of a table, in order.
pub(crate) async fn columns(session: &Session, oid: u32) -> Result<Vec<TableColumn>, SqlError> {
    let rows = session.query(COLUMNS, &[&oid]).await?;
    Ok(rows.iter().map(from_row).collect())
}

/// The columns as they travel together: if one of them has no binary form, all are texts, and the order of a text is
/// not its value's.
pub(crate) fn in_one_form(columns: Vec<TableColumn>) -> Vec<SourceColumn> {
    let binary = columns.iter().all(|column| column.binary);
    let in_form = |column: TableColumn| SourceColumn {
        order: if binary {
            column.column.order
        } else {
            Order::Server
        },
        ..column.column
    };
    columns.into_iter().map(in_form).collect()
}

fn from_row(row: &Row) -> TableColumn {
    let traits = Traits {
        base_type: row.get(5),
        modifier: row.get(3),
        is_enum: row.get(6),
        deterministic: row.get(7),
        collated_by_bytes: row.get(9),
    };
    TableColumn {
        column: SourceColumn {
            name: row.get(0),
            type_oid: row.get(1),
            type_name: row.get(2),
            equality: traits.equality(),
            order: traits.order(),
        },
        generated: row.get(4),
        is_enum: row.get(6),
        binary: row.get(8),
        portable: row.get(10),
    }
}

/// What decides whether equal values have equal bytes.
struct Traits {
    /// The type, without its domains.
    base_type: u32,
    modifier: i32,
    is_enum: bool,
    /// The collation is deterministic, or there is none.
    deterministic: bool,
    /// The collation compares bytes, in the encoding in which they are streamed, or there is none.
    collated_by_bytes: bool,
}

/// Types whose equality is that of their bytes, in text as in binary. Absent on purpose: `numeric`, `interval`,
/// `jsonb` and floats have several forms of one value; records, ranges and arrays follow what is in them;
/// extensions' types (`citext`) are anybody's guess.
const EQUAL_BY_BYTES: &[Type] = &[
    Type::BOOL,
    Type::BYTEA,
    Type::CHAR,
    Type::CIDR,
    Type::DATE,
    Type::INET,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::MACADDR,
    Type::MACADDR8,
    Type::MONEY,
    Type::NAME,
    Type::OID,
    Type::PG_LSN,
    Type::TEXT,
    Type::TIME,
    Type::TIMETZ,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::UUID,
    Type::VARBIT,
    Type::BIT,
    Type::VARCHAR,
];

/// Types whose binary form is one signed number of a fixed width.
const ORDERED_AS_NUMBERS: &[Type] = &[
    Type::DATE,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::MONEY,
    Type::TIME,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
];

/// Types whose binary form is in the order of its bytes.
const ORDERED_BY_BYTES: &[Type] = &[
    Type::BOOL,
    Type::BYTEA,
    Type::MACADDR,
    Type::MACADDR8,
    Type::OID,
    Type::PG_LSN,
    Type::UUID,
];

/// Types that are so under a collation that compares bytes.
const ORDERED_BY_COLLATION: &[Type] = &[Type::NAME, Type::TEXT, Type::VARCHAR];

impl Traits {
    /// Of values that travel in binary.
    fn order(&self) -> Order {
        let among = |types: &[Type]| types.iter().any(|known| known.oid() == self.base_type);
        if among(ORDERED_AS_NUMBERS) {
            Order::Signed
        } else if among(ORDERED_BY_BYTES) || (among(ORDERED_BY_COLLATION) && self.collated_by_bytes) {
            Order::Bytes
        } else {
            Order::Server
        }
    }

    fn equality(&self) -> Equality {
        let by_bytes = EQUAL_BY_BYTES.iter().any(|known| known.oid() == self.base_type);
        // Trailing blanks do not count in `bpchar`; of `char(n)` every value is padded to the same width.
        let padded = self.base_type == Type::BPCHAR.oid() && self.modifier > 0;
        if self.deterministic && (by_bytes || padded || self.is_enum) {
            Equality::Bytes
        } else {
            Equality::Server
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_decide_only_where_one_value_has_one_form() {
        let equality = |base_type: Type, modifier, deterministic| {
            let traits = Traits {
                base_type: base_type.oid(),
                modifier,
                is_enum: false,
                deterministic,
                collated_by_bytes: false,
            };
            traits.equality()
        };
        assert_eq!(equality(Type::INT4, -1, true), Equality::Bytes);
        assert_eq!(equality(Type::TEXT, -1, true), Equality::Bytes);
        assert_eq!(equality(Type::TEXT, -1, false), Equality::Server);
        assert_eq!(equality(Type::BPCHAR, 7, true), Equality::Bytes);
        assert_eq!(equality(Type::BPCHAR, -1, true), Equality::Server);
        for unclear in [
            Type::NUMERIC,
            Type::FLOAT8,
            Type::INTERVAL,
            Type::JSONB,
            Type::INT4_ARRAY,
        ] {
            assert_eq!(equality(unclear, -1, true), Equality::Server);
        }
    }
}
