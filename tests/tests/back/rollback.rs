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

/// A rolled-back table can be cut over again, by the same command, and rolled back again.
#[tokio::test]
async fn a_rolled_back_table_is_cut_over_again() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    for _ in 0..2 {
        let mut engine = stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])?;
        stage.reached_by(&mut engine, Phase::Swapped).await?;
        follows_back(&stage, &mut engine).await?;
        orders.goes_on(100).await?;
        stage.operate("rollback", &[]).await?.expect(0)?;
        engine.end().await?.expect(0)?;
        is_back_in_place(&stage).await?;
    }
    // At first the operator keeps the new table.
    stage.operate("complete", &[]).await?.expect(0)?;
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "complete left {traces:?}");
    orders.stop_and_compare().await?;
    Ok(())
}

/// Its foreign key would otherwise say: "still referenced from" the retired table (R30).
#[tokio::test]
async fn a_parent_is_deleted_while_the_old_table_follows() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let client = stage.client().await?;
    let parent = "INSERT INTO customers VALUES (1000001, 'short-lived');
                  INSERT INTO orders (id, customer_id, amount) VALUES (9000001, 1000001, 1)";
    client.batch_execute(parent).await?;
    let mut engine = stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    client
        .batch_execute("DELETE FROM orders WHERE id = 9000001; DELETE FROM customers WHERE id = 1000001")
        .await?;
    follows_back(&stage, &mut engine).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    let valid = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated
                   AND conrelid IN ('orders'::regclass, 'order_items'::regclass)";
    let valid: i64 = client.query_one(valid, &[]).await?.get(0);
    ensure!(valid == 2, "{valid} foreign keys are there and valid");
    orders.stop_and_compare().await?;
    Ok(())
}
