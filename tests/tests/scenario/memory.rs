//! The scenarios of `cargo scenario -- memory`, small.

use anyhow::Result;
use crossfade_tests::scenario;
use crossfade_tests::stage::Stage;

#[tokio::test]
async fn copying_takes_no_memory_to_speak_of() -> Result<()> {
    let peak = scenario::memory::copying(&Stage::shared().await?, 1_000_000).await?;
    println!("1 M rows copied: at most {} MB resident", peak >> 20);
    Ok(())
}

#[tokio::test]
async fn a_large_transaction_is_never_held_whole() -> Result<()> {
    let peak = scenario::memory::applying(&Stage::shared().await?, 300_000).await?;
    println!("300,000 changes applied: at most {} MB resident", peak >> 20);
    Ok(())
}
