//! A few runs of the soak, with seeds that nobody has seen before: `cargo soak` does many.

use std::time::Duration;

use anyhow::{Context as _, Result};
use crossfade_tests::soak::{self, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_fresh_seeds() -> Result<()> {
    for run in 0..5 {
        let options = Options {
            rows: 3_000,
            writers: 1,
            faults_max: 3,
            pause_max: Duration::from_millis(500),
            // There, and there and back.
            roll_back: run % 2 == 1,
            more: Vec::new(),
        };
        let seed: u64 = rand::random();
        let more = if options.roll_back { " --rollback" } else { "" };
        let figures = soak::run(&options, seed)
            .await
            .with_context(|| format!("go on after faults: cargo soak -- --runs 1 --seed {seed}{more}"))?;
        println!("seed {seed}: {figures}");
    }
    Ok(())
}
