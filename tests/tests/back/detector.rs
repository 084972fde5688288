//! Who else writes to the retired table is seen, told, and stands in the way of a rollback until every row was found
//! equal; whatever becomes of the engine meanwhile (R31).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::gate::Gate;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use rustix::process::Signal;
use tokio_postgres::Client;

use super::{ROWS, WRITERS, follows_back, is_back_in_place};

/// A row that no writer of the application touches.
const QUIET: &str = "INSERT INTO orders (id, customer_id, amount) VALUES (9000001, 1, 1)";

/// The swapped table with a quiet row, under writers; the retired table follows.
async fn swapped<'a>(stage: &'a Stage) -> Result<(Orders<'a>, Process)> {
    let orders = Orders::start(stage, ROWS, WRITERS, 1).await?;
    stage.client().await?.batch_execute(QUIET).await?;
    let mut engine = stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(stage, &mut engine).await?;
    Ok((orders, engine))
}

/// What a role that nobody can take privileges from does to the retired table, behind everyone's back.
async fn by_hand(stage: &Stage, sql: &str) -> Result<()> {
    let retired = format!("{}.orders", stage.name().retired_schema());
    let sql = sql.replace("RETIRED", &retired);
    Ok(stage.superuser().await?.batch_execute(&sql).await?)
}

const SPOIL: &str = "UPDATE RETIRED SET amount = amount + 1 WHERE id = 9000001";
const MEND: &str = "UPDATE RETIRED SET amount = amount - 1 WHERE id = 9000001";

/// Waits until so many strays are known.
async fn told(stage: &Stage, strays: u64) -> Result<()> {
    until::so(format!("{strays} strays are told of"), || async {
        let way_back = &stage.status().await?["way_back"];
        Ok(way_back["strays"] == strays && way_back["ready"] == false && way_back["doubt"].is_string())
    })
    .await
}

async fn ends_as_before(stage: &Stage, orders: Orders<'_>) -> Result<()> {
    is_back_in_place(stage).await?;
    orders.goes_on(20).await?;
    let client = stage.client().await?;
    client
        .batch_execute("DELETE FROM orders WHERE id = 9000001")
        .await?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn a_direct_writer_is_told_of_and_the_rollback_refused_until_the_row_is_mended() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    by_hand(&stage, SPOIL).await?;
    told(&stage, 1).await?;
    orders.goes_on(50).await?;

    stage.operate("rollback", &[]).await?.expect(0)?;
    let refused = engine.end().await?.expect(21)?;
    let differences = &refused.object["verification"]["differences"];
    ensure!(
        *differences == serde_json::json!([{"key": "9000001", "kind": "different"}]),
        "{}",
        refused.object
    );
    ensure!(stage.column_type(TABLE, "id").await? == "bigint", "rolled back");

    // Neither an engine of its own, nor one that only follows, has forgotten it.
    let refused = stage.operate("rollback", &[]).await?.expect(21)?;
    ensure!(refused.says("9000001"), "{}", refused.object);
    let mut engine = stage.crossfade(&["continue", stage.name().as_str()])?;
    told(&stage, 1).await?;
    orders.goes_on(50).await?;
    ensure!(engine.is_running()?, "it follows all the same");

    by_hand(&stage, MEND).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    ensure!(ended.reported("strays")? == 2, "{}", ended.object);
    ends_as_before(&stage, orders).await
}

#[tokio::test]
async fn a_difference_that_was_mended_and_compared_is_forgotten() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    by_hand(&stage, &format!("{SPOIL}; {MEND}")).await?;
    told(&stage, 1).await?;
    stage.operate("verify", &[]).await?.expect(0)?;
    until::so("the rollback is ready", || async {
        Ok(stage.status().await?["way_back"]["ready"] == true)
    })
    .await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ends_as_before(&stage, orders).await
}

#[tokio::test]
async fn there_and_back_nothing_is_told_of() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    orders.goes_on(500).await?;
    ensure!(stage.status().await?["way_back"]["strays"] == 0);
    stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    ensure!(ended.reported("strays")? == 0, "{}", ended.object);
    ensure!(ended.reported("changes_carried_back")? > 0, "{}", ended.object);
    ends_as_before(&stage, orders).await?;
    let slots = slots(&stage.superuser().await?, &stage).await?;
    ensure!(slots.is_empty(), "left behind: {slots:?}");
    Ok(())
}

/// A rollback is refused and names the row that differs, and goes through once that is mended.
async fn refused_until_mended(stage: &Stage, orders: Orders<'_>) -> Result<()> {
    let refused = stage.operate("rollback", &[]).await?.expect(21)?;
    ensure!(refused.says("9000001"), "{}", refused.object);
    by_hand(stage, MEND).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    ends_as_before(stage, orders).await
}

async fn interrupted(engine: Process) -> Result<()> {
    let ended = engine.end_by(Signal::TERM, Duration::from_secs(30)).await?;
    ended.expect(130).map(drop)
}

