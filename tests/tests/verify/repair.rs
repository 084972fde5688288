//! A repair: asked for, from the running engine or a new one; rows that differ become what the source has, while it is
//! written to, and every row is compared afterwards.

use anyhow::{Result, ensure};
use crossfade_tests::stage::Stage;
use tokio::sync::watch;

use super::{following, of};

/// Every kind of difference, on both sides of the first slice's end and beyond the source's type.
const PLANT: &str = "
UPDATE SHADOW SET note = 'planted' WHERE id IN (7, 20009);
UPDATE SHADOW AS a SET name = b.name FROM SHADOW AS b WHERE a.id + b.id = 29001 AND a.id IN (14500, 14501);
DELETE FROM SHADOW WHERE id IN (1, 15000, 30000);
INSERT INTO SHADOW (id, name) VALUES (-7, 'x'), (99999999999, 'x');";
const PLANTED: u64 = 9;

async fn plant(stage: &Stage, statements: &str) -> Result<()> {
    let shadow = format!("{}.items", stage.name().schema());
    let superuser = stage.superuser().await?;
    Ok(superuser
        .batch_execute(&statements.replace("SHADOW", &shadow))
        .await?)
}

/// Rows of the new table that are not as the former one has them, either way; both are at rest.
async fn differing(stage: &Stage, before: &str) -> Result<i64> {
    let select = format!(
        "SELECT count(*) FROM ((TABLE items EXCEPT ALL TABLE {before}) UNION ALL (TABLE {before} EXCEPT ALL TABLE items)) AS d"
    );
    Ok(stage.superuser().await?.query_one(&select, &[]).await?.get(0))
}

#[tokio::test]
async fn rows_that_differ_are_repaired_while_writers_write() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    // Before the writer begins: the engine applies what it writes to the same rows.
    plant(&stage, PLANT).await?;
    let (stop, stopped) = watch::channel(false);
    let client = stage.client().await?;
    let writer = tokio::spawn(async move {
        let mut round = 0;
        while !*stopped.borrow() {
            // Each row that is planted on is also written to, as ever.
            let id = [7, 14_500, 15_000, 20_009, 30_000][round % 5];
            client
                .batch_execute(&format!(
                    "UPDATE items SET price = price + 1 WHERE id = {id}; DELETE FROM items WHERE id = 1; \
                     INSERT INTO items VALUES (1, 'again', {round}, now(), NULL)"
                ))
                .await?;
            round += 1;
        }
        anyhow::Ok(round)
    });
    let told = stage.operate("verify", &["--repair"]).await?.expect(0)?;
    ensure!(
        of(&told, "equal")? == true && of(&told, "whole")? == true,
        "{}",
        told.object
    );
    // What the writer wrote anew meanwhile needed no repair.
    let repaired = of(&told, "repaired")?.as_u64();
    ensure!((2..=PLANTED).contains(&repaired.unwrap_or(0)), "{}", told.object);
    stop.send_replace(true);
    ensure!(writer.await?? > 0, "it wrote nothing");
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    let retired = format!("{}.items", stage.name().retired_schema());
    ensure!(
        differing(&stage, &retired).await? == 0,
        "rows differ after the swap"
    );
    Ok(())
}

#[tokio::test]
async fn an_engine_that_ended_at_a_difference_is_started_again_and_repairs() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    plant(&stage, PLANT).await?;
    stage.operate("verify", &[]).await?.expect(21)?;
    engine.end().await?.expect(21)?;
    // Not without being told.
    let again = stage.operate("continue", &["--cutover", "auto"]).await?;
    again.expect(21)?;
    let name = stage.name().as_str();
    let repaired = stage
        .ended(&["continue", name, "--cutover", "auto", "--verify", "repair"])
        .await?
        .expect(0)?;
    let verification = &repaired.object["report"]["verification"];
    ensure!(
        verification["repaired"] == PLANTED && verification["equal"] == true,
        "{}",
        repaired.object
    );
    let retired = format!("{}.items", stage.name().retired_schema());
    ensure!(
        differing(&stage, &retired).await? == 0,
        "rows differ after the swap"
    );
    Ok(())
}

/// More rows than can be named are another matter: nothing is written.
#[tokio::test]
async fn too_many_differences_are_not_repaired() -> Result<()> {
    let stage = Stage::shared().await?;
    let engine = following(&stage).await?;
    plant(&stage, "DELETE FROM SHADOW WHERE id BETWEEN 5000 AND 5200").await?;
    let told = stage.operate("verify", &["--repair"]).await?.expect(21)?;
    ensure!(
        of(&told, "repaired")? == 0 && of(&told, "more")? == true,
        "{}",
        told.object
    );
    engine.end().await?.expect(21)?;
    let shadow = format!("{}.items", stage.name().schema());
    let rows = format!("SELECT count(*) FROM {shadow}");
    let rows: i64 = stage.superuser().await?.query_one(&rows, &[]).await?.get(0);
    ensure!(rows == 30_000 - 201, "{rows} rows");
    Ok(())
}
