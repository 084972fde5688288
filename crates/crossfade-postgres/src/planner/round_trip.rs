//! Existing rows carried to the new table's values and back, in one query that writes nothing: does what comes back
//! differ from what was there?

use std::collections::BTreeSet;

use crossfade_core::plan::{Source, SourceColumn, Target, TargetColumn};
use crossfade_core::way_back::RoundTrip;

use crate::ident::{self, Ident};
use crate::session::{Session, SqlError};

/// So many rows are tried.
const ROWS_MAX: u32 = 10_000;

/// What is tried.
pub(super) struct Trial<'a> {
    pub(super) source: &'a Source,
    /// What fills the new table.
    pub(super) target: &'a Target,
    /// The new table's columns, as the expressions of the way back number them.
    pub(super) new: &'a [SourceColumn],
    /// Columns of the old table that are not merely taken over.
    pub(super) columns: &'a [&'a TargetColumn],
}

/// What came of it.
pub(super) struct Tried {
    pub(super) trip: RoundTrip,
    /// For each column, how many rows came back with another text.
    pub(super) differing: Vec<i64>,
}

/// Runs the trial in the open transaction. `None` if there is nothing to try; the server's message if an expression
/// fails on a row.
pub(super) async fn run(
    session: &Session,
    trial: &Trial<'_>,
) -> Result<Option<Result<Tried, String>>, SqlError> {
    if trial.columns.is_empty() {
        return Ok(None);
    }
    session.batch_execute("SAVEPOINT crossfade").await?;
    let answer = session.query_one(&statement(trial), &[]).await;
    session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
    let row = match answer {
        Ok(row) => row,
        // The message may quote the value that failed; what it is about is said by its code.
        Err(error) if error.code().is_some_and(|code| code.code().starts_with("22")) => {
            let code = error.code().map_or("", |code| code.code()).to_owned();
            return Ok(Some(Err(format!(
                "SQLSTATE {code}, a value that does not convert"
            ))));
        }
        Err(error) => return Err(error),
    };
    let rows = u64::try_from(row.get::<_, i64>(0)).unwrap_or(0);
    Ok(Some(Ok(Tried {
        trip: RoundTrip {
            rows,
            all: rows < u64::from(ROWS_MAX),
        },
        differing: (1..=trial.columns.len()).map(|place| row.get(place)).collect(),
    })))
}

/// Each level has a row of its own under the source's bare name, as the expressions want it.
fn statement(trial: &Trial<'_>) -> String {
    let alias = Ident(&trial.source.name.name);
    let (there, read) = there(trial);
    let back = trial.columns.iter().enumerate().map(|(place, column)| {
        let (value, type_name) = (&column.value.sql, &column.type_name);
        format!("CAST({value} AS {type_name}) AS \"{place}\"")
    });
    let same = trial.columns.iter().enumerate().map(|(place, column)| {
        let name = Ident(&column.name);
        format!(
            "pg_catalog.count(*) FILTER (WHERE CAST(old.{name} AS pg_catalog.text) IS DISTINCT FROM \
             CAST(back.\"{place}\" AS pg_catalog.text))"
        )
    });
    format!(
        "SELECT pg_catalog.count(*), {}\n  FROM (SELECT {read} FROM ONLY {} LIMIT {ROWS_MAX}) AS old\n \
         CROSS JOIN LATERAL (SELECT {there} FROM (SELECT old.*) AS {alias}) AS new\n \
         CROSS JOIN LATERAL (SELECT {} FROM (SELECT new.*) AS {alias}) AS back",
        same.collect::<Vec<_>>().join(", "),
        ident::table(&trial.source.name),
        back.collect::<Vec<_>>().join(", "),
    )
}

/// The new columns that the way back reads, and the old ones that these and the comparison need. An added column is
/// not known yet: NULL.
fn there(trial: &Trial<'_>) -> (String, String) {
    let reads: BTreeSet<usize> = trial
        .columns
        .iter()
        .flat_map(|column| column.value.reads.iter().copied())
        .collect();
    let mut old: BTreeSet<&str> = trial.columns.iter().map(|column| column.name.as_str()).collect();
    let mut new = Vec::new();
    for read in reads {
        let column = &trial.new[read];
        let filled = trial
            .target
            .columns
            .iter()
            .find(|filled| filled.name == column.name);
        let value = match filled {
            Some(filled) => {
                old.extend(
                    filled
                        .value
                        .reads
                        .iter()
                        .map(|place| trial.source.columns[*place].name.as_str()),
                );
                filled.value.sql.as_str()
            }
            None => "NULL",
        };
        new.push(format!(
            "CAST({value} AS {}) AS {}",
            column.type_name,
            Ident(&column.name)
        ));
    }
    if new.is_empty() {
        new.push("NULL AS \"crossfade nothing\"".to_owned());
    }
    (new.join(", "), ident::list(old))
}
