//! The simulator's world against PostgreSQL: the same random history runs in both, and both see the same. Otherwise
//! the world is no model of PostgreSQL, and what the simulator proves of the engine says nothing.
//!
//! Compared are the rows in the end, what every snapshot taken on the way sees (which transactions, and which rows,
//! read under it later), and what the slot delivers, in which order, through the engine's own reader.

mod player;
mod text;

use anyhow::{Context as _, Result, ensure};
use crossfade_lab::server::ServerOptions;
use crossfade_sim::script;
use crossfade_tests::stage::Stage;

use self::player::Player;

const HISTORIES: u32 = 20;
/// Repeats one history.
const SEED: &str = "DIFFERENTIAL_SEED";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_histories_run_in_the_simulators_world_and_in_postgresql() -> Result<()> {
    let seeds: Vec<u64> = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().with_context(|| format!("read {SEED}"))?],
        Err(_) => (0..HISTORIES).map(|_| rand::random()).collect(),
    };
    // No commit of a writer is visible before the test says so: it waits for a standby that is not there.
    let options = ServerOptions::default()
        .setting("synchronous_standby_names", "nobody")
        .setting("synchronous_commit", "local")
        .setting("autovacuum", "off");
    let stage = Stage::own(options).await?;
    for (number, seed) in seeds.into_iter().enumerate() {
        println!("seed {seed}");
        run(&stage, number, seed)
            .await
            .with_context(|| format!("repeat it with {SEED}={seed}"))?;
    }
    Ok(())
}

async fn run(stage: &Stage, number: usize, seed: u64) -> Result<()> {
    let script = script(seed);
    let mut player = Player::start(stage, number, &script).await?;
    for (place, step) in script.steps.iter().enumerate() {
        let played = player.play(step).await;
        played.with_context(|| format!("step {place} of {}: {step:?}", script.steps.len()))?;
    }
    player.compare_snapshots()?;
    let rows = player.rows().await?;
    ensure!(
        rows == script.rows,
        "rows in the end: {rows:?}, and in the world {:?}",
        script.rows
    );
    player.compare_delivered().await?;
    player.end().await
}
