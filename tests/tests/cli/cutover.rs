//! A cutover that is not achieved in its budget: 22, with the blocker named, nothing swapped, and it goes on.

use anyhow::{Result, ensure};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

/// So small that a test can see the budget end.
const LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "300ms"),
    ("hold_budget", "2s"),
    ("cutover_max", "4s"),
];

#[tokio::test]
async fn a_lock_held_for_ever_is_named_and_given_way_to() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let reader = stage.client().await?;
    // Holds a lock and no snapshot, as a session idle in a transaction does.
    reader
        .batch_execute(
            "SET application_name = 'endless report'; BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE",
        )
        .await?;
    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let file = stage.change_file(TABLE, &[RETYPE], &LIMITS)?;
    let ended = stage
        .run_change(&file, &["--cutover", "auto"])?
        .end()
        .await?
        .expect(22)?;
    ensure!(
        ended.says(&format!("pid {pid}")) && ended.says("endless report"),
        "{}",
        ended.object
    );
    ensure!(ended.object["attempts"].as_u64() >= Some(1), "{}", ended.object);
    ensure!(
        stage.column_type(TABLE, "id").await? == "integer",
        "nothing was swapped"
    );
    orders.goes_on(20).await?;
    reader.batch_execute("COMMIT").await?;
    stage
        .operate("continue", &["--cutover", "auto"])
        .await?
        .expect(0)?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    orders.stop_and_compare().await?;
    Ok(())
}

/// Whether there is a slot for the way back.
async fn back_slot(stage: &Stage) -> Result<bool> {
    // One that is still being made goes with the session that makes it.
    let select = "SELECT EXISTS (SELECT FROM pg_replication_slots
                                  WHERE slot_name = $1 AND confirmed_flush_lsn IS NOT NULL)";
    let superuser = stage.superuser().await?;
    Ok(superuser
        .query_one(select, &[&stage.name().back_slot()])
        .await?
        .get(0))
}

/// Nobody would read it, and it would retain WAL without end.
#[tokio::test]
async fn a_cutover_that_is_not_achieved_leaves_no_slot_for_the_way_back() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let reader = stage.client().await?;
    reader
        .batch_execute("BEGIN; LOCK TABLE orders IN ACCESS SHARE MODE")
        .await?;
    let file = stage.change_file_with_way_back(TABLE, &[RETYPE], &LIMITS)?;
    stage
        .run_change(&file, &["--cutover", "auto"])?
        .end()
        .await?
        .expect(22)?;
    ensure!(!back_slot(&stage).await?, "a slot without a reader is left");

    let name = stage.name().as_str();
    let engine = stage.crossfade(&["continue", name, "--cutover", "auto"])?;
    until::so("a slot for the way back", || back_slot(&stage)).await?;
    engine.kill_9().await?;
    ensure!(back_slot(&stage).await?, "a kill leaves what it leaves");
    let engine = stage.crossfade(&["continue", name])?;
    until::so("nothing is left of the killed one's cutover", async || {
        Ok(!back_slot(&stage).await?)
    })
    .await?;
    reader.batch_execute("COMMIT").await?;
    engine.kill_9().await?;
    stage.operate("abort", &[]).await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}
