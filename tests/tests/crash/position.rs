//! Rows and their position commit together (R18): while the position cannot be written, the rows are not there.
//!
//! Whoever holds the position's row keeps the applier right before its commit.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use tokio_postgres::Client;

/// The applier may be met while it moves its position over nothing: more than one attempt meets it with a row.
const ATTEMPTS: i32 = 10;

async fn waits_to_move_its_position(superuser: &Client, stage: &Stage) -> Result<bool> {
    let waiting = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1
         AND wait_event_type = 'Lock' AND query LIKE '%UPDATE crossfade.position%')";
    let name = stage.name().application_name();
    Ok(superuser.query_one(waiting, &[&name]).await?.get(0))
}

/// Whether the new table has the row.
async fn has(superuser: &Client, stage: &Stage, id: i32) -> Result<bool> {
    let select = format!(
        "SELECT EXISTS (SELECT FROM {}.t WHERE id = {id})",
        stage.name().schema()
    );
    Ok(superuser.query_one(&select, &[]).await?.get(0))
}

#[tokio::test]
async fn rows_are_not_there_before_their_position_is() -> Result<()> {
    let stage = Stage::shared().await?;
    let (client, superuser, holder) = (
        stage.client().await?,
        stage.superuser().await?,
        stage.superuser().await?,
    );
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)",
        )
        .await?;
    let mut engine = stage.run("t", "ALTER COLUMN id TYPE bigint", &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    for id in 1_000..1_000 + ATTEMPTS {
        holder
            .batch_execute("BEGIN; SELECT FROM crossfade.position FOR UPDATE")
            .await?;
        client.execute("INSERT INTO t VALUES ($1)", &[&id]).await?;
        until::so("the applier waits for the position's row", || {
            waits_to_move_its_position(&superuser, &stage)
        })
        .await?;
        ensure!(
            !has(&superuser, &stage, id).await?,
            "row {id} is there, and its position is not"
        );
        if id == 1_000 + ATTEMPTS - 1 {
            break;
        }
        holder.batch_execute("ROLLBACK").await?;
        until::so(format!("row {id} is applied"), || has(&superuser, &stage, id)).await?;
    }
    engine.kill_9().await?;
    holder.batch_execute("ROLLBACK").await?;
    stage
        .operate("continue", &["--cutover", "auto"])
        .await?
        .expect(0)?;
    let rows: i64 = client.query_one("SELECT count(*) FROM t", &[]).await?.get(0);
    ensure!(rows == 100 + i64::from(ATTEMPTS), "{rows} rows");
    Ok(())
}
