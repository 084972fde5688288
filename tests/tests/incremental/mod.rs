//! The incremental copy: chunk by chunk, while the application writes and its changes are applied.

use std::path::Path;

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::server::ServerOptions;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

/// Chunks of this time are of the smallest size that there is.
const TINY: &str = "1ms";

#[tokio::test]
async fn nothing_is_lost_while_writers_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 20_000, 4, 11).await?;
    let file = stage.change_file(TABLE, &[RETYPE], &[("chunk_time", TINY)])?;
    let ended = incremental(&stage, &file, "auto")?.end().await?.expect(0)?;
    ensure!(ended.reported("changes_dropped")? > 0, "{}", ended.object);
    orders.goes_on(50).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// Starts an incremental run of a change file.
fn incremental(stage: &Stage, file: &Path, cutover: &str) -> Result<Process> {
    stage.run_change(file, &["--copy", "incremental", "--cutover", cutover])
}

#[tokio::test]
async fn killed_within_the_copy_it_goes_on_with_the_next_chunk() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 10_000, 2, 12).await?;
    let file = stage.change_file(TABLE, &[RETYPE], &[("chunk_time", TINY)])?;
    let superuser = stage.superuser().await?;
    let ledger = "SELECT chunk, committed_at::text FROM crossfade.chunk WHERE migration = $1 ORDER BY chunk";
    let name = stage.name().as_str();
    let mut engine = incremental(&stage, &file, "auto")?;
    stage.reached_by(&mut engine, Phase::Copying).await?;
    for wanted in [10, 30] {
        until::so(format!("{wanted} chunks are copied"), || async {
            Ok(superuser.query(ledger, &[&name]).await?.len() >= wanted)
        })
        .await?;
        engine.kill_9().await?;
        orders.goes_on(20).await?;
        engine = stage.crossfade(&["continue", name, "--cutover", "auto"])?;
    }
    let before = superuser.query(ledger, &[&name]).await?;
    engine.end().await?.expect(0)?;
    let after: Vec<(i64, String)> = superuser
        .query(ledger, &[&name])
        .await?
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    for row in &before {
        let row = (row.get(0), row.get(1));
        ensure!(after.contains(&row), "chunk {} was copied again", row.0);
    }
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// A chunk does not wait behind somebody's lock for ever: what waits for the chunk may be what keeps that lock waiting. It gives
/// up, and is opened again.
#[tokio::test]
async fn r04_an_exclusive_lock_of_the_applications_is_waited_for_in_turns() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 10_000, 2, 14).await?;
    let file = stage.change_file(TABLE, &[RETYPE], &[("chunk_time", TINY)])?;
    let mut engine = incremental(&stage, &file, "auto")?;
    stage.reached_by(&mut engine, Phase::Copying).await?;
    let superuser = stage.superuser().await?;
    // Making the slot would wait for the lock's transaction.
    let chunks = "SELECT count(*) FROM crossfade.chunk WHERE migration = $1";
    let name = stage.name().as_str();
    until::so("chunks are copied", async || {
        Ok(superuser.query_one(chunks, &[&name]).await?.get::<_, i64>(0) > 2)
    })
    .await?;
    let client = stage.client().await?;
    client
        .batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        .await?;
    let waiting = "SELECT max(virtualtransaction) FROM pg_locks
                    WHERE NOT granted AND relation = 'orders'::regclass AND mode = 'AccessShareLock'";
    let waits = async || -> Result<Option<String>> { Ok(superuser.query_one(waiting, &[]).await?.get(0)) };
    until::so("a chunk waits", async || Ok(waits().await?.is_some())).await?;
    let first = waits().await?;
    until::so("it is another one that waits", async || {
        let now = waits().await?;
        Ok(now.is_some() && now != first)
    })
    .await?;
    client.batch_execute("COMMIT").await?;
    engine.end().await?.expect(0)?;
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn t11_a_truncate_between_two_chunks_begins_the_copy_again() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, n integer);
                        INSERT INTO t SELECT i, i FROM generate_series(1, 6000) AS i;",
        )
        .await?;
    let file = stage.change_file("t", &["ALTER COLUMN n TYPE bigint"], &[("chunk_time", TINY)])?;
    let mut engine = incremental(&stage, &file, "auto")?;
    stage.reached_by(&mut engine, Phase::Copying).await?;
    let superuser = stage.superuser().await?;
    until::so("some chunks are copied", || async {
        let chunks = "SELECT count(*) >= 5 FROM crossfade.chunk WHERE migration = $1";
        Ok(superuser
            .query_one(chunks, &[&stage.name().as_str()])
            .await?
            .get(0))
    })
    .await?;
    client
        .batch_execute("TRUNCATE t; INSERT INTO t SELECT i, -i FROM generate_series(1, 700) AS i")
        .await?;
    engine.end().await?.expect(0)?;
    let row = client
        .query_one(
            "SELECT count(*), sum(n)::bigint, min(pg_typeof(n)::text) FROM t",
            &[],
        )
        .await?;
    let found: (i64, i64, String) = (row.get(0), row.get(1), row.get(2));
    ensure!(found == (700, -245_350, "bigint".to_owned()), "{found:?}");
    Ok(())
}

