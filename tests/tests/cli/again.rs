//! The same command again, another plan, a changed table, a second engine, a second migration.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;
use rustix::process::Signal;

const STOP_MAX: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test]
async fn the_same_run_goes_on_and_another_plan_is_refused() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    engine.end_by(Signal::INT, STOP_MAX).await?.expect(130)?;
    let other = stage
        .run(TABLE, "ALTER COLUMN customer_id TYPE bigint", &[])?
        .end()
        .await?
        .expect(10)?;
    ensure!(!other.object["refusals"].is_null(), "{}", other.object);
    ensure!(
        stage.status().await?["phase"] == "ready",
        "the refusal touched nothing"
    );
    stage
        .run(TABLE, RETYPE, &["--cutover", "auto"])?
        .end()
        .await?
        .expect(0)?;
    let began = "SELECT count(*) FROM crossfade.audit WHERE what LIKE 'copied %'";
    let copies: i64 = stage.superuser().await?.query_one(began, &[]).await?.get(0);
    ensure!(copies == 1, "copied {copies} times");
    orders.stop_and_compare().await?;
    Ok(())
}

/// What is complete is out of the way of the next change of the table.
#[tokio::test]
async fn the_name_of_a_complete_migration_is_free_for_another_change() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n integer); INSERT INTO t VALUES (1, 1)")
        .await?;
    for (alter, column) in [("ALTER n TYPE bigint", "n"), ("ALTER id TYPE bigint", "id")] {
        let engine = stage.run("t", alter, &["--cutover", "auto"])?;
        engine.end().await?.expect(0)?;
        stage.operate("complete", &["--drop"]).await?.expect(0)?;
        ensure!(stage.column_type("t", column).await? == "bigint", "{alter}");
    }
    Ok(())
}

#[tokio::test]
async fn a_plan_of_a_table_that_has_changed_since_is_refused() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let file = stage.folder().join("plan.json").display().to_string();
    let more = ["--way-back", "none", "--out", &file];
    let plan = stage.arguments(&["plan"], TABLE, RETYPE, &more);
    stage.ended(&plan).await?.expect(0)?;
    let client = stage.client().await?;
    client
        .batch_execute("ALTER TABLE orders ALTER COLUMN details SET DEFAULT '{}'")
        .await?;
    let refused = stage
        .ended(&["run", "--yes", "--plan", &file])
        .await?
        .expect(10)?;
    ensure!(
        refused.says("plan_outdated") && refused.says("details"),
        "{}",
        refused.object
    );
    ensure!(stage.traces().await?.is_empty());
    client
        .batch_execute("ALTER TABLE orders ALTER COLUMN details DROP DEFAULT")
        .await?;
    stage
        .ended(&["run", "--yes", "--plan", &file, "--cutover", "auto"])
        .await?
        .expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn two_migrations_of_one_database_run_side_by_side() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE other (id integer PRIMARY KEY, n integer);
             INSERT INTO other SELECT i, i FROM generate_series(1, 1000) i",
        )
        .await?;
    let first = stage.run(TABLE, RETYPE, &[])?;
    let name = format!("{}_other", stage.name());
    let alter = "ALTER COLUMN n TYPE bigint";
    let second = [
        "run",
        "--yes",
        "--name",
        &name,
        "--table",
        "other",
        "--alter",
        alter,
        "--way-back",
        "none",
        "--cutover",
        "auto",
    ];
    let second = stage.crossfade(&second)?;
    second.end().await?.expect(0)?;
    ensure!(stage.column_type("other", "n").await? == "bigint");
    stage.reached(Phase::Ready).await?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    first.end().await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn two_migrations_of_one_table_are_refused() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    let name = format!("{}_again", stage.name());
    let second = [
        "run",
        "--yes",
        "--name",
        &name,
        "--table",
        TABLE,
        "--alter",
        RETYPE,
        "--way-back",
        "none",
    ];
    let refused = stage.ended(&second).await?.expect(10)?;
    ensure!(
        refused.says(stage.name().as_str()),
        "it says which: {}",
        refused.object
    );
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn a_second_engine_is_refused_and_told_where_the_first_is() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    let second = stage.run(TABLE, RETYPE, &["--cutover", "auto"])?.end().await?;
    ensure!(second.code != Some(0), "{}", second.object);
    ensure!(
        second.says(&engine.pid().to_string()),
        "it says which process: {}",
        second.object
    );
    let host = stage.status().await?["engine"]["host"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    ensure!(second.says(&host), "it says which machine: {}", second.object);
    ensure!(
        stage.status().await?["engine"]["pid"] == engine.pid(),
        "the first goes on"
    );
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}
