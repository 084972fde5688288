//! The gate for pace on a real server: each of its inputs holds back what can wait, never changes, says why, and lets go
//! again.

use anyhow::{Result, bail, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::server::{SUPERUSER, ServerOptions};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::stage::{ENGINE, Stage};
use crossfade_tests::until;

/// Many small chunks, so that a copy of few rows takes long enough to be held back in its middle.
const SLOW: [(&str, &str); 2] = [("chunk_time", "1ms"), ("chunk_delay", "200ms")];

const ROWS: i64 = 4_000;

/// Starts an incremental copy of the orders within these limits.
fn start(stage: &Stage, limits: &[(&str, &str)]) -> Result<Process> {
    let change = stage.change_file(TABLE, &[RETYPE], &[&SLOW, limits].concat())?;
    stage.run_change(&change, &["-v", "--copy", "incremental"])
}

async fn progress(stage: &Stage, what: &str) -> Result<u64> {
    Ok(stage.status().await?["progress"][what].as_u64().unwrap_or(0))
}

/// Waits until the gate is closed, and it is said why.
async fn held_back(stage: &Stage, why: &str) -> Result<()> {
    stage.reached(Phase::Planned).await?;
    until::so(format!("it is held back: {why}"), || is_held_back(stage, why)).await
}

/// Asks for verifications until one is held back: what the gate knows may be a second old, and a small table is compared in
/// less.
async fn held_back_verification(stage: &Stage, why: &str) -> Result<Process> {
    until::some(format!("a verification is held back: {why}"), || async {
        let mut verify = stage.crossfade(&["verify", stage.name().as_str()])?;
        while verify.is_running()? {
            if is_held_back(stage, why).await? {
                return Ok(Some(verify));
            }
        }
        verify.end().await?.expect(0)?;
        Ok(None)
    })
    .await
}

async fn is_held_back(stage: &Stage, why: &str) -> Result<bool> {
    let status = stage.status().await?;
    let said = status["progress"]["held_back"].as_str().unwrap_or_default();
    Ok(said.contains(why))
}

async fn copying(stage: &Stage, engine: &mut Process) -> Result<()> {
    stage.reached_by(engine, Phase::Copying).await?;
    until::so("some chunks are copied", || async {
        Ok(progress(stage, "rows_copied").await? > 0)
    })
    .await
}

/// Waits until so many more changes are applied.
async fn applies(stage: &Stage, orders: &Orders<'_>, changes: u64) -> Result<()> {
    let before = progress(stage, "changes_applied").await?;
    orders.goes_on(changes).await?;
    until::so(format!("{changes} more changes are applied"), || async {
        Ok(progress(stage, "changes_applied").await? >= before + changes)
    })
    .await
}

/// While it is held back the copy stands still, and changes go on. What had begun ends first, however long that takes on
/// a busy machine.
async fn stands_still(stage: &Stage, orders: &Orders<'_>) -> Result<()> {
    for _ in 0..6 {
        let copied = progress(stage, "rows_copied").await?;
        applies(stage, orders, 150).await?;
        if progress(stage, "rows_copied").await? == copied {
            let phase = stage.phase(&stage.superuser().await?).await?;
            ensure!(phase == Some(Phase::Copying), "it came to {phase:?} meanwhile");
            return Ok(());
        }
    }
    bail!("rows were copied all the time")
}

async fn ends_well(stage: &Stage, mut engine: Process, orders: Orders<'_>) -> Result<Ended> {
    stage.reached_by(&mut engine, Phase::Ready).await?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(ended)
}

#[tokio::test]
async fn t39_a_standby_that_lags_holds_the_copy_back_and_no_changes() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let standby = stage
        .server()
        .standby("replica", ServerOptions::default())
        .await?;
    let replay = standby.connect(SUPERUSER, "postgres").await?;
    let orders = Orders::start(&stage, ROWS, 2, 1).await?;
    let mut engine = start(&stage, &[("replica_lag_bytes_max", "256 kB")])?;
    copying(&stage, &mut engine).await?;
    replay.batch_execute("SELECT pg_wal_replay_pause()").await?;
    held_back(&stage, "standby replica is").await?;
    stands_still(&stage, &orders).await?;
    let shown = stage.operate("status", &[]).await?.expect(0)?;
    ensure!(shown.says("replica_lag_bytes_max"), "{}", shown.stdout);
    replay.batch_execute("SELECT pg_wal_replay_resume()").await?;
    ends_well(&stage, engine, orders).await?;
    Ok(())
}

#[tokio::test]
async fn a_standby_that_lags_in_time_holds_the_copy_back() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let standby = stage
        .server()
        .standby("replica", ServerOptions::default())
        .await?;
    let replay = standby.connect(SUPERUSER, "postgres").await?;
    let orders = Orders::start(&stage, ROWS, 1, 1).await?;
    let mut engine = start(&stage, &[("replica_lag_max", "1s")])?;
    copying(&stage, &mut engine).await?;
    replay.batch_execute("SELECT pg_wal_replay_pause()").await?;
    held_back(&stage, "(replica_lag_max is 1000 ms)").await?;
    stands_still(&stage, &orders).await?;
    replay.batch_execute("SELECT pg_wal_replay_resume()").await?;
    ends_well(&stage, engine, orders).await?;
    Ok(())
}

