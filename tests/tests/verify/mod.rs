//! Exact verification on a real server: equal while writers write, and each kind of difference planted by hand in the
//! new table is found and named.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use serde_json::Value;

mod keyless;
mod repair;

/// Slices small enough that a small table has several, and pairs short enough that it takes several.
const SHORT: &[(&str, &str)] = &[("verify_time", "40ms")];

/// The table that is compared, filled; large enough for several slices.
const FILL: &str = "
CREATE TABLE items (id integer PRIMARY KEY, name text, price numeric(12, 2), at timestamptz, note text);
INSERT INTO items SELECT i, 'item ' || i, i * 1.37, to_timestamp(i), CASE WHEN i % 3 = 0 THEN NULL ELSE repeat('x', i % 50) END
  FROM generate_series(1, 30000) AS i;";

/// What a result holds, by its pointer.
fn of<'a>(ended: &'a Ended, pointer: &str) -> Result<&'a Value> {
    let found = ended.object.pointer(&format!("/verification/{pointer}"));
    found.with_context(|| format!("find verification/{pointer} in {}", ended.object))
}

/// An engine that follows `items` and is ready.
async fn following(stage: &Stage) -> Result<Process> {
    let client = stage.client().await?;
    client.batch_execute(FILL).await?;
    let change = stage.change_file("items", &[RETYPE], SHORT)?;
    let mut engine = stage.run_change(&change, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    Ok(engine)
}

/// Plants a difference in the new table of a migration that is ready, and expects to be told these rows.
async fn planted(plant: &str, expected: &[(&str, &str)]) -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    stage.operate("verify", &[]).await?.expect(0)?;
    let shadow = format!("{}.items", stage.name().schema());
    let superuser = stage.superuser().await?;
    superuser.batch_execute(&plant.replace("SHADOW", &shadow)).await?;

    let told = stage.operate("verify", &[]).await?.expect(21)?;
    let differences = of(&told, "differences")?.as_array().context("a list")?;
    let found: Vec<(&str, &str)> = differences
        .iter()
        .filter_map(|row| Some((row["key"].as_str()?, row["kind"].as_str()?)))
        .collect();
    ensure!(found == expected, "found {found:?}, planted {expected:?}");
    ensure!(
        of(&told, "slices")?.as_u64() > Some(1),
        "one slice only: {}",
        told.object
    );
    // The engine ends with the same finding, and no later one swaps.
    let ended = engine.end().await?.expect(21)?;
    ensure!(of(&ended, "equal")? == false, "{}", ended.object);
    let name = stage.name().as_str();
    let again = stage
        .ended(&["continue", name, "--cutover", "auto", "--verify", "off"])
        .await?;
    again.expect(21)?;
    ensure!(
        stage.column_type("items", "id").await? == "integer",
        "swapped all the same"
    );
    Ok(())
}

#[tokio::test]
async fn a_changed_bit_is_found() -> Result<()> {
    let plant = "UPDATE SHADOW SET note = overlay(note PLACING 'y' FROM 3) WHERE id = 20009";
    planted(plant, &[("20009", "different")]).await
}

#[tokio::test]
async fn values_swapped_between_two_rows_are_found() -> Result<()> {
    let plant = "UPDATE SHADOW AS a SET name = b.name FROM SHADOW AS b WHERE a.id + b.id = 29001 AND a.id IN (14500, 14501)";
    planted(plant, &[("14500", "different"), ("14501", "different")]).await
}

#[tokio::test]
async fn rows_missing_at_the_ends_and_between_are_found() -> Result<()> {
    let plant = "DELETE FROM SHADOW WHERE id IN (1, 15000, 30000)";
    planted(
        plant,
        &[("1", "missing"), ("15000", "missing"), ("30000", "missing")],
    )
    .await
}

#[tokio::test]
async fn rows_beyond_the_ends_are_found() -> Result<()> {
    let plant = "INSERT INTO SHADOW (id, name) VALUES (-7, 'x'), (99999999999, 'x')";
    planted(plant, &[("-7", "extra"), ("99999999999", "extra")]).await
}