/// What an engine has told of, and what it has seen but not written down yet.
#[tokio::test]
async fn killed_behind_a_stray_write_the_next_engine_knows_of_it() -> Result<()> {
    let stage = Stage::shared().await?;
    let gate = Gate::close_at(&stage, "others wrote to the retired table").await?;
    let (orders, engine) = swapped(&stage).await?;
    by_hand(&stage, SPOIL).await?;
    gate.reached().await?;
    engine.kill_9().await?;
    gate.open().await?;

    let engine = stage.crossfade(&["continue", stage.name().as_str()])?;
    told(&stage, 1).await?;
    engine.kill_9().await?;
    refused_until_mended(&stage, orders).await
}

/// Nobody is there to see it: the slot keeps it.
#[tokio::test]
async fn written_while_no_engine_runs_it_is_seen_by_the_next() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    interrupted(engine).await?;
    by_hand(&stage, SPOIL).await?;
    refused_until_mended(&stage, orders).await
}

/// What happened while nobody looked, nobody knows: every row is compared.
#[tokio::test]
async fn a_slot_that_somebody_dropped_is_made_anew_and_counts_as_unseen() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    interrupted(engine).await?;
    let superuser = stage.superuser().await?;
    let slot = stage.name().slot();
    superuser
        .execute("SELECT pg_drop_replication_slot($1::text)", &[&slot])
        .await?;
    by_hand(&stage, SPOIL).await?;
    refused_until_mended(&stage, orders).await
}

/// Whoever alters the retired table meets the comparison of the rollback, and the detector goes on.
#[tokio::test]
async fn a_retired_table_that_is_altered_does_not_end_the_way_back() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, mut engine) = swapped(&stage).await?;
    by_hand(&stage, "ALTER TABLE RETIRED ADD COLUMN extra integer").await?;
    orders.goes_on(100).await?;
    by_hand(&stage, SPOIL).await?;
    told(&stage, 1).await?;
    ensure!(engine.is_running()?, "it ended");
    by_hand(&stage, &format!("{MEND}; ALTER TABLE RETIRED DROP COLUMN extra")).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ends_as_before(&stage, orders).await
}

/// So long that the old snapshot below is still waited for when the write comes.
const PATIENT: &[(&str, &str)] = &[("cutover_max", "40s"), ("hold_budget", "20s")];

/// Until the swap the retired table can be written to, also behind the last drain: the swap waits until that is looked
/// at.
#[tokio::test]
async fn written_under_the_rollbacks_lock_it_is_seen_before_the_swap() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    stage.client().await?.batch_execute(QUIET).await?;
    let change = stage.change_file_with_way_back(TABLE, &[RETYPE], PATIENT)?;
    let mut engine = stage.run_change(&change, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;

    // It holds the engine behind its drain, with all locks of the cutover.
    let reader = stage.client().await?;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
        .await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    let superuser = stage.superuser().await?;
    let locked = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'public.orders'::regclass AND granted
                                    AND mode = 'AccessExclusiveLock')";
    until::so("the new table is locked", || async {
        Ok(superuser.query_one(locked, &[]).await?.get(0))
    })
    .await?;
    by_hand(&stage, SPOIL).await?;
    reader.batch_execute("COMMIT").await?;
    let refused = engine.end().await?.expect(21)?;
    ensure!(refused.says("9000001"), "{}", refused.object);
    orders.goes_on(20).await?;

    by_hand(&stage, MEND).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    ends_as_before(&stage, orders).await
}

/// The engine's own slots, with where each may begin again.
async fn slots(superuser: &Client, stage: &Stage) -> Result<Vec<(String, String)>> {
    let select = "SELECT slot_name::text, restart_lsn::text FROM pg_replication_slots
                   WHERE slot_name IN ($1::text, $1::text || '_back') ORDER BY slot_name";
    let rows = superuser.query(select, &[&stage.name().slot()]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

#[tokio::test]
async fn both_slots_move_while_only_other_tables_change() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE tickets (id integer PRIMARY KEY); CREATE TABLE other (id integer);
             INSERT INTO tickets SELECT generate_series(1, 100)",
        )
        .await?;
    let mut engine = stage.run_with_way_back("tickets", RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    let superuser = stage.superuser().await?;
    let before = superuser
        .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
        .await?
        .get::<_, String>(0);
    let passed = "SELECT count(*) FROM pg_replication_slots
                   WHERE slot_name IN ($1::text, $1::text || '_back') AND restart_lsn > $2::text::pg_lsn";
    until::so("both slots let go of the WAL from before", || async {
        // The server itself writes down now and then which transactions run: from there a slot can begin again.
        client.batch_execute("INSERT INTO other VALUES (1)").await?;
        let row = superuser
            .query_one(passed, &[&stage.name().slot(), &before])
            .await?;
        Ok(row.get::<_, i64>(0) == 2)
    })
    .await
    .with_context(|| format!("insert position before: {before}"))?;
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "complete left {traces:?}");
    Ok(())
}