/// M1: a transaction that is decoded, and that nobody sees, since a synchronous standby does not answer.
#[tokio::test]
async fn m01_what_is_decoded_and_not_visible_is_in_no_chunk_before_it_is() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let superuser = stage.superuser().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, n integer);
                        INSERT INTO t SELECT 2 * i, i FROM generate_series(1, 60000) AS i;",
        )
        .await?;
    let limits = [("chunk_time", TINY), ("proof_wait", "100ms")];
    let file = stage.change_file("t", &["ALTER COLUMN n TYPE bigint"], &limits)?;
    let mut engine = incremental(&stage, &file, "auto")?;
    stage.reached_by(&mut engine, Phase::Copying).await?;
    let name = stage.name().as_str();
    until::so("some chunks are copied", || async {
        let chunks = "SELECT count(*) >= 3 FROM crossfade.chunk WHERE migration = $1";
        Ok(superuser.query_one(chunks, &[&name]).await?.get(0))
    })
    .await?;
    superuser
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await?;
    superuser.batch_execute("SELECT pg_reload_conf()").await?;
    let waiting = stage.client().await?;
    let committing = tokio::spawn(async move {
        waiting
            .batch_execute("SET synchronous_commit = on; INSERT INTO t VALUES (90001, 7); UPDATE t SET n = -1 WHERE id BETWEEN 90002 AND 90020")
            .await
    });
    until::so("the drop is remembered", || async {
        let drops = "SELECT EXISTS (SELECT FROM crossfade.unproven_drop WHERE migration = $1)";
        Ok(superuser.query_one(drops, &[&name]).await?.get(0))
    })
    .await?;
    // What is behind the rows that it has touched is copied meanwhile; without the proof so would be they.
    until::so("the last chunk is copied", || async {
        let copied = "SELECT EXISTS (SELECT FROM crossfade.chunk WHERE migration = $1 AND upper IS NULL)";
        Ok(superuser.query_one(copied, &[&name]).await?.get(0))
    })
    .await?;
    superuser
        .batch_execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await?;
    superuser.batch_execute("SELECT pg_reload_conf()").await?;
    committing.await??;
    engine.end().await?.expect(0)?;
    let row = client
        .query_one(
            "SELECT count(*), count(*) FILTER (WHERE n = -1), count(*) FILTER (WHERE id = 90001) FROM t",
            &[],
        )
        .await?;
    let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    ensure!(found == (60_001, 10, 1), "{found:?}");
    Ok(())
}

/// R7: the engine says what it waits for, and goes on by itself.
#[tokio::test]
async fn r07_a_proof_that_does_not_come_is_named() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let superuser = stage.superuser().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, n integer);
                        INSERT INTO t SELECT i, i FROM generate_series(1, 1000) AS i;",
        )
        .await?;
    let file = stage.change_file("t", &["ALTER COLUMN n TYPE bigint"], &[("proof_wait", "100ms")])?;
    let mut engine = incremental(&stage, &file, "manual")?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    superuser
        .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        .await?;
    superuser.batch_execute("SELECT pg_reload_conf()").await?;
    let waiting = stage.client().await?;
    let committing = tokio::spawn(async move {
        waiting
            .batch_execute("SET synchronous_commit = on; UPDATE t SET n = -1 WHERE id = 7")
            .await
    });
    let xid = until::some("the commit waits for the standby", || async {
        let waits = "SELECT backend_xid::text FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        Ok(superuser
            .query_opt(waits, &[])
            .await?
            .and_then(|row| row.get::<_, Option<String>>(0)))
    })
    .await?;
    until::so("its change is applied", || async {
        let applied = stage.status().await?["progress"]["changes_applied"].as_u64();
        Ok(applied.is_some_and(|applied| applied > 0))
    })
    .await?;
    // Nobody sees it: there is nothing that the target could be compared with.
    let verify = stage.crossfade(&["verify", stage.name().as_str()])?;
    until::so("the engine says what it waits for", || async {
        let waits_for = stage.status().await?["progress"]["waits_for"].clone();
        let said = waits_for.as_str().unwrap_or_default();
        let named = [&format!("transaction {xid} "), "SyncRep", "`nobody`", "pid"];
        Ok(named.iter().all(|what| said.contains(*what)))
    })
    .await?;
    superuser
        .batch_execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await?;
    superuser.batch_execute("SELECT pg_reload_conf()").await?;
    committing.await??;
    verify.end().await?.expect(0)?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    Ok(())
}
