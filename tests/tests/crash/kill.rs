//! `kill -9`: at each durable transition before the swap, within the swap, and at random moments.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, TABLE};
use crossfade_tests::gate::Gate;
use crossfade_tests::stage::Stage;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{ROWS, WRITERS, gives_up, goes_on_to_the_end, run};

/// What is done after the crash.
#[derive(Clone, Copy, Debug)]
enum Then {
    Abort,
    Continue,
}

/// Kills the engine where it is about to write `phase` down.
async fn killed_before(phase: Phase, then: Then) -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let gate = Gate::close(&stage, phase).await?;
    let engine = run(&stage)?;
    gate.reached().await?;
    engine.kill_9().await?;
    gate.open().await?;
    ensure!(
        stage.column_type(TABLE, "id").await? == "integer",
        "the source is untouched"
    );
    orders.goes_on(20).await?;
    match then {
        Then::Abort => gives_up(&stage, orders).await,
        Then::Continue => goes_on_to_the_end(&stage, orders).await,
    }
    .with_context(|| format!("killed before `{}`, then {then:?}", phase.as_str()))
}

/// Both ways on from a crash at a transition.
macro_rules! transitions {
    ($($phase:ident: $aborted:ident, $continued:ident;)*) => {$(
        #[tokio::test]
        async fn $aborted() -> Result<()> {
            killed_before(Phase::$phase, Then::Abort).await
        }

        #[tokio::test]
        async fn $continued() -> Result<()> {
            killed_before(Phase::$phase, Then::Continue).await
        }
    )*};
}

transitions! {
    Prepared: killed_before_prepared_then_aborted, killed_before_prepared_then_continued;
    Copying: killed_before_copying_then_aborted, killed_before_copying_then_continued;
    Copied: killed_before_copied_then_aborted, killed_before_copied_then_continued;
    Following: killed_before_following_then_aborted, killed_before_following_then_continued;
    Ready: killed_before_ready_then_aborted, killed_before_ready_then_continued;
    Swapped: killed_within_the_swap_then_aborted, killed_within_the_swap_then_continued;
}

/// The ledger row, the position and the phase of a copy under one snapshot are written down together, or not at all: the
/// line of the audit trail is the last of that transaction.
#[tokio::test]
async fn killed_before_the_copy_is_told_nothing_of_it_is_written_down() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, n integer);
             INSERT INTO t SELECT i, i FROM generate_series(1, 1000) AS i",
        )
        .await?;
    let gate = Gate::close_at(&stage, "copied 1000 rows").await?;
    let engine = stage.run("t", "ALTER COLUMN n TYPE bigint", &["--copy", "snapshot"])?;
    gate.reached().await?;
    engine.kill_9().await?;
    let superuser = stage.superuser().await?;
    let ledger = "SELECT count(*) FROM crossfade.chunk WHERE migration = $1";
    let chunks: i64 = superuser
        .query_one(ledger, &[&stage.name().as_str()])
        .await?
        .get(0);
    let phase = stage.phase(&superuser).await?;
    ensure!(
        chunks == 0 && phase == Some(Phase::Copying),
        "{chunks} chunks are written down, and it is {phase:?}"
    );
    gate.open().await?;
    let more = ["--cutover", "auto"];
    stage.operate("continue", &more).await?.expect(0)?;
    ensure!(stage.column_type("t", "n").await? == "bigint", "it is swapped");
    let sum: i64 = client
        .query_one("SELECT sum(n)::bigint FROM t", &[])
        .await?
        .get(0);
    ensure!(sum == 500_500, "the sum is {sum}");
    Ok(())
}

/// The kill comes as soon as the swap is seen: somewhere in what comes after it.
#[tokio::test]
async fn killed_after_the_swap_the_rest_is_finished() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let mut engine = run(&stage)?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    engine.kill_9().await?;
    orders.goes_on(20).await?;
    stage.operate("abort", &[]).await?.expect(30)?;
    goes_on_to_the_end(&stage, orders).await
}

/// So many moments a test; two tests run side by side.
const MOMENTS: u32 = 15;

/// Kills the engine at random moments of a run that takes `longest` undisturbed.
async fn killed_at_random_moments(seed: u64) -> Result<()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut longest = Duration::from_secs(2);
    for moment in 0..MOMENTS {
        let stage = Stage::shared().await?;
        let orders = Orders::start(&stage, ROWS, WRITERS, random.random()).await?;
        let mut engine = run(&stage)?;
        stage.reached(Phase::Planned).await?;
        let began = tokio::time::Instant::now();
        let after = longest.mul_f64(random.random());
        // Not a wait for something: the moment is what the test is about.
        tokio::time::sleep(after).await;
        if !engine.is_running()? {
            longest = began.elapsed();
        }
        engine.kill_9().await?;
        let phase = stage.phase(&stage.superuser().await?).await?;
        let what = format!("seed {seed}, moment {moment}: killed after {after:?}, phase {phase:?}");
        println!("{what}");
        orders.goes_on(20).await.context(what.clone())?;
        let ended = match phase {
            Some(Phase::Swapped | Phase::Completed) => goes_on_to_the_end(&stage, orders).await,
            _before_the_swap if moment % 2 == 0 => gives_up(&stage, orders).await,
            _before_the_swap => goes_on_to_the_end(&stage, orders).await,
        };
        ended.context(what)?;
    }
    Ok(())
}

#[tokio::test]
async fn killed_at_random_moments_of_one_seed() -> Result<()> {
    killed_at_random_moments(1).await
}

#[tokio::test]
async fn killed_at_random_moments_of_another_seed() -> Result<()> {
    killed_at_random_moments(2).await
}
