//! The real pgbench: its run is read, and its sums notice a change that was lost.

use std::time::{Duration, SystemTime};

use crossfade_lab::pgbench::{Pgbench, Sums, history_between};
use crossfade_lab::server::{Server, ServerOptions};

#[tokio::test]
async fn the_sums_are_equal_and_notice_a_lost_change() {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let pgbench = Pgbench::new(server.installation(), &server.superuser()).unwrap();
    pgbench.initialize(1).await.unwrap();
    let (before, client) = (
        SystemTime::now(),
        server.connect("postgres", "postgres").await.unwrap(),
    );
    let report = pgbench.transactions(4, Duration::from_secs(1)).await.unwrap();
    println!("PostgreSQL {}: {report:?}", server.version());
    assert_eq!((report.failed, report.complaints.len()), (0, 0));
    let in_history = history_between(&client, before, SystemTime::now()).await.unwrap();
    assert_eq!(u64::try_from(in_history).unwrap(), report.transactions);
    assert!(Sums::read(&client).await.unwrap().are_equal());
    client
        .batch_execute(
            "UPDATE pgbench_accounts SET abalance = abalance - 1
             WHERE aid = (SELECT aid FROM pgbench_history LIMIT 1)",
        )
        .await
        .unwrap();
    assert!(!Sums::read(&client).await.unwrap().are_equal());
}

#[tokio::test]
async fn an_error_of_a_client_is_an_error_of_the_run() {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let pgbench = Pgbench::new(server.installation(), &server.superuser()).unwrap();
    pgbench.initialize(1).await.unwrap();
    let client = server.connect("postgres", "postgres").await.unwrap();
    client
        .batch_execute("ALTER TABLE pgbench_accounts RENAME COLUMN abalance TO other")
        .await
        .unwrap();
    let error = pgbench.transactions(1, Duration::from_secs(1)).await.unwrap_err();
    assert!(error.to_string().contains("abalance"), "{error}");
}
