//! Two databases side by side: every row of every table, and what the catalogs say of them, in words.
//!
//! Each database is read in one snapshot of its own, so both have to be at rest. Schemas of the server and those
//! named `crossfade…` are left out. Not compared: owners, grants, comments, policies, rules, statistics objects,
//! publications, subscriptions, and the content of materialized views.

mod catalog;
mod rows;
mod sequences;

use std::collections::BTreeMap;

use tokio_postgres::{Client, Error};

/// The condition on the schemas that belong to the user, where `n` is `pg_namespace`.
const SCHEMAS: &str = r"n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
    AND n.nspname NOT LIKE 'crossfade%'";

/// Settings that text depends on, one snapshot, and every name with its schema.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL search_path = ''; SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD';
    SET LOCAL IntervalStyle = 'postgres'; SET LOCAL extra_float_digits = 3; SET LOCAL bytea_output = 'hex';
    SET LOCAL lc_monetary = 'C'; SET LOCAL xmloption = 'content'; SET LOCAL quote_all_identifiers = off;
    SET LOCAL row_security = off";

/// Named things and what they are.
type Named = BTreeMap<String, String>;

/// In what `target` differs from `source`, in words; nothing if in nothing.
///
/// Of sequences only a target's that would give a number again is a difference.
///
/// # Errors
/// What a server answered.
pub async fn differences(source: &Client, target: &Client) -> Result<Vec<String>, Error> {
    for client in [source, target] {
        client.batch_execute(BEGIN).await?;
    }
    let found = within(source, target).await;
    for client in [source, target] {
        client.batch_execute("ROLLBACK").await?;
    }
    found
}

async fn within(source: &Client, target: &Client) -> Result<Vec<String>, Error> {
    let mut found = catalog::differences(source, target).await?;
    found.extend(sequences::differences(source, target).await?);
    found.extend(rows::differences(source, target).await?);
    Ok(found)
}

/// What a query of two texts gives, by the first of them. `{schemas}` stands for the user's schemas.
async fn named(client: &Client, query: &str) -> Result<Named, Error> {
    let rows = client.query(&query.replace("{schemas}", SCHEMAS), &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
