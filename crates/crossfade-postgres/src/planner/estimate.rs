//! Sizes before the run.

use crossfade_core::plan::Estimate;

use crate::ident;
use crate::session::{Session, SqlError};

use crossfade_core::name::TableName;

/// A heap up to this size is counted where the statistics know nothing.
const COUNTED_BYTES_MAX: u64 = 32 << 20;

/// What a row takes where nobody knows.
const ROW_BYTES: u64 = 100;

const SIZES: &str = "\
SELECT reltuples::float8, pg_relation_size(oid), pg_table_size(oid), pg_indexes_size(oid),
       has_schema_privilege(relnamespace, 'USAGE') AND has_table_privilege(oid, 'SELECT') AND NOT row_security_active(oid)
  FROM pg_class WHERE oid = $1";

/// Estimates a copy of the table.
pub(crate) async fn read(session: &Session, oid: u32, name: &TableName) -> Result<Estimate, SqlError> {
    let row = session.query_one(SIZES, &[&oid]).await?;
    let [heap, table, indexes] = [1, 2, 3].map(|column| row.get::<_, i64>(column).cast_unsigned());
    let known: f64 = row.get(0);
    let rows = match known {
        // Minus one: never vacuumed or analyzed. Zero with pages: emptied, and filled again since.
        unknown if unknown < 0.0 || (unknown == 0.0 && heap > 0) => match row.get(4) {
            true => count(session, name, heap).await?,
            // That we may not read it is said elsewhere.
            false => heap / ROW_BYTES,
        },
        known => known as u64,
    };
    Ok(Estimate {
        rows,
        bytes: table,
        // Tuple headers and page images on top of the rows, and every index page once.
        wal_bytes: table + table / 10 + indexes,
        disk_bytes: table + indexes,
    })
}

async fn count(session: &Session, name: &TableName, heap: u64) -> Result<u64, SqlError> {
    if heap > COUNTED_BYTES_MAX {
        return Ok(heap / ROW_BYTES);
    }
    let sql = format!("SELECT count(*) FROM ONLY {}", ident::table(name));
    Ok(session
        .query_one(&sql, &[])
        .await?
        .get::<_, i64>(0)
        .cast_unsigned())
}
