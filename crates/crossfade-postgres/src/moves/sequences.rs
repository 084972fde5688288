//! Sequences: which belong to the tables of a move, where they are, and moving them ahead.

use std::fmt::Write as _;

use crossfade_core::name::TableName;

use crate::ident::{self, literal};
use crate::session::{Session, SqlError};

/// Owned by a column of these tables, or what a default of theirs draws from; all of the database for all tables.
const SEQUENCES: &str = "\
SELECT DISTINCT n.nspname::text, s.relname::text
  FROM pg_class s JOIN pg_namespace n ON n.oid = s.relnamespace
 WHERE s.relkind = 'S' AND s.relpersistence <> 't' AND n.nspname !~ '^crossfade(_|$)' AND n.nspname !~ '^pg_'
   AND ($2 OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = s.oid
                         AND d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY ($1::oid[])
                         AND d.deptype IN ('a', 'i'))
           OR EXISTS (SELECT FROM pg_attrdef a JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid
                       WHERE a.adrelid = ANY ($1::oid[]) AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid))
 ORDER BY 1, 2";

/// The sequences of these tables; `all`: of the database.
///
/// # Errors
/// As the server says.
pub async fn of_tables(session: &Session, oids: &[u32], all: bool) -> Result<Vec<TableName>, SqlError> {
    let rows = session.query(SEQUENCES, &[&oids, &all]).await?;
    let name = |row: &tokio_postgres::Row| TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
    Ok(rows.iter().map(name).collect())
}

/// Where a sequence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// `last_value`.
    pub last: i64,
    /// `is_called`.
    pub called: bool,
}

/// Where these are, one for one.
///
/// # Errors
/// As the server says.
pub async fn read(session: &Session, sequences: &[TableName]) -> Result<Vec<Place>, SqlError> {
    if sequences.is_empty() {
        return Ok(Vec::new());
    }
    let mut query = String::new();
    for (number, sequence) in sequences.iter().enumerate() {
        let union = if number > 0 { "\nUNION ALL " } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(
            query,
            "{union}SELECT {number}, last_value, is_called FROM {}",
            ident::table(sequence)
        );
    }
    query.push_str("\nORDER BY 1");
    let rows = session.query(&query, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| Place {
            last: row.get(1),
            called: row.get(2),
        })
        .collect())
}

/// The statements that move them ahead to there, in the direction in which each counts; never back.
pub fn set(sequences: &[TableName], places: &[Place]) -> Vec<String> {
    let one = |(sequence, place): (&TableName, &Place)| {
        let (name, Place { last, called }) = (ident::table(sequence), place);
        let quoted = literal(&name);
        format!(
            "SELECT pg_catalog.setval({quoted}::pg_catalog.regclass, {last}, {called})\n  FROM {name} AS s \
             JOIN pg_catalog.pg_sequence AS p ON p.seqrelid = {quoted}::pg_catalog.regclass\n \
             WHERE CASE WHEN p.seqincrement > 0 THEN {last} > s.last_value ELSE {last} < s.last_value END\n    \
             OR {last} = s.last_value AND {called} AND NOT s.is_called"
        )
    };
    sequences.iter().zip(places).map(one).collect()
}
