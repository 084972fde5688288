//! Slots and sessions are the cluster's: a migration of the same name in another database is somebody else's.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::RETYPE;
use crossfade_tests::stage::Stage;

const FILL: &str = "CREATE TABLE items (id integer PRIMARY KEY, n integer); INSERT INTO items SELECT i, i FROM generate_series(1, 500) i;";

#[tokio::test]
async fn what_has_the_same_name_in_another_database_is_left_alone() -> Result<()> {
    let here = Stage::shared().await?;
    here.client().await?.batch_execute(FILL).await?;
    let swapped = here.run("items", RETYPE, &["--cutover", "auto"])?;
    swapped.end().await?.expect(0)?;

    let there = here.namesake().await?;
    there.client().await?.batch_execute(FILL).await?;
    let mut engine = there.run("items", RETYPE, &[])?;
    there.reached_by(&mut engine, Phase::Ready).await?;
    here.operate("complete", &["--drop"]).await?.expect(0)?;
    there.operate("verify", &[]).await?.expect(0)?;
    ensure!(engine.is_running()?, "it was ended from the other database");
    // And what is followed is not in the other's way.
    there.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ensure!(there.column_type("items", "id").await? == "bigint");
    Ok(())
}

#[tokio::test]
async fn the_slot_of_another_database_is_named_and_not_taken() -> Result<()> {
    let here = Stage::shared().await?;
    here.client().await?.batch_execute(FILL).await?;
    let mut engine = here.run("items", RETYPE, &[])?;
    here.reached_by(&mut engine, Phase::Ready).await?;
    let there = here.namesake().await?;
    there.client().await?.batch_execute(FILL).await?;
    let refused = there.run("items", RETYPE, &[])?.end().await?;
    ensure!(refused.code == Some(10), "{}", refused.object);
    ensure!(refused.says("crossfade_change_"), "{}", refused.object);
    here.operate("verify", &[]).await?.expect(0)?;
    ensure!(engine.is_running()?, "it was ended from the other database");
    Ok(())
}
