//! Tables that are copied in chunks: gone on with chunk by chunk, whatever is killed, and never ahead of what the source
//! has kept.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crossfade_tests::moving::{ENGINE, Moving};
use crossfade_tests::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::Client;

use super::count;

const TABLES: &str = "\
CREATE TABLE public.words (word text COLLATE \"und-x-icu\", number integer, body text, PRIMARY KEY (word, number));
CREATE TABLE public.items (id bigint PRIMARY KEY, body text, changed integer NOT NULL DEFAULT 0);
CREATE TABLE public.notes (at timestamptz DEFAULT clock_timestamp(), body text);
INSERT INTO public.items SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 20000) AS i;
INSERT INTO public.words SELECT chr(97 + i % 26) || CASE WHEN i % 2 = 0 THEN 'É' ELSE 'e' END, i, repeat('w', 900)
  FROM generate_series(1, 6000) AS i;
INSERT INTO public.notes (body) SELECT 'note ' || i FROM generate_series(1, 1000) AS i";

/// Small ones, one after the other: there is time to be killed in between.
const SLOWLY: [&str; 10] = [
    "--copy",
    "incremental",
    "--copiers",
    "1",
    "--limit",
    "chunk_time=20ms",
    "--limit",
    "chunk_delay=80ms",
    "--cutover",
    "manual",
];

