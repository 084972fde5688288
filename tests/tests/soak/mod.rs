//! A few runs of the soak, with seeds that nobody has seen before: `cargo soak` does many.

use std::time::Duration;

use anyhow::{Context as _, Result};
use crossfade_tests::soak::{self, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_fresh_seeds() -> Result<()> {
    let options = Options {
        rows: 3_000,
        writers: 1,
        faults_max: 3,
        pause_max: Duration::from_millis(500),
        more: Vec::new(),
    };
    for _ in 0..5 {
        let seed = rand::random();
        let figures = soak::run(&options, seed)
            .await
            .with_context(|| format!("go on after faults: cargo soak -- --runs 1 --seed {seed}"))?;
        println!("seed {seed}: {figures}");
    }
    Ok(())
}
