//! The engine dies, hangs, is interrupted, or never hears the answer: the application goes on, the source is untouched,
//! and the migration can be given up without a trace or brought to its end without a difference.

mod answer;
mod failover;
mod interrupt;
mod kill;
mod position;
mod stopped;

use anyhow::{Result, ensure};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;

/// Enough rows for every phase to take a moment, few enough for fifty runs.
const ROWS: i64 = 2_000;
const WRITERS: u32 = 1;

/// Starts a run that swaps as soon as it is ready.
fn run(stage: &Stage) -> Result<Process> {
    stage.run(TABLE, RETYPE, &["--cutover", "auto"])
}

/// Gives up; nothing but the audit trail is left, and the source is what the application knows.
async fn gives_up(stage: &Stage, orders: Orders<'_>) -> Result<()> {
    stage.operate("abort", &[]).await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "abort left {traces:?}");
    ensure!(stage.audit_lines().await? > 0, "the audit trail stays");
    ensure!(
        stage.column_type(TABLE, "id").await? == "integer",
        "the source is untouched"
    );
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// Goes on to the end; the new table is what the application knows.
async fn goes_on_to_the_end(stage: &Stage, orders: Orders<'_>) -> Result<()> {
    stage
        .operate("continue", &["--cutover", "auto"])
        .await?
        .expect(0)?;
    ensure!(
        stage.column_type(TABLE, "id").await? == "bigint",
        "the new table is in place"
    );
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}
