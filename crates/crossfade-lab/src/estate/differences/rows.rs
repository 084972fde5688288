//! Rows: a hash of each as text, added up by table; where the sums differ, row by row.

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

use super::named;

/// So many rows of each kind are named by their key.
const KEYS_MAX: usize = 5;

/// Tables that hold rows themselves, with what names a row: its key's columns, or else its hash.
const TABLES: &str = r#"SELECT c.oid::regclass::text,
        coalesce((SELECT 'ROW(' || string_agg('"the row".' || quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')::text'
                  FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
                  WHERE i.indrelid = c.oid AND i.indisprimary),
                 'md5("the row"::text)')
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND {schemas}"#;

/// The hashes of rows by what names them. Rows that are named alike are counted.
type Rows = BTreeMap<(String, String), i64>;

/// What differs in tables that are on both sides.
pub(super) async fn differences(source: &Client, target: &Client) -> Result<Vec<String>, Error> {
    let there = named(target, TABLES).await?;
    let mut found = Vec::new();
    // What is on one side only is told by the catalogs.
    for (table, key) in named(source, TABLES).await? {
        let is_there = there.contains_key(&table);
        if is_there && sum(source, &table).await? != sum(target, &table).await? {
            let (here, there) = (
                rows(source, &table, &key).await?,
                rows(target, &table, &key).await?,
            );
            found.push(describe(&table, &here, &there));
        }
    }
    Ok(found)
}

/// The count of rows and the hash of all, in whatever order they lie.
async fn sum(client: &Client, table: &str) -> Result<(i64, Option<String>), Error> {
    let query = format!(
        r#"SELECT count(*), md5(string_agg(r.hash, '' ORDER BY r.hash COLLATE "C"))
           FROM (SELECT md5("the row"::text) AS hash FROM ONLY {table} AS "the row") AS r"#
    );
    let row = client.query_one(&query, &[]).await?;
    Ok((row.get(0), row.get(1)))
}

async fn rows(client: &Client, table: &str, key: &str) -> Result<Rows, Error> {
    let query = format!(
        r#"SELECT {key}, md5("the row"::text), count(*) FROM ONLY {table} AS "the row" GROUP BY 1, 2"#
    );
    let rows = client.query(&query, &[]).await?;
    Ok(rows
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)))
        .collect())
}

fn describe(table: &str, here: &Rows, there: &Rows) -> String {
    let [source, target] = [here, there].map(|rows| rows.values().sum::<i64>());
    let (missing, extra) = (beyond(here, there), beyond(there, here));
    let is_in = |keys: &[String], key: &String| keys.binary_search(key).is_ok();
    let (differing, missing): (Vec<_>, Vec<_>) = missing.into_iter().partition(|key| is_in(&extra, key));
    let extra: Vec<_> = extra.into_iter().filter(|key| !is_in(&differing, key)).collect();
    let kinds = [
        ("differ", differing),
        ("missing in the target", missing),
        ("only in the target", extra),
    ];
    let told = kinds
        .into_iter()
        .filter(|(_, keys)| !keys.is_empty())
        .map(|(kind, keys)| {
            let shown = keys.iter().take(KEYS_MAX).map(String::as_str).collect::<Vec<_>>();
            format!("; {} {kind}: {}", keys.len(), shown.join(" "))
        });
    format!(
        "table {table}: {source} rows; in the target {target}{}",
        told.collect::<String>()
    )
}

/// What names the rows of which `rows` has more than `others`, in order.
fn beyond(rows: &Rows, others: &Rows) -> Vec<String> {
    rows.iter()
        .filter(|(row, count)| **count > others.get(*row).copied().unwrap_or(0))
        .map(|((key, _), _)| key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_by_their_keys() {
        let rows = |rows: &[(&str, &str, i64)]| -> Rows {
            rows.iter()
                .map(|(key, hash, count)| (((*key).to_owned(), (*hash).to_owned()), *count))
                .collect()
        };
        let here = rows(&[("(1)", "a", 1), ("(2)", "a", 1), ("(3)", "a", 2), ("(4)", "a", 1)]);
        let there = rows(&[("(1)", "b", 1), ("(3)", "a", 1), ("(4)", "a", 1), ("(5)", "a", 1)]);
        assert_eq!(
            describe("t", &here, &there),
            "table t: 5 rows; in the target 4; 1 differ: (1); 2 missing in the target: (2) (3); \
             1 only in the target: (5)"
        );
    }
}
