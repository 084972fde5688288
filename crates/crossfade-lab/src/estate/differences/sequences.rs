//! Sequences: what each gives next must not have been given before.

use tokio_postgres::{Client, Error};

use super::named;

/// The sequences, and in which direction they go.
const SEQUENCES: &str = "SELECT s.seqrelid::regclass::text, s.seqincrement::text
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE {schemas}";

/// The target's sequences that are behind the source's.
pub(super) async fn differences(source: &Client, target: &Client) -> Result<Vec<String>, Error> {
    let there = named(target, SEQUENCES).await?;
    let mut found = Vec::new();
    // What is on one side only is told by the catalogs.
    for (sequence, increment) in named(source, SEQUENCES).await? {
        if !there.contains_key(&sequence) {
            continue;
        }
        let (here, there) = (next(source, &sequence).await?, next(target, &sequence).await?);
        let is_behind = if increment.starts_with('-') {
            there > here
        } else {
            there < here
        };
        if is_behind {
            found.push(format!(
                "sequence {sequence}: gives {here} or later next; in the target {there}"
            ));
        }
    }
    Ok(found)
}

/// The next number, or the one after the last where a step is longer than one.
async fn next(client: &Client, sequence: &str) -> Result<i128, Error> {
    let query = format!("SELECT last_value, is_called FROM {sequence}");
    let row = client.query_one(&query, &[]).await?;
    let (last, is_called): (i64, bool) = (row.get(0), row.get(1));
    Ok(i128::from(last) + i128::from(is_called))
}
