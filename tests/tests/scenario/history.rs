//! A table without a key that is only inserted into: served (R2), and stopped without harm at the first UPDATE or
//! DELETE. Any other table without a key is refused.

use std::time::Duration;

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::pgbench::{Pgbench, Sums};
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

const TABLE: &str = "pgbench_history";
const RETYPE: &str = "ALTER COLUMN delta TYPE bigint";

/// pgbench's tables with some history, and pgbench at work for so long.
async fn busy(stage: &Stage, seconds: u64) -> Result<impl Future<Output = Result<()>>> {
    let pgbench = Pgbench::new(stage.server().installation(), &stage.application())?;
    pgbench.initialize(1).await?;
    pgbench.transactions(2, Duration::from_secs(1)).await?;
    let writing = tokio::spawn(async move { pgbench.transactions(2, Duration::from_secs(seconds)).await });
    Ok(async move {
        let report = writing.await??;
        ensure!(report.failed == 0 && report.complaints.is_empty(), "{report:?}");
        Ok(())
    })
}

async fn identity(stage: &Stage) -> Result<String> {
    let select = "SELECT relreplident::text FROM pg_class WHERE oid = 'public.pgbench_history'::regclass";
    Ok(stage.superuser().await?.query_one(select, &[]).await?.get(0))
}

#[tokio::test]
async fn a_history_is_retyped_while_it_is_inserted_into() -> Result<()> {
    let stage = Stage::shared().await?;
    let writing = busy(&stage, 6).await?;
    let ended = stage
        .run(TABLE, RETYPE, &["--cutover", "auto"])?
        .end()
        .await?
        .expect(0)?;
    ensure!(ended.reported("changes_applied")? > 0, "{}", ended.object);
    writing.await?;
    let sums = Sums::read(&stage.client().await?).await?;
    ensure!(sums.are_equal(), "{sums:?}");
    ensure!(stage.column_type(TABLE, "delta").await? == "bigint");
    ensure!(identity(&stage).await? == "d", "the identity is restored");
    Ok(())
}

/// `statement` ends the engine and not the application.
async fn stops_at(statement: &str) -> Result<()> {
    let stage = Stage::shared().await?;
    let writing = busy(&stage, 6).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    ensure!(identity(&stage).await? == "f", "published with every column");
    let client = stage.client().await?;
    ensure!(
        client.execute(statement, &[]).await? == 1,
        "the application goes on"
    );
    let ended = engine.end().await?.expect(30)?;
    ensure!(ended.says("key"), "the remedy is a key: {}", ended.object);
    // It is not served as it is: going on stops at the same change.
    stage.operate("continue", &[]).await?.expect(30)?;
    ensure!(
        client.execute(statement, &[]).await? == 1,
        "the application still goes on"
    );
    stage.operate("abort", &[]).await?.expect(0)?;
    ensure!(stage.traces().await?.is_empty(), "{:?}", stage.traces().await?);
    ensure!(identity(&stage).await? == "d", "the identity is restored");
    ensure!(
        stage.column_type(TABLE, "delta").await? == "integer",
        "the source is untouched"
    );
    writing.await
}

#[tokio::test]
async fn the_first_update_of_a_history_stops_the_engine() -> Result<()> {
    stops_at("UPDATE pgbench_history SET filler = 'x' WHERE ctid = (SELECT min(ctid) FROM pgbench_history)")
        .await
}

#[tokio::test]
async fn the_first_delete_from_a_history_stops_the_engine() -> Result<()> {
    stops_at("DELETE FROM pgbench_history WHERE ctid = (SELECT min(ctid) FROM pgbench_history)").await
}

#[tokio::test]
async fn another_table_without_a_key_is_refused_with_its_remedy() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute("CREATE TABLE keyless (a integer); INSERT INTO keyless VALUES (1), (2)")
        .await?;
    client.batch_execute("UPDATE keyless SET a = a + 1").await?;
    let superuser = stage.superuser().await?;
    // The refusal is about what has been done to the table, which the statistics tell, in their own time.
    until::so("the statistics know of the update", || async {
        let select = "SELECT coalesce(pg_stat_get_tuples_updated('keyless'::regclass), 0) > 0";
        Ok(superuser.query_one(select, &[]).await?.get(0))
    })
    .await?;
    let ended = stage
        .run("keyless", "ALTER COLUMN a TYPE bigint", &[])?
        .end()
        .await?
        .expect(10)?;
    ensure!(ended.says("PRIMARY KEY"), "{}", ended.object);
    ensure!(stage.traces().await?.is_empty());
    Ok(())
}
