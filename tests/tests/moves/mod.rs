//! Moves to another server: a whole database there, back, and there again, under an application that writes; and what is
//! refused, taken back or ended.

mod chunks;
mod copies;
mod encodings;
mod ends;
mod privileges;
mod refused;
mod schema;

use anyhow::Result;
use crossfade_tests::moving::MovingOptions;
use crossfade_tests::moving::there_and_back::{Faults, there_and_back};
use serde_json::Value;
use tokio_postgres::Client;

/// The SQLSTATE that a statement ends with; nothing if it does not fail.
async fn fails(client: &Client, sql: &str) -> Option<String> {
    let error = client.batch_execute(sql).await.err()?;
    Some(error.code().map_or(String::new(), |code| code.code().to_owned()))
}

async fn count(client: &Client, query: &str) -> Result<i64> {
    Ok(client.query_one(query, &[]).await?.get(0))
}

/// What a move makes on a server beside tables.
const TRACES: &str =
    "SELECT (SELECT count(*) FROM pg_replication_slots) + (SELECT count(*) FROM pg_publication)
                           + (SELECT count(*) FROM pg_trigger WHERE tgname = 'crossfade_lockout')";

/// Why it was refused.
fn codes(object: &Value) -> Vec<&str> {
    let refusals = object["refusals"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    refusals
        .iter()
        .filter_map(|refusal| refusal["code"].as_str())
        .collect()
}

/// With the engine killed and a server crashed on the way.
#[tokio::test]
async fn an_estate_goes_there_and_back_and_there() -> Result<()> {
    let faults = Faults { kills: 1, crashes: 1 };
    let options = MovingOptions {
        writers: 2,
        thinks: std::time::Duration::from_millis(50),
        seed: 3,
        ..MovingOptions::default()
    };
    let seen = there_and_back(options, faults).await?;
    println!("{seen:?}");
    Ok(())
}
