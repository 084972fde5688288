//! Each example, in both ways to copy.

use std::time::Duration;

use anyhow::Result;
use crossfade_tests::process::Process;
use crossfade_tests::split::examples::{MONTHLY, ORDER_TAGS, TENANT_PARTITIONS, TENANTS, USER_SETTINGS};
use crossfade_tests::split::{Example, Split};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

async fn split(example: &'static Example, copy: &str) -> Result<(Split, Process)> {
    let split = Split::start(example, 1).await?;
    let engine = split.run(&["--copy", copy])?;
    split.swap(engine).await
}

async fn there(example: &'static Example, copy: &str) -> Result<()> {
    let (new, mut engine) = split(example, copy).await?;
    new.follows_back(&mut engine).await?;
    engine.kill_9().await?;
    Ok(())
}

async fn there_and_back(example: &'static Example, copy: &str) -> Result<()> {
    let (new, mut engine) = split(example, copy).await?;
    new.goes_on(100).await?;
    new.follows_back(&mut engine).await?;
    new.stage.operate("verify", &[]).await?.expect(0)?;
    new.roll_back(engine).await?;
    Ok(())
}

#[tokio::test]
async fn user_settings_under_one_snapshot() -> Result<()> {
    there(&USER_SETTINGS, "snapshot").await
}

#[tokio::test]
async fn user_settings_in_chunks() -> Result<()> {
    there_and_back(&USER_SETTINGS, "incremental").await
}

#[tokio::test]
async fn order_tags_under_one_snapshot() -> Result<()> {
    there(&ORDER_TAGS, "snapshot").await
}

#[tokio::test]
async fn order_tags_in_chunks() -> Result<()> {
    there_and_back(&ORDER_TAGS, "incremental").await
}

#[tokio::test]
async fn tenants_under_one_snapshot() -> Result<()> {
    there(&TENANTS, "snapshot").await
}

#[tokio::test]
async fn tenants_in_chunks() -> Result<()> {
    there_and_back(&TENANTS, "incremental").await
}

/// Killed at random moments until it is ready, and again while the old table follows; gone on with each time.
async fn killed(example: &'static Example, copy: &str, seed: u64) -> Result<()> {
    let split = Split::start(example, seed).await?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut engine = split.run(&["--copy", copy])?;
    for _ in 0..5 {
        let moment = Duration::from_millis(random.random_range(50..1500));
        tokio::time::sleep(moment).await;
        engine.kill_9().await?;
        split.goes_on(5).await?;
        engine = split.run(&["--copy", copy])?;
    }
    let (new, mut engine) = split.swap(engine).await?;
    for _ in 0..3 {
        let moment = Duration::from_millis(random.random_range(50..1500));
        tokio::time::sleep(moment).await;
        engine.kill_9().await?;
        new.goes_on(20).await?;
        engine = new.run(&["--copy", copy])?;
    }
    new.follows_back(&mut engine).await?;
    new.roll_back(engine).await?;
    Ok(())
}

#[tokio::test]
async fn user_settings_killed_again_and_again() -> Result<()> {
    killed(&USER_SETTINGS, "incremental", 5).await
}

#[tokio::test]
async fn order_tags_killed_again_and_again() -> Result<()> {
    killed(&ORDER_TAGS, "snapshot", 6).await
}

#[tokio::test]
async fn tenants_killed_again_and_again() -> Result<()> {
    killed(&TENANTS, "incremental", 7).await
}

#[tokio::test]
async fn monthly_partitions_under_one_snapshot() -> Result<()> {
    there(&MONTHLY, "snapshot").await
}

#[tokio::test]
async fn monthly_partitions_in_chunks() -> Result<()> {
    there_and_back(&MONTHLY, "incremental").await
}

#[tokio::test]
async fn monthly_partitions_killed_again_and_again() -> Result<()> {
    killed(&MONTHLY, "snapshot", 8).await
}

#[tokio::test]
async fn tenant_partitions_under_one_snapshot() -> Result<()> {
    there(&TENANT_PARTITIONS, "snapshot").await
}

#[tokio::test]
async fn tenant_partitions_killed_again_and_again() -> Result<()> {
    killed(&TENANT_PARTITIONS, "incremental", 10).await
}

/// As the example, but for how rows find their partitions.
#[tokio::test]
async fn partitions_by_hash_there_and_back() -> Result<()> {
    let mut split = Split::start(&TENANT_PARTITIONS, 11).await?;
    let by_hash = |text: &str| {
        text.replace("LIST (tenant)", "HASH (tenant)")
            .replace("IN (1)", "WITH (MODULUS 2, REMAINDER 0)")
            .replace("IN (2)", "WITH (MODULUS 4, REMAINDER 1)")
            .replace("DEFAULT", "WITH (MODULUS 4, REMAINDER 3)")
    };
    split.edit(by_hash)?;
    let engine = split.run(&["--copy", "incremental"])?;
    let (new, mut engine) = split.swap(engine).await?;
    new.goes_on(100).await?;
    new.follows_back(&mut engine).await?;
    new.roll_back(engine).await?;
    Ok(())
}