async fn connect(place: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(place, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Changes rows before and behind whatever is copied, moves keys, removes and adds, until it is over; a server that is away is
/// waited for.
async fn write(place: String, over: Arc<AtomicBool>) -> Result<i64> {
    let mut written = 0;
    while !over.load(Ordering::Relaxed) {
        let Ok(client) = connect(&place).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while !over.load(Ordering::Relaxed) {
            let (row, word) = (written * 7_919 % 20_000 + 1, written * 271 % 6_000 + 1);
            let sql = format!(
                "UPDATE items SET changed = changed + 1 WHERE id = {row};
                 DELETE FROM items WHERE id = {row} + 40000;
                 UPDATE items SET id = id + 40000 WHERE id = {row} AND changed % 3 = 2;
                 INSERT INTO items SELECT {row}, 'again' WHERE NOT EXISTS (SELECT FROM items WHERE id = {row});
                 UPDATE words SET word = CASE WHEN word < 'm' THEN 'z' ELSE 'a' END || word WHERE number = {word};
                 INSERT INTO notes (body) VALUES ('written {written}')"
            );
            match client.batch_execute(&sql).await {
                Ok(()) => written += 1,
                Err(error) if error.code().is_some_and(|code| !code.code().starts_with("57P")) => {
                    return Err(error).context("a writer of the source fails");
                }
                // The server is away.
                Err(_) => break,
            }
        }
    }
    Ok(written)
}

async fn wait_for(client: &Client, query: &str, at_least: i64, engine: &mut Process) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(client, query).await.unwrap_or(0) < at_least {
        if !engine.is_running()? {
            anyhow::bail!("the engine ended: {}", engine.ended_early().await?);
        }
        ensure!(
            Instant::now() < deadline,
            "waited in vain for {at_least} of: {query}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Until there are so many chunks; says which.
async fn chunks(target: &Client, at_least: i64, engine: &mut Process) -> Result<Vec<String>> {
    let query = "SELECT count(*) FROM crossfade.chunk WHERE starts_with(migration, 'estate.')";
    wait_for(target, query, at_least, engine).await?;
    let list = "SELECT migration || ' ' || chunk || ' under ' || snapshot FROM crossfade.chunk
                 WHERE starts_with(migration, 'estate.') ORDER BY 1";
    Ok(target
        .query(list, &[])
        .await?
        .iter()
        .map(|row| row.get(0))
        .collect())
}

#[tokio::test]
async fn whatever_is_killed_it_goes_on_with_the_chunks_that_are_missing() -> Result<()> {
    let mut moving = Moving::bare().await?;
    moving.client(&moving.from).await?.batch_execute(TABLES).await?;
    let plan = moving
        .plan_move(&[&["--all"], &SLOWLY[..6]].concat())
        .await?
        .expect(0)?;
    let mode = |number: usize| plan.object.pointer(&format!("/plan/steps/{number}/copy_mode"));
    let modes: Vec<_> = (0..3).map(mode).collect();
    let [chunks_of_it, snapshot] = ["incremental", "snapshot"].map(serde_json::Value::from);
    ensure!(
        modes == [Some(&chunks_of_it), Some(&chunks_of_it), Some(&snapshot)],
        "{:#}",
        plan.object
    );
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(moving.place(&moving.from), Arc::clone(&over)));

    let mut engine = moving.start_move_hooked(&SLOWLY)?;
    let mut seen = BTreeSet::new();
    for (more, fault) in [
        (4, Fault::Engine),
        (8, Fault::Source),
        (12, Fault::Target),
        (24, Fault::Engine),
    ] {
        let target = of_the_engine(&moving).await?;
        seen.extend(chunks(&target, more, &mut engine).await?);
        match fault {
            Fault::Engine => {
                engine.kill_9().await?;
                engine = moving.start_again(&["--copiers", "1"])?;
            }
            Fault::Source => moving.from.restart(true).await?,
            Fault::Target => moving.to.restart(true).await?,
        }
    }
    moving.verified(&mut engine, 0).await?;
    let target = of_the_engine(&moving).await?;
    let all: BTreeSet<String> = chunks(&target, 25, &mut engine).await?.into_iter().collect();
    ensure!(seen.is_subset(&all), "copied again: {seen:#?}, and now {all:#?}");
    ensure!(all.len() > seen.len(), "nothing was left to be copied");
    over.store(true, Ordering::Relaxed);
    ensure!(writer.await?? > 100, "hardly anything was written");
    moving.check_rows(&moving.from, &moving.to).await?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    moving.led(&mut engine, 1).await?;
    moving.check_rows(&moving.to, &moving.from).await?;
    // Without an engine the command that goes back is it.
    engine.kill_9().await?;
    let mut engine = moving.start_back(&[])?;
    moving.led(&mut engine, 2).await?;
    moving.check_rows(&moving.from, &moving.to).await
}

enum Fault {
    Engine,
    Source,
    Target,
}

async fn of_the_engine(moving: &Moving) -> Result<Client> {
    Ok(moving.to.connect(ENGINE, moving.database()).await?)
}

/// Chunks are of different moments, and changes come behind them: until all is there two rows may have a value of which one
/// moment knows one.
#[tokio::test]
async fn a_unique_index_that_is_there_keeps_a_table_in_one_piece() -> Result<()> {
    let moving = Moving::bare().await?;
    let tables = "CREATE TABLE plain (id integer PRIMARY KEY, email text);
                  CREATE TABLE people (id integer PRIMARY KEY, email text UNIQUE);
                  CREATE TABLE bookings (id integer PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&))";
    for server in [&moving.from, &moving.to] {
        moving.client(server).await?.batch_execute(tables).await?;
    }
    let arguments = ["--all", "--schema-from", "existing", "--copy", "incremental"];
    let plan = moving.plan_move(&arguments).await?.expect(0)?;
    let steps = plan.object["plan"]["steps"].as_array().context("steps")?;
    for step in steps {
        let (table, mode) = (step["source"]["name"].to_string(), &step["copy_mode"]);
        let whole = step["copy_mode_reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("unique index"));
        ensure!(
            whole != table.contains("plain") && (mode == "snapshot") == whole,
            "{table}: {mode}"
        );
    }
    ensure!(steps.len() == 3);
    Ok(())
}

/// Nothing writes WAL down any more but a commit that waits for it.
async fn stop_the_wal_writer(moving: &Moving) -> Result<()> {
    let superuser = moving.from.connect("postgres", moving.database()).await?;
    let query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid = Pid::from_raw(superuser.query_one(query, &[]).await?.get(0));
    Ok(kill_process(pid.context("find the WAL writer")?, Signal::STOP)?)
}

/// A commit that its client did not wait for is seen before the source could not lose it any more. It crashes then, while a
/// chunk that has it waits for its commit: what the source has lost, the target must not have.
#[tokio::test]
async fn a_chunk_has_nothing_that_the_source_loses_in_a_crash() -> Result<()> {
    let mut moving = Moving::bare().await?;
    let source = moving.client(&moving.from).await?;
    let rows = "CREATE TABLE t (id integer PRIMARY KEY, body text);
                INSERT INTO t SELECT i, 'kept' FROM generate_series(1, 5000) AS i";
    source.batch_execute(rows).await?;
    let mut engine = moving.start_move_hooked(&SLOWLY)?;
    let target = moving.to.connect("postgres", moving.database()).await?;
    chunks(&target, 1, &mut engine).await?;
    // A chunk's commit waits for this lock, on the server: who sent it may be gone meanwhile.
    target
        .batch_execute(
            "CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NULL; END';
             CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON crossfade.chunk DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION public.hold();
             SELECT pg_advisory_lock(1)",
        )
        .await?;
    stop_the_wal_writer(&moving).await?;
    // With an old snapshot about, reading prunes nothing, which is written down too.
    let reader = moving.client(&moving.from).await?;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT")
        .await?;
    source
        .batch_execute("SET synchronous_commit = off; UPDATE t SET body = 'may be lost' WHERE id % 50 = 0")
        .await?;
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    wait_for(&target, waits, 1, &mut engine).await?;
    let unlocked = target.batch_execute("SELECT pg_advisory_unlock(1)");
    let (crashed, unlocked) = tokio::join!(moving.from.restart(true), unlocked);
    crashed?;
    unlocked?;
    moving.verified(&mut engine, 0).await?;
    let kept = moving.client(&moving.from).await?;
    let changed = count(&kept, "SELECT count(*) FROM t WHERE body <> 'kept'").await?;
    println!("the source has kept {changed} of the changes");
    moving.check_rows(&moving.from, &moving.to).await
}
