//! Writers against a real table: what they say was committed is there, whatever happened to their sessions.

use std::time::{Duration, Instant};

use crossfade_lab::compare::{Comparison, compare};
use crossfade_lab::server::Server;
use crossfade_lab::writers::{WriterOptions, Writers, Written};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::compare::{SIZE, orders, target};

const DEADLINE: Duration = Duration::from_secs(60);

async fn start(server: &Server) -> Writers {
    let options = WriterOptions {
        connection: server.superuser(),
        writers: 4,
        seed: 7,
        size: SIZE,
    };
    Writers::start(&options).await.unwrap()
}

/// Waits until the writers have made so many changes more.
async fn more_changes(writers: &Writers, count: u64) {
    let (goal, deadline) = (writers.changes() + count, Instant::now() + DEADLINE);
    while writers.changes() < goal {
        assert!(
            Instant::now() < deadline,
            "{} of {goal} changes",
            writers.changes()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn compare_written(client: &Client, written: &Written) -> Comparison {
    compare(client, &target(), &written.ledger, |row| row)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_ledger_is_what_the_table_holds() {
    let (server, client) = orders(SIZE).await;
    let before = Instant::now();
    let writers = start(&server).await;
    more_changes(&writers, 5_000).await;
    let written = writers.stop().await.unwrap();
    let statistics = &written.statistics;
    assert_eq!(statistics.failures, Vec::<String>::new());
    assert!(statistics.rolled_back_transactions > 0);
    assert!(statistics.changes_between(before, Instant::now()) >= 5_000);
    assert!(statistics.longest_wait().unwrap().1 >= statistics.latency(0.5));
    assert_eq!(compare_written(&client, &written).await.differences(), 0);
    println!("{} transactions", statistics.committed_transactions);
}

#[tokio::test]
async fn a_commit_that_the_table_lost_is_found() {
    let (server, client) = orders(SIZE).await;
    let writers = start(&server).await;
    more_changes(&writers, 200).await;
    client
        .batch_execute("CREATE TABLE kept AS TABLE orders")
        .await
        .unwrap();
    more_changes(&writers, 200).await;
    let written = writers.stop().await.unwrap();
    let mut old = target();
    old.table = "kept".to_owned();
    let comparison = compare(&client, &old, &written.ledger, |row| row).await.unwrap();
    assert!(comparison.differing.rows > 0 && comparison.missing.rows > 0 && comparison.extra.rows > 0);
}

#[tokio::test]
async fn commits_without_an_answer_are_resolved_after_a_crash() {
    let (mut server, _) = orders(SIZE).await;
    let writers = start(&server).await;
    let deadline = Instant::now() + DEADLINE;
    // Where a crash meets a writer is chance.
    while matches!(writers.lost_or_in_doubt(), (0, _) | (_, 0)) {
        assert!(Instant::now() < deadline, "{:?}", writers.lost_or_in_doubt());
        more_changes(&writers, 300).await;
        server.restart(true).await.unwrap();
    }
    more_changes(&writers, 300).await;
    let written = writers.stop().await.unwrap();
    let client = server.connect("postgres", "postgres").await.unwrap();
    let comparison = compare_written(&client, &written).await;
    assert_eq!(
        (comparison.differences(), comparison.doubts_torn),
        (0, 0),
        "{comparison:?}"
    );
    let doubts = comparison.doubts_committed + comparison.doubts_not_committed;
    assert_eq!(doubts, written.statistics.in_doubt_transactions);
    assert_eq!(written.statistics.failures, Vec::<String>::new());
}

#[tokio::test]
async fn writers_go_on_across_a_swap_by_name_to_other_types() {
    let (server, client) = orders(SIZE).await;
    let writers = start(&server).await;
    more_changes(&writers, 300).await;
    // It locks the tables at the other end of the foreign keys after `orders`, which writers may hold while they
    // wait for it; giving up before `deadlock_timeout` makes it the one that fails.
    client.batch_execute("SET lock_timeout = '200ms'").await.unwrap();
    let retype = "ALTER TABLE orders ALTER COLUMN status DROP DEFAULT, ALTER COLUMN id TYPE bigint,
                      ALTER COLUMN status TYPE order_status USING status::order_status";
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = client.batch_execute(retype).await {
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{error}");
        assert!(Instant::now() < deadline);
    }
    more_changes(&writers, 300).await;
    let written = writers.stop().await.unwrap();
    assert_eq!(written.statistics.failures, Vec::<String>::new());
    assert_eq!(compare_written(&client, &written).await.differences(), 0);
}

#[tokio::test]
async fn what_the_tool_breaks_counts_as_failed() {
    let (server, client) = orders(SIZE).await;
    let writers = start(&server).await;
    more_changes(&writers, 100).await;
    client
        .batch_execute("ALTER TABLE orders ADD CONSTRAINT too_much CHECK (amount < 0) NOT VALID")
        .await
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while writers.failed_transactions() == 0 {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let written = writers.stop().await.unwrap();
    assert!(
        written.statistics.failures[0].contains("too_much"),
        "{:?}",
        written.statistics.failures
    );
    assert_eq!(compare_written(&client, &written).await.differences(), 0);
}
