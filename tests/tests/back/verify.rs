//! Exact verification backwards: the new table is the source, what the retired one should hold comes of it through the
//! inverse, and each kind of difference is found and named. The retired table goes on following: a finding is no end.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::process::{Ended, Process};
use crossfade_tests::stage::Stage;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::follows_back;

/// Whole cents become a decimal number: the way back is an expression that the user gives.
const FILL: &str = "
CREATE TABLE parts (id integer PRIMARY KEY, name text NOT NULL, price integer NOT NULL, note text);
INSERT INTO parts SELECT i, 'part ' || i, i * 137, CASE WHEN i % 3 = 0 THEN NULL ELSE repeat('x', i % 50) END
  FROM generate_series(1, 20000) AS i;";
/// Slices small enough that the table has several, and pairs short enough that it takes several.
const CHANGE: &str = r#"
table = "parts"
alter = ["ALTER COLUMN id TYPE bigint", "ALTER COLUMN price TYPE numeric(12, 2) USING (price / 100.0)::numeric(12, 2)"]

[back]
price = "(price * 100)::integer"

[limits]
verify_time = "40ms"
"#;

/// Swapped, and the retired table follows.
async fn swapped(stage: &Stage) -> Result<Process> {
    stage.client().await?.batch_execute(FILL).await?;
    let file = stage.folder().join("parts.toml");
    std::fs::write(&file, CHANGE)?;
    let mut engine = stage.run_change(&file, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(stage, &mut engine).await?;
    Ok(engine)
}

/// What a result holds, by its pointer.
fn of<'a>(ended: &'a Ended, pointer: &str) -> Result<&'a Value> {
    let found = ended.object.pointer(&format!("/verification/{pointer}"));
    found.with_context(|| format!("find verification/{pointer} in {}", ended.object))
}

/// The rows that differ, by key and kind.
fn differences(ended: &Ended) -> Result<Vec<(&str, &str)>> {
    let rows = of(ended, "differences")?.as_array().context("a list")?;
    Ok(rows
        .iter()
        .filter_map(|row| Some((row["key"].as_str()?, row["kind"].as_str()?)))
        .collect())
}

/// An application that changes, inserts and deletes rows until it is told to end.
struct Writer {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<u32>>,
}

impl Writer {
    async fn start(stage: &Stage) -> Result<Writer> {
        let client = stage.client().await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut rounds = 0;
            while !*stopped.borrow() {
                let (low, new) = (1 + rounds * 7 % 9_000, 30_000 + rounds);
                client
                    .batch_execute(&format!(
                        "UPDATE parts SET price = price + 0.01 WHERE id BETWEEN {low} AND {low} + 20;
                         INSERT INTO parts VALUES ({new}, 'new', 1.23, NULL);
                         DELETE FROM parts WHERE id = {new} - 5"
                    ))
                    .await?;
                rounds += 1;
            }
            Ok(rounds)
        });
        Ok(Writer { stop, task })
    }

    async fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        let rounds = self.task.await??;
        ensure!(rounds > 0, "it wrote nothing");
        Ok(())
    }
}

#[tokio::test]
async fn the_retired_table_is_equal_while_writers_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = swapped(&stage).await?;
    let writer = Writer::start(&stage).await?;
    for _ in 0..3 {
        let told = stage.operate("verify", &[]).await?.expect(0)?;
        ensure!(
            of(&told, "equal")? == true && of(&told, "whole")? == true,
            "{}",
            told.object
        );
        let (pairs, slices) = (of(&told, "pairs")?.as_u64(), of(&told, "slices")?.as_u64());
        ensure!(pairs > Some(1) && slices > Some(1), "{}", told.object);
        ensure!(of(&told, "rows")?.as_u64() >= Some(20_000), "{}", told.object);
    }
    writer.end().await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ensure!(stage.column_type("parts", "price").await? == "integer");
    Ok(())
}

/// Plants a difference in the retired table, is told these rows, mends it (without a statement the engine does), and is
/// told that all are equal.
async fn planted(plant: &str, mend: &str, expected: &[(&str, &str)]) -> Result<()> {
    let stage = Stage::shared().await?;
    let mut engine = swapped(&stage).await?;
    let writer = Writer::start(&stage).await?;
    stage.operate("verify", &[]).await?.expect(0)?;
    let retired = format!("{}.parts", stage.name().retired_schema());
    let superuser = stage.superuser().await?;
    superuser
        .batch_execute(&plant.replace("RETIRED", &retired))
        .await?;
    let told = stage.operate("verify", &[]).await?.expect(21)?;
    let found = differences(&told)?;
    ensure!(found == expected, "found {found:?}, planted {expected:?}");
    ensure!(engine.is_running()?, "a finding ended the engine");

    if mend.is_empty() {
        let told = stage.operate("verify", &["--repair"]).await?.expect(0)?;
        ensure!(*of(&told, "repaired")? == expected.len(), "{}", told.object);
    } else {
        superuser
            .batch_execute(&mend.replace("RETIRED", &retired))
            .await?;
        stage.operate("verify", &[]).await?.expect(0)?;
    }
    writer.end().await?;
    engine
        .end_by(rustix::process::Signal::TERM, Duration::from_secs(30))
        .await?
        .expect(130)?;
    Ok(())
}

#[tokio::test]
async fn a_changed_bit_is_found() -> Result<()> {
    planted(
        "UPDATE RETIRED SET price = price + 1 WHERE id = 15001",
        "UPDATE RETIRED SET price = price - 1 WHERE id = 15001",
        &[("15001", "different")],
    )
    .await
}

#[tokio::test]
async fn rows_missing_at_the_ends_and_between_are_found() -> Result<()> {
    planted(
        "CREATE TABLE kept AS SELECT * FROM RETIRED WHERE id IN (15001, 20000);
         DELETE FROM RETIRED WHERE id IN (15001, 20000)",
        "INSERT INTO RETIRED SELECT * FROM kept",
        &[("15001", "missing"), ("20000", "missing")],
    )
    .await
}

#[tokio::test]
async fn what_differs_is_repaired_from_the_new_table() -> Result<()> {
    planted(
        "UPDATE RETIRED SET price = price + 1 WHERE id = 15001;
         DELETE FROM RETIRED WHERE id = 20000;
         INSERT INTO RETIRED VALUES (-7, 'x', 1)",
        "",
        &[("-7", "extra"), ("15001", "different"), ("20000", "missing")],
    )
    .await
}

#[tokio::test]
async fn rows_beyond_the_ends_are_found() -> Result<()> {
    planted(
        "INSERT INTO RETIRED VALUES (-7, 'x', 1), (2000000000, 'x', 1)",
        "DELETE FROM RETIRED WHERE id IN (-7, 2000000000)",
        &[("-7", "extra"), ("2000000000", "extra")],
    )
    .await
}
