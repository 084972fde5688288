//! A table without a key is compared as a whole, as a multiset of rows.

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::stage::Stage;

use super::of;

const FILL: &str = "
CREATE TABLE events (at integer, what text);
INSERT INTO events SELECT i, 'event ' || i % 7 FROM generate_series(1, 20000) AS i;
INSERT INTO events SELECT 1, 'twice' FROM generate_series(1, 2);";

async fn planted(plant: &str, expected: &[&str]) -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client.batch_execute(FILL).await?;
    let mut engine = stage.run("events", "ALTER COLUMN at TYPE bigint", &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    client
        .batch_execute("INSERT INTO events SELECT i, 'late' FROM generate_series(1, 50) AS i")
        .await?;
    let told = stage.operate("verify", &[]).await?.expect(0)?;
    ensure!(
        *of(&told, "rows")? == 20_052 && *of(&told, "slices")? == 1,
        "{}",
        told.object
    );
    let shadow = format!("{}.events", stage.name().schema());
    stage
        .superuser()
        .await?
        .batch_execute(&plant.replace("SHADOW", &shadow))
        .await?;
    let told = stage.operate("verify", &[]).await?.expect(21)?;
    let differences = of(&told, "differences")?.as_array().context("a list")?;
    let kinds: Vec<&str> = differences
        .iter()
        .filter_map(|row| row["kind"].as_str())
        .collect();
    ensure!(kinds == expected, "found {kinds:?}, planted {expected:?}");
    engine.end().await?.expect(21)?;
    Ok(())
}

#[tokio::test]
async fn a_duplicate_is_found() -> Result<()> {
    planted(
        "INSERT INTO SHADOW SELECT * FROM SHADOW WHERE at = 4711",
        &["extra"],
    )
    .await
}

#[tokio::test]
async fn one_of_two_equal_rows_missing_is_found() -> Result<()> {
    let plant = "DELETE FROM SHADOW WHERE ctid = (SELECT min(ctid) FROM SHADOW WHERE what = 'twice')";
    planted(plant, &["missing"]).await
}

#[tokio::test]
async fn values_swapped_between_two_rows_are_found() -> Result<()> {
    let plant = "UPDATE SHADOW SET what = CASE at WHEN 7001 THEN 'event 2' ELSE 'event 1' END
                  WHERE at IN (7001, 7002)";
    planted(plant, &["extra", "extra", "missing", "missing"]).await
}
