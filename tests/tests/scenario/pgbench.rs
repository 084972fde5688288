//! The scenario of `cargo scenario -- pgbench`, once and small.

use anyhow::Result;
use crossfade_tests::scenario;
use crossfade_tests::stage::Stage;

#[tokio::test]
async fn accounts_are_retyped_under_pgbench() -> Result<()> {
    let stage = Stage::shared().await?;
    let figures = scenario::pgbench::run(&stage, 5).await?;
    println!("scale 5: {figures}");
    Ok(())
}
