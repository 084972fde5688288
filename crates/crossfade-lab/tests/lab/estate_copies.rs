//! The estate can be carried over by the server's own logical replication to a newer server.
//!
//! So what a scenario finds is the fault of what it tests, not of the estate.

use std::time::{Duration, Instant};

use crossfade_lab::estate::{Route, check_ledger, differences, schema};
use crossfade_lab::server::{self, Requirements, Server, ServerOptions};
use tokio_postgres::Client;

use crate::estate::{DEADLINE, NONE, client_of, count, estate, more, start, stop};

/// Another version than the usual one.
const NEWER: u32 = 17;

async fn newer() -> Server {
    let installation = server::search(Requirements::major(NEWER)).await.unwrap();
    let options = ServerOptions {
        installation: Some(installation),
        ..ServerOptions::default()
    };
    Server::start(options).await.unwrap()
}

#[tokio::test]
async fn the_servers_own_replication_carries_all_of_it() {
    let ((from, source), to) = (estate().await, newer().await);
    let target = client_of(&to).await;
    target.batch_execute(&schema::create()).await.unwrap();
    let route = Route::new(from.superuser());
    let application = start(&route).await;
    more(&application, &route.current(), 300).await;
    source
        .batch_execute("CREATE PUBLICATION whole FOR ALL TABLES")
        .await
        .unwrap();
    let subscribe = format!(
        "CREATE SUBSCRIPTION whole CONNECTION '{}' PUBLICATION whole",
        from.superuser().replace('\'', "''")
    );
    target.batch_execute(&subscribe).await.unwrap();
    until(
        &target,
        "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'",
        0,
    )
    .await;
    more(&application, &route.current(), 1000).await;
    let story = stop(application).await;
    let end: String = source
        .query_one("SELECT pg_current_wal_lsn()::text", &[])
        .await
        .unwrap()
        .get(0);
    let behind = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'whole' AND confirmed_flush_lsn < '{end}'"
    );
    until(&source, &behind, 0).await;
    target
        .batch_execute("ALTER SUBSCRIPTION whole DISABLE")
        .await
        .unwrap();
    target.batch_execute(schema::finish()).await.unwrap();
    assert_eq!(check_ledger(&target, &story).await.unwrap(), NONE);
    let found = differences(&source, &target).await.unwrap();
    // Which the replication leaves alone.
    let others: Vec<&String> = found
        .iter()
        .filter(|found| !found.starts_with("sequence "))
        .collect();
    assert_eq!(others, Vec::<&String>::new());
    assert!(found.len() > others.len());
}

/// Waits until `query` counts so many.
async fn until(client: &Client, query: &str, goal: i64) {
    let deadline = Instant::now() + DEADLINE;
    while count(client, query).await != goal {
        assert!(Instant::now() < deadline, "{query}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
