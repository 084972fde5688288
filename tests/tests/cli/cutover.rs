//! A cutover that is not achieved in its budget: 22, with the blocker named, nothing swapped, and it goes on.

use anyhow::{Result, ensure};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;

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
    let file = stage
        .change_file(TABLE, &[RETYPE], &LIMITS)?
        .display()
        .to_string();
    let name = stage.name().as_str();
    let run = [
        "run",
        "--yes",
        "--name",
        name,
        "--change",
        &file,
        "--cutover",
        "auto",
    ];
    let ended = stage.ended(&run).await?.expect(22)?;
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
