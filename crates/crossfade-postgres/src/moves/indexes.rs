//! Indexes of a table and the constraints that are made of them, as statements for a table that has neither.

use std::collections::BTreeSet;

use crossfade_core::name::TableName;

use crate::ident::{self, Ident};
use crate::session::{Session, SqlError};

/// An index, and how it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// What makes it.
    pub create: String,
    /// What is said of it afterwards: replica identity, `CLUSTER ON`.
    pub marks: Vec<String>,
    /// Its plain key columns, if it has no expressions.
    pub columns: Vec<String>,
    /// Every two rows are told apart by it, at every moment.
    pub tells_apart: bool,
}

const INDEXES: &str = "\
SELECT c.oid, c.relname::text, pg_get_indexdef(c.oid), k.conname::text, pg_get_constraintdef(k.oid),
       i.indisreplident, i.indisclustered, i.indisunique AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL,
       ARRAY (SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS n (attnum, place)
                JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = n.attnum
               WHERE n.place <= i.indnkeyatts ORDER BY n.place),
       EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = c.oid)
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
  LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u', 'x')
 WHERE i.indrelid = $1 AND i.indisvalid ORDER BY c.oid";

/// The indexes of the table of that oid, in the order in which they were made.
///
/// # Errors
/// As the server says.
pub async fn read(session: &Session, oid: u32, table: &TableName) -> Result<Vec<Index>, SqlError> {
    let rows = session.query(INDEXES, &[&oid]).await?;
    Ok(rows.iter().map(|row| index(row, table)).collect())
}

fn index(row: &tokio_postgres::Row, table: &TableName) -> Index {
    let (name, table) = (row.get::<_, String>(1), ident::table(table));
    let create = match (row.get::<_, Option<&str>>(3), row.get::<_, Option<&str>>(4)) {
        (Some(constraint), Some(definition)) => {
            let constraint = Ident(constraint);
            format!("ALTER TABLE ONLY {table} ADD CONSTRAINT {constraint} {definition}")
        }
        _plain => row.get::<_, String>(2),
    };
    let mark = |is: bool, what: &str| is.then(|| format!("ALTER TABLE {table} {what} {}", Ident(&name)));
    let marks = [
        mark(row.get(5), "REPLICA IDENTITY USING INDEX"),
        mark(row.get(6), "CLUSTER ON"),
    ];
    Index {
        oid: row.get(0),
        create,
        marks: marks.into_iter().flatten().collect(),
        columns: row.get(8),
        tells_apart: row.get(7),
        name,
    }
}

/// The names of all indexes of these tables.
///
/// # Errors
/// As the server says.
pub async fn names(session: &Session, tables: &[TableName]) -> Result<BTreeSet<TableName>, SqlError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query = "\
SELECT n.nspname::text, c.relname::text
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE i.indisvalid AND i.indrelid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)";
    let rows = session.query(query, &[&names]).await?;
    let name = |row: &tokio_postgres::Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(rows.iter().map(name).collect())
}

/// Of these tables those that have an index that two rows must not share a value of, each with the columns of such an index, in
/// their own order; none for one that excludes by something else than equality.
///
/// # Errors
/// As the server says.
pub async fn unique(
    session: &Session,
    tables: &[TableName],
) -> Result<Vec<(TableName, BTreeSet<String>)>, SqlError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query = "\
SELECT n.nspname::text, c.relname::text,
       CASE WHEN i.indisexclusion THEN '{}'
            ELSE ARRAY (SELECT a.attname::text FROM pg_attribute a
                         WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])) END
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE (i.indisunique OR i.indisexclusion) AND i.indrelid IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)";
    let rows = session.query(query, &[&names]).await?;
    let one = |row: &tokio_postgres::Row| {
        let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
        (table, row.get::<_, Vec<String>>(2).into_iter().collect())
    };
    Ok(rows.iter().map(one).collect())
}

/// The statements for the indexes of a partitioned table: made once those of its partitions are there, which become
/// theirs.
///
/// # Errors
/// As the server says.
pub async fn of_root(
    session: &Session,
    oid: u32,
    table: &TableName,
    there: &BTreeSet<TableName>,
) -> Result<Vec<String>, SqlError> {
    let mut all = read(session, oid, table).await?;
    all.retain(|index| !there.contains(&TableName::new(&table.schema, &index.name)));
    let whole = |create: &str| {
        create
            .replacen(" ON ONLY ", " ON ", 1)
            .replacen("ALTER TABLE ONLY ", "ALTER TABLE ", 1)
    };
    Ok(all.iter().map(|index| whole(&index.create)).collect())
}
