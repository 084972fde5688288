//! Existing rows made into rows of the new tables and read back through the query, in one statement that writes nothing.

use crossfade_core::plan::Target;
use crossfade_core::way_back::{Caveat, RoundTrip};

use super::{Keys, ROWS, Shape, named};
use crate::catalog::Definition;
use crate::derive;
use crate::ident::{self, Ident};
use crate::session::SqlError;

/// So many rows are tried. Nothing has an index.
const ROWS_MAX: u32 = 500;

/// Runs the trial; or what keeps rows from coming back.
pub(super) async fn run(
    shape: &Shape<'_>,
    keys: &Keys,
) -> Result<Result<Option<RoundTrip>, Caveat>, SqlError> {
    let session = shape.pieces.session;
    session.batch_execute("SAVEPOINT crossfade").await?;
    super::super::probe::set_search_path(session, &shape.pieces.path()).await?;
    let answer = session.query_one(&statement(shape, keys), &[]).await;
    session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
    let row = match answer {
        Ok(row) => row,
        // The message may quote the value that failed; what it is about is said by its code.
        Err(error) if error.code().is_some_and(|code| is_of_a_value(code.code())) => {
            let code = error.code().map_or("", |code| code.code());
            return Ok(Err(Caveat {
                column: None,
                what: format!("Carrying existing rows there and back fails: SQLSTATE {code}"),
            }));
        }
        Err(error) => return Err(error),
    };
    let (rows, back, gone): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let whole = |what: String| Caveat { column: None, what };
    if gone > 0 {
        return Ok(Err(whole(format!(
            "{gone} of the {rows} rows tried do not come back through the query"
        ))));
    }
    if back > rows {
        return Ok(Err(whole(format!(
            "Of the {rows} rows tried some come back more than once through the query"
        ))));
    }
    for (place, filled) in shape.filled.iter().enumerate() {
        let differing: i64 = row.get(3 + place);
        if differing > 0 {
            // What a rollback would put in their place is not what was there.
            return Ok(Err(Caveat {
                column: Some(filled.name.clone()),
                what: format!("{differing} of the {rows} rows tried come back different from what they were"),
            }));
        }
    }
    let rows = u64::try_from(rows).unwrap_or(0);
    Ok(Ok((rows > 0).then(|| RoundTrip {
        rows,
        all: rows < u64::from(ROWS_MAX),
    })))
}

/// Data exceptions, and a scalar query that finds two rows.
fn is_of_a_value(code: &str) -> bool {
    code.starts_with("22") || code == "21000"
}

const SAMPLE: &str = "\"crossfade sample\"";
const BACK: &str = "\"crossfade back\"";

fn statement(shape: &Shape<'_>, keys: &Keys) -> String {
    let pieces = shape.pieces;
    let source = &pieces.step.source;
    let alias = Ident(&source.name.name);
    let targets = pieces.step.targets.iter().zip(pieces.desired);
    let bodies = targets.map(|(target, desired)| {
        format!(
            "SELECT {} FROM {SAMPLE} AS {alias}{} WHERE true{}",
            values(target, desired),
            derive::beside(target),
            derive::filtered(target)
        )
    });
    let named = named(&pieces.step.targets, bodies, "MATERIALIZED");
    let value = |place: usize| {
        let column = &shape.filled[place];
        let sql = &column.value.sql;
        format!("CAST({sql} AS {}) AS \"{place}\"", column.type_name)
    };
    let back: Vec<String> = (0..shape.filled.len()).map(value).collect();
    let joined: Vec<String> = keys
        .target
        .iter()
        .map(|place| {
            let name = Ident(&shape.filled[*place].name);
            format!("old.{name} = back.\"{place}\"")
        })
        .collect();
    let same = shape.filled.iter().enumerate().map(|(place, filled)| {
        let name = Ident(&filled.name);
        format!(
            "pg_catalog.count(*) FILTER (WHERE CAST(old.{name} AS pg_catalog.text) IS DISTINCT FROM \
             CAST(back.\"{place}\" AS pg_catalog.text))"
        )
    });
    let same: Vec<String> = same.collect();
    let first = keys.target[0];
    // Materialized, each row is made once, however the two are joined.
    format!(
        "WITH {SAMPLE} AS MATERIALIZED (SELECT * FROM ONLY {table} LIMIT {ROWS_MAX}),\n     {named},\n     \
         {BACK} AS MATERIALIZED (SELECT {back} FROM (\n{query}\n) AS {ROWS})\n\
         SELECT (SELECT pg_catalog.count(*) FROM {SAMPLE}), pg_catalog.count(*),\n       \
         pg_catalog.count(*) FILTER (WHERE back.\"{first}\" IS NULL),\n       {same}\n  \
         FROM {SAMPLE} AS old\n  LEFT JOIN {BACK} AS back ON {joined}",
        table = ident::table(&source.name),
        same = same.join(",\n       "),
        back = back.join(", "),
        query = pieces.request.query.text,
        joined = joined.join(" AND "),
    )
}

/// A row of a new table: what fills its columns, and NULL where the server would.
fn values(target: &Target, desired: &Definition) -> String {
    let value = |name: &str, type_name: &str| {
        let filled = target.columns.iter().find(|column| column.name == name);
        let value = filled.map_or("NULL", |column| column.value.sql.as_str());
        format!("CAST({value} AS {type_name}) AS {}", Ident(name))
    };
    let columns = desired.columns.iter();
    let all: Vec<String> = columns
        .map(|column| value(&column.name, &column.type_name))
        .collect();
    all.join(", ")
}
