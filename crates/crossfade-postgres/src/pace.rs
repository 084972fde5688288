//! What the gate for pace looks at on the server: how far physical standbys are behind, and the user's own query.

use std::time::Duration;

use crossfade_core::pace::Standby;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::session::{Session, SqlError};

/// Logical walsenders have a slot of that kind; backups and WAL archivers replay nothing.
const STANDBYS: &str = "\
SELECT r.application_name,
       greatest(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), r.replay_lsn), 0)::int8,
       (extract(epoch FROM r.replay_lag) * 1000)::int8
  FROM pg_catalog.pg_stat_replication AS r
 WHERE r.replay_lsn IS NOT NULL
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_replication_slots AS s
                    WHERE s.active_pid = r.pid AND s.slot_type = 'logical')
 ORDER BY r.application_name";

/// Whether `pg_stat_replication` hides lag from our role.
const MAY_SEE: &str = "SELECT pg_catalog.pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')";

/// A standby that says nothing of time has not been asked for anything lately, unless it is behind in bytes.
fn standby(row: &Row) -> Standby {
    let positive = |value: i64| u64::try_from(value).unwrap_or(0);
    Standby {
        name: row.get::<_, Option<String>>(0).unwrap_or_default(),
        bytes: positive(row.get(1)),
        time: row
            .get::<_, Option<i64>>(2)
            .map(|ms| Duration::from_millis(positive(ms))),
    }
}

/// The physical standbys that stream from this server; `None` where our role may not see their lag.
///
/// # Errors
/// As the server says.
pub async fn standbys(session: &Session) -> Result<Option<Vec<Standby>>, SqlError> {
    if !session.query_one(MAY_SEE, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let rows = session.query(STANDBYS, &[]).await?;
    Ok(Some(rows.iter().map(standby).collect()))
}

/// Why the user's query gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The server refused it, or it took too long.
    #[error("{}", .0.message())]
    Sql(#[from] SqlError),
    /// It has another number of columns.
    #[error("it has {found} columns, and must have one")]
    Columns {
        /// So many.
        found: usize,
    },
    /// Its column is of another type.
    #[error("its column is of type {found}, and must be a boolean or a number")]
    Type {
        /// This one.
        found: String,
    },
    /// It has another number of rows.
    #[error("it answers with {found} rows, and must answer with one")]
    Rows {
        /// So many.
        found: usize,
    },
    /// Nothing follows from NULL.
    #[error("it answers NULL: use coalesce() to say what that means")]
    Null,
}

/// The user's query within one of ours: what is no query is no part of it.
fn within(query: &str) -> String {
    format!("(\n{}\n) AS pace", query.trim().trim_end_matches(';'))
}

/// Whether the server takes the user's query, and whether its answer can be used. It is not run. If not, the
/// transaction that the session may be in is broken.
///
/// # Errors
/// See [`QueryError`].
pub async fn check_query(session: &Session, query: &str) -> Result<(), QueryError> {
    let prepared = session
        .prepare(&format!("SELECT * FROM {}", within(query)))
        .await?;
    match prepared.column_types().as_slice() {
        [kind] if ANSWERS.contains(kind) => Ok(()),
        [kind] => Err(QueryError::Type {
            found: kind.to_string(),
        }),
        columns => Err(QueryError::Columns { found: columns.len() }),
    }
}

const ANSWERS: [Type; 7] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
];

/// Asks the user's query, in a transaction that can write nothing and in which no statement outlives `timeout`: its
/// answer rounded up, of a boolean 1 or 0. The session is in no transaction, before and afterwards.
///
/// # Errors
/// See [`QueryError`].
pub async fn ask(session: &Session, query: &str, timeout: Duration) -> Result<i64, QueryError> {
    let ms = timeout.as_millis();
    // What it waits for may be the lock that the cutover asks for: it must not queue there for long.
    let begin = format!(
        "BEGIN READ ONLY; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {}",
        ms / 4
    );
    session.batch_execute(&begin).await?;
    let answer = session.query(&ask_statement(query), &[]).await;
    session.batch_execute("ROLLBACK").await?;
    match answer?.as_slice() {
        [row] => row.get::<_, Option<i64>>(0).ok_or(QueryError::Null),
        rows => Err(QueryError::Rows { found: rows.len() }),
    }
}

/// By way of its text, since no type is known before the query is. NULL has a word of its own: least() passes it over.
fn ask_statement(query: &str) -> String {
    format!(
        "SELECT (CASE WHEN pace.answer IS NULL THEN NULL WHEN pace.answer::text = 'true' THEN 1\n             \
         WHEN pace.answer::text = 'false' THEN 0\n             ELSE greatest(least(pg_catalog.ceil((pace.answer::text)::numeric), 9e18), -9e18) END)::int8\n  \
         FROM {} (answer)",
        within(query)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements() {
        insta::assert_snapshot!(ask_statement("SELECT max(lag) FROM lags -- of all"), @r"
        SELECT (CASE WHEN pace.answer IS NULL THEN NULL WHEN pace.answer::text = 'true' THEN 1
                     WHEN pace.answer::text = 'false' THEN 0
                     ELSE greatest(least(pg_catalog.ceil((pace.answer::text)::numeric), 9e18), -9e18) END)::int8
          FROM (
        SELECT max(lag) FROM lags -- of all
        ) AS pace (answer)
        ");
        assert!(ask_statement("SELECT 1; ").contains("\nSELECT 1\n)"));
    }
}
