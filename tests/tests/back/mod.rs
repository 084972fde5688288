//! The way back: the retired table follows the new one, and takes its place again with every write.

mod closed;
mod crash;
mod detector;
mod rollback;
mod verify;

use anyhow::{Result, ensure};
use crossfade_tests::app::TABLE;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

const ROWS: i64 = 2_000;
const WRITERS: u32 = 2;

/// Waits until the retired table follows, and the lag is small.
async fn follows_back(stage: &Stage, engine: &mut Process) -> Result<()> {
    let ready = until::so("the retired table follows".to_owned(), || async {
        let status = stage.status().await?;
        Ok(status["way_back"]["ready"] == true && status["way_back"]["lag_bytes"].as_u64() < Some(1 << 20))
    });
    tokio::select! {
        ready = ready => ready,
        said = engine.ended_early() => anyhow::bail!("before the retired table followed it ended: {}", said?),
    }
}

async fn is_back_in_place(stage: &Stage) -> Result<()> {
    let now = stage.column_type(TABLE, "id").await?;
    ensure!(now == "integer", "the old table is in its place: id is {now}");
    Ok(())
}
