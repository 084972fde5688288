//! `kill -9` after the swap: the retired table goes on where it was, and the rollback is finished or not begun.

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::gate::Gate;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{ROWS, WRITERS, follows_back, is_back_in_place};

fn run(stage: &Stage) -> Result<Process> {
    stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])
}

/// Rolls back in a process of its own, and compares.
async fn rolls_back(stage: &Stage, orders: Orders<'_>) -> Result<()> {
    stage.operate("rollback", &[]).await?.expect(0)?;
    is_back_in_place(stage).await?;
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// Kills the engine where it is about to write that line or phase down, lets the application go on, rolls back.
async fn killed_before(what: &str) -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let gate = Gate::close_at(&stage, what).await?;
    let engine = run(&stage)?;
    gate.reached().await?;
    engine.kill_9().await?;
    gate.open().await?;
    orders.goes_on(200).await?;
    rolls_back(&stage, orders)
        .await
        .with_context(|| format!("killed before `{what}`"))
}

#[tokio::test]
async fn killed_before_the_reverse_stream_has_begun() -> Result<()> {
    killed_before("the way back begins").await
}

#[tokio::test]
async fn killed_before_the_swap_was_confirmed() -> Result<()> {
    killed_before("confirmed the swap").await
}

/// The engine dies within the transaction that swaps back: the next one goes back.
#[tokio::test]
async fn killed_within_the_rollback() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let gate = Gate::close(&stage, Phase::RolledBack).await?;
    let mut engine = run(&stage)?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    gate.reached().await?;
    engine.kill_9().await?;
    gate.open().await?;
    orders.goes_on(20).await?;
    rolls_back(&stage, orders).await
}

/// Its slot is gone: no rollback is promised any more, also while no engine works.
#[tokio::test]
async fn a_way_back_without_its_slot_is_told_to_be_lost() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let mut engine = run(&stage)?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    engine.kill_9().await?;
    let slot = stage.name().back_slot();
    let superuser = stage.superuser().await?;
    until::so("the slot is let go", || async {
        let free = "SELECT active FROM pg_replication_slots WHERE slot_name = $1";
        Ok(!superuser.query_one(free, &[&slot]).await?.get::<_, bool>(0))
    })
    .await?;
    let drop = "SELECT pg_drop_replication_slot($1::text)";
    superuser.execute(drop, &[&slot]).await?;
    let status = stage.status().await?;
    let way_back = &status["way_back"];
    ensure!(way_back["ready"] == false, "{status}");
    let lost = way_back["lost"].as_str().unwrap_or_default();
    ensure!(lost.contains(&slot), "{status}");
    stage.operate("continue", &[]).await?.expect(30)?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// So many moments.
const MOMENTS: u32 = 8;

#[tokio::test]
async fn killed_at_random_moments_while_the_old_table_follows() -> Result<()> {
    let seed = 1;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, random.random()).await?;
    let mut engine = run(&stage)?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    for moment in 0..MOMENTS {
        let changes = random.random_range(1..200);
        orders.goes_on(changes).await?;
        engine.kill_9().await?;
        println!("seed {seed}, moment {moment}: killed after {changes} changes");
        engine = stage.crossfade(&["continue", stage.name().as_str()])?;
    }
    follows_back(&stage, &mut engine).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    is_back_in_place(&stage).await?;
    orders.stop_and_compare().await?;
    Ok(())
}