#[tokio::test]
async fn wal_that_our_slot_retains_holds_the_copy_back_before_the_hard_stop() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let orders = Orders::start(&stage, ROWS, 1, 1).await?;
    let limits = [("retained_wal_pace", "48 MB"), ("retained_wal_max", "4 GB")];
    let mut engine = start(&stage, &limits)?;
    copying(&stage, &mut engine).await?;
    // The slot retains whatever comes behind the begin of a transaction that writes.
    let long = stage.client().await?;
    long.batch_execute("CREATE TABLE other (x text); BEGIN; INSERT INTO other VALUES ('x')")
        .await?;
    let filler = "CREATE TABLE filler AS SELECT repeat('x', 1000) FROM generate_series(1, 80000)";
    stage.client().await?.batch_execute(filler).await?;
    held_back(&stage, "(retained_wal_pace is").await?;
    stands_still(&stage, &orders).await?;
    long.batch_execute("COMMIT").await?;
    ends_well(&stage, engine, orders).await?;
    Ok(())
}

#[tokio::test]
async fn the_users_query_holds_back_the_copy_and_the_verification() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute("CREATE TABLE brake (busy integer); INSERT INTO brake VALUES (11)")
        .await?;
    let orders = Orders::start(&stage, ROWS, 2, 1).await?;
    let limits = [
        ("pace_query", "SELECT max(busy) FROM brake; "),
        ("pace_query_max", "10"),
    ];
    let mut engine = start(&stage, &limits)?;
    held_back(&stage, "pace_query says 11").await?;
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1";
    let superuser = stage.superuser().await?;
    let slots: i64 = superuser.query_one(slots, &[&stage.name().slot()]).await?.get(0);
    ensure!(slots == 0, "a slot retains WAL for a copy that waits");
    client.batch_execute("UPDATE brake SET busy = 10").await?;
    copying(&stage, &mut engine).await?;
    client.batch_execute("UPDATE brake SET busy = 12").await?;
    held_back(&stage, "pace_query says 12").await?;
    stands_still(&stage, &orders).await?;
    client.batch_execute("UPDATE brake SET busy = NULL").await?;
    held_back(&stage, "it answers NULL").await?;
    client.batch_execute("UPDATE brake SET busy = 0").await?;
    stage.reached_by(&mut engine, Phase::Ready).await?;

    // What cannot be asked is no reason to go on.
    client.batch_execute("ALTER TABLE brake RENAME TO broken").await?;
    let verify = held_back_verification(&stage, "pace_query cannot be read").await?;
    applies(&stage, &orders, 200).await?;
    ensure!(stage.status().await?["progress"]["activity"] == "Verifying");
    client.batch_execute("ALTER TABLE broken RENAME TO brake").await?;
    verify.end().await?.expect(0)?;
    ends_well(&stage, engine, orders).await?;
    Ok(())
}

#[tokio::test]
async fn a_query_that_cannot_answer_is_refused_by_the_plan() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute("CREATE TABLE orders (id integer PRIMARY KEY)")
        .await?;
    for (query, why) in [
        ("SELECT 'busy'::text", "must be a boolean or a number"),
        ("SELECT 1, 2", "2 columns"),
        ("SELECT busy FROM nowhere", "does not exist"),
        ("DELETE FROM orders", "syntax error"),
    ] {
        let change = stage.change_file(TABLE, &[RETYPE], &[("pace_query", query)])?;
        let change = change.display().to_string();
        let refused = stage.ended(&["plan", "--change", &change]).await?.expect(10)?;
        let first = &refused.object["refusals"][0];
        let message = first["message"].as_str().unwrap_or_default();
        ensure!(
            first["code"] == "pace_query_unusable" && message.contains(why),
            "{query}: {}",
            refused.object
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_role_that_may_not_see_lag_is_told_and_goes_on() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let revoke = format!("REVOKE pg_read_all_stats FROM {ENGINE}");
    stage.superuser().await?.batch_execute(&revoke).await?;
    let orders = Orders::start(&stage, 500, 1, 1).await?;
    let limits = [("replica_lag_max", "1s")];
    let change = stage.change_file(TABLE, &[RETYPE], &limits)?;
    let change = change.display().to_string();
    let planned = stage.ended(&["plan", "--change", &change]).await?.expect(0)?;
    ensure!(
        planned.says("replica_lag_hidden") && planned.says("GRANT pg_read_all_stats TO"),
        "{}",
        planned.object
    );
    let engine = start(&stage, &limits)?;
    let ended = ends_well(&stage, engine, orders).await?;
    ensure!(ended.says("GRANT pg_read_all_stats"), "{}", ended.stderr);
    Ok(())
}