/// An engine was told not to look, the next one was not.
#[tokio::test]
async fn what_was_never_compared_is_compared_before_the_cutover() -> Result<()> {
    let stage = Stage::shared().await?;
    stage.client().await?.batch_execute(FILL).await?;
    let mut engine = stage.run("items", RETYPE, &["--verify", "off"])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    engine.kill_9().await?;
    let plant = format!("DELETE FROM {}.items WHERE id = 20009", stage.name().schema());
    stage.superuser().await?.batch_execute(&plant).await?;
    let ended = stage.operate("continue", &["--cutover", "auto"]).await?;
    ended.expect(21)?;
    ensure!(
        stage.column_type("items", "id").await? == "integer",
        "swapped all the same"
    );
    Ok(())
}

#[tokio::test]
async fn a_null_is_not_an_empty_text() -> Result<()> {
    let plant = "UPDATE SHADOW SET note = '' WHERE id = 300";
    planted(plant, &[("300", "different")]).await
}

/// Several verifications while writers write as fast as they can.
#[tokio::test]
async fn equal_tables_are_equal_while_writers_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 20_000, 4, 1).await?;
    let change = stage.change_file(TABLE, &[RETYPE], SHORT)?;
    let mut engine = stage.run_change(&change, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    for _ in 0..5 {
        orders.goes_on(200).await?;
        let told = stage.operate("verify", &[]).await?.expect(0)?;
        ensure!(
            of(&told, "equal")? == true && of(&told, "whole")? == true,
            "{}",
            told.object
        );
        ensure!(
            of(&told, "pairs")?.as_u64() > Some(1),
            "one pair only: {}",
            told.object
        );
        ensure!(of(&told, "rows")?.as_u64() >= Some(15_000), "{}", told.object);
    }
    stage.operate("cutover", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    ensure!(
        ended.object["report"]["verification"]["equal"] == true,
        "{}",
        ended.object
    );
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn without_an_engine_it_says_how_to_start_one() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    engine
        .end_by(rustix::process::Signal::TERM, Duration::from_secs(30))
        .await?
        .expect(130)?;
    let told = stage.operate("verify", &[]).await?.expect(20)?;
    ensure!(told.says("crossfade continue"), "{}", told.object);
    Ok(())
}

/// What the server alone fills is named, and not compared.
#[tokio::test]
async fn columns_without_a_counterpart_are_named() -> Result<()> {
    let stage = Stage::shared().await?;
    stage.client().await?.batch_execute(FILL).await?;
    let alter = "ADD COLUMN seen timestamptz DEFAULT clock_timestamp()";
    let mut engine = stage.run("items", alter, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    let told = stage.operate("verify", &[]).await?.expect(0)?;
    ensure!(
        *of(&told, "unverified")? == serde_json::json!(["seen"]),
        "{}",
        told.object
    );
    Ok(())
}

/// A transaction that only waits for its client cannot have committed: whether the former engine has applied it is no
/// question, however long it stays.
#[tokio::test]
async fn after_a_restart_nobody_waits_for_a_transaction_that_idles() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    let idle = stage.client().await?;
    idle.batch_execute("CREATE TABLE other (i integer); BEGIN; INSERT INTO other VALUES (1)")
        .await?;
    engine.kill_9().await?;
    let name = stage.name().as_str();
    let engine = stage.crossfade(&["continue", name])?;
    until::so("the next engine is at work", async || {
        let status = stage.status().await?;
        Ok(status["engine"]["pid"] == engine.pid() && status["progress"]["activity"] == "Ready")
    })
    .await?;
    let told = stage.operate("verify", &[]).await?.expect(0)?;
    ensure!(of(&told, "equal")? == true, "{}", told.object);
    idle.batch_execute("ROLLBACK").await?;
    Ok(())
}
