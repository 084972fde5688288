//! Rollback under load: every write made since the swap is in the old table, and no transaction failed.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;

use super::{ROWS, WRITERS, follows_back, is_back_in_place};

#[tokio::test]
async fn every_write_made_since_the_swap_is_in_the_old_table() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let mut engine = stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    orders.goes_on(2_000).await?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    is_back_in_place(&stage).await?;
    orders.goes_on(100).await?;
    orders.stop_and_compare().await?;
    Ok(())
}
