//! `status`, `pause`, `continue` and `cutover` of an engine that runs elsewhere.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

#[tokio::test]
async fn an_engine_is_watched_paused_and_asked_to_swap_from_elsewhere() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;

    let status = stage.status().await?;
    ensure!(
        status["phase"] == "ready" && status["table"] == "public.orders",
        "{status}"
    );
    ensure!(status["engine"]["pid"] == engine.pid(), "{status}");
    ensure!(
        status["report"]["rows_copied"].as_u64() >= Some(2_000),
        "{status}"
    );

    stage.operate("pause", &[]).await?.expect(0)?;
    until::so("the pause is seen", || async {
        Ok(stage.status().await?["paused"] == true)
    })
    .await?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    // A pause holds the cutover back, and no changes.
    orders.goes_on(50).await?;
    until::so("changes are applied in a pause", || async {
        Ok(stage.status().await?["progress"]["changes_applied"].as_u64() > Some(50))
    })
    .await?;
    ensure!(
        stage.status().await?["phase"] == "ready",
        "{}",
        stage.status().await?
    );

    stage.operate("continue", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    ensure!(ended.object["outcome"] == "done", "{}", ended.object);
    let status = stage.status().await?;
    ensure!(
        status["phase"] == "swapped" && status["engine"].is_null(),
        "{status}"
    );
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn a_manual_cutover_waits_until_it_is_asked_for() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached(Phase::Ready).await?;
    orders.goes_on(100).await?;
    ensure!(engine.is_running()? && stage.column_type(TABLE, "id").await? == "integer");
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn a_request_that_nobody_can_take_says_how_to_start_an_engine() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    engine.kill_9().await?;
    for verb in ["pause", "cutover"] {
        until::so("the server sees that the engine is gone", || async {
            Ok(stage.status().await?["engine"].is_null())
        })
        .await?;
        let ended = stage.operate(verb, &[]).await?.expect(20)?;
        ensure!(ended.says("crossfade continue"), "{}", ended.object);
    }
    let unknown = stage.ended(&["abort", "nobody_knows_it"]).await?;
    ensure!(
        unknown.code != Some(0) && unknown.says("nobody_knows_it"),
        "{}",
        unknown.object
    );
    // The pause is found by the next engine.
    let engine = stage.crossfade(&["continue", stage.name().as_str(), "--cutover", "auto"])?;
    engine.end().await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// After the swap the retired table is kept until it is dropped on request.
#[tokio::test]
async fn complete_drops_the_retired_table_on_request() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    stage.operate("complete", &[]).await?.expect(20)?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    stage.operate("complete", &[]).await?.expect(0)?;
    let retired = format!("schema {}", stage.name().retired_schema());
    let traces = stage.traces().await?;
    ensure!(traces == [retired.as_str()], "{traces:?}");
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "{traces:?}");
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    ensure!(stage.audit_lines().await? > 0, "the audit trail stays");
    Ok(())
}

#[tokio::test]
async fn abort_ends_a_running_engine_first() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, 2_000, 1, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    stage.operate("abort", &[]).await?.expect(0)?;
    // It loses its sessions, or finds that it may no longer write, whichever comes first.
    let ended = engine.end().await?;
    ensure!(
        matches!(ended.code, Some(10 | 20)) && ended.says("was aborted"),
        "{ended:?}"
    );
    stage.operate("continue", &[]).await?.expect(10)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "{traces:?}");
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    // The name is free again.
    stage
        .run(TABLE, RETYPE, &["--cutover", "auto"])?
        .end()
        .await?
        .expect(0)?;
    Ok(())
}
