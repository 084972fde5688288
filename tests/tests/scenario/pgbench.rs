//! The scenario of `cargo scenario -- pgbench`, once and small.

use anyhow::{Result, ensure};
use crossfade_lab::server::ServerOptions;
use crossfade_tests::scenario::memory::LIMIT;
use crossfade_tests::scenario::pgbench;
use crossfade_tests::stage::Stage;

/// Scale 5 is copied in some dozen chunks.
const SCALE: u32 = 5;

#[tokio::test]
async fn accounts_are_retyped_under_pgbench() -> Result<()> {
    let mut stage = Stage::shared().await?;
    let figures = pgbench::run(&mut stage, SCALE, &[]).await?;
    println!("scale {SCALE}: {figures}");
    Ok(())
}

/// On a server of its own: the slots of other tests would count.
#[tokio::test]
async fn an_incremental_copy_holds_no_snapshot_for_longer_than_a_chunk() -> Result<()> {
    let mut stage = Stage::own(ServerOptions::default()).await?;
    let one_at_a_time = ["--copy", "incremental", "--copiers", "1"];
    let figures = pgbench::run(&mut stage, SCALE, &one_at_a_time).await?;
    println!("scale {SCALE}: {figures}");
    ensure!(figures.held.looks > 0, "no snapshot was ever seen: {figures}");
    ensure!(figures.held.chunks <= 1, "one outlived its chunk: {figures}");
    ensure!(figures.memory < LIMIT, "{figures}");
    Ok(())
}
