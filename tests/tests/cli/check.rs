//! `crossfade check`: a server with every obstacle, and one with none.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_replication::transport::Connection;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use serde_json::Value;

const OBSTACLES: &str = "
CREATE ROLE owner;
CREATE ROLE stranger LOGIN;
CREATE SCHEMA shop AUTHORIZATION owner;
GRANT USAGE ON SCHEMA shop TO stranger;
SET ROLE owner;
CREATE TABLE shop.orders (id int PRIMARY KEY);
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
GRANT SELECT ON shop.orders TO stranger;
RESET ROLE;
CREATE PUBLICATION everything FOR ALL TABLES;
CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION nothing();
SELECT pg_create_physical_replication_slot('taken')";

fn check(url: String, change: &[&str]) -> Result<Process> {
    let mut arguments = vec!["check", "--json"];
    arguments.extend(change);
    let mut arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    arguments.extend(["--url".to_owned(), url]);
    Process::start(&arguments)
}

fn codes(object: &Value, list: &str) -> BTreeSet<String> {
    let all = object[list].as_array().into_iter().flatten();
    all.filter_map(|one| one["code"].as_str().map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_obstacle_is_found() -> Result<()> {
    let options = ServerOptions::default()
        .setting("wal_level", "replica")
        .setting("max_replication_slots", "1")
        .setting("max_wal_senders", "1")
        .setting("max_slot_wal_keep_size", "1GB")
        .setting("max_prepared_transactions", "1");
    let server = Server::start(options).await?;
    let superuser = server.connect(SUPERUSER, "postgres").await?;
    superuser.batch_execute(OBSTACLES).await?;
    for sql in [
        "BEGIN",
        "INSERT INTO shop.orders VALUES (1)",
        "PREPARE TRANSACTION 'left'",
    ] {
        superuser.batch_execute(sql).await?;
    }
    let _follower = Connection::open(&ConnectConfig::parse(&server.superuser())?).await?;
    let everybody = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    superuser.batch_execute(everybody).await?;
    // What only these have.
    let since_17 = server.installation().major >= 17;
    if since_17 {
        let awaited = "ALTER SYSTEM SET synchronized_standby_slots = 'taken'";
        superuser.batch_execute(awaited).await?;
    }
    superuser.batch_execute("SELECT pg_reload_conf()").await?;

    let url = server.connection("stranger", "postgres");
    let general = check(url.clone(), &[])?.end().await?.expect(10)?;
    let mut expected = BTreeSet::from([
        "no_free_slot",
        "no_free_walsender",
        "publication",
        "role_cannot_create",
        "role_cannot_replicate",
        "wal_level",
        "would_be_synchronous_standby",
    ]);
    expected.extend(since_17.then_some("standby_awaited"));
    let found = codes(&general.object, "refusals");
    ensure!(found.iter().eq(expected.iter()), "{found:?}");
    let expected = [
        "activity_hidden",
        "event_trigger",
        "prepared_transaction",
        "slot_may_be_lost",
        "standby_readers_unseen",
    ];
    let found = codes(&general.object, "notices");
    ensure!(found.iter().eq(expected.iter()), "{found:?}");

    let change = ["--table", "shop.orders", "--alter", "ALTER COLUMN id TYPE bigint"];
    let of_change = check(url, &change)?.end().await?.expect(10)?;
    let found = codes(&of_change.object, "refusals");
    let more = [
        "not_owner",
        "prepared_transaction",
        "role_cannot_create_in_schema",
        "row_security",
        "wal_level",
    ];
    ensure!(more.iter().all(|code| found.contains(*code)), "{found:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_found_where_all_is_well() -> Result<()> {
    let stage = Stage::shared().await?;
    stage
        .client()
        .await?
        .batch_execute("CREATE TABLE orders (id int PRIMARY KEY)")
        .await?;
    let change = ["--table", "orders", "--alter", "ALTER COLUMN id TYPE bigint"];
    for change in [&[][..], &change] {
        let ended = check(stage.engine(), change)?.end().await?.expect(0)?;
        ensure!(codes(&ended.object, "refusals").is_empty(), "{}", ended.object);
    }
    Ok(())
}
