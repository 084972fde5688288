//! One example from the copy to the rollback, killed at random moments in between.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::{Example, Split};
use crate::process::Process;
use crate::stage::Stage;

/// How it is run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Rows of the table at the start.
    pub rows: u64,
    /// Between two transactions of a writer.
    pub thinks: Duration,
    /// The engine is killed so often before the swap, and as often behind it.
    pub kills: u32,
    /// It is killed after at most so long.
    pub lives_max: Duration,
    /// Transactions in both shapes, behind the swap.
    pub behind: u64,
    /// Choices follow from it.
    pub seed: u64,
}

/// What one run saw.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Transactions on the old table.
    pub before: u64,
    /// On the new tables and through the view.
    pub behind: u64,
    /// From the start of the engine to the swap.
    pub there: Duration,
    /// From there to the rollback.
    pub back: Duration,
    /// How far the retired table was behind after the last kill.
    pub caught_up: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions before the swap, which came after {:.1} s, and {} in both shapes behind it; the old table \
             followed within {:.1} s and was rolled back to after {:.1} s; nothing lost, nothing invented",
            self.before,
            self.there.as_secs_f64(),
            self.behind,
            self.caught_up.as_secs_f64(),
            self.back.as_secs_f64(),
        )
    }
}

/// Writers of the old shape, a swap, writers of both shapes, and a rollback.
///
/// # Errors
/// Anything that is not as it must be.
pub async fn run(stage: Stage, example: &'static Example, options: &Options) -> Result<Figures> {
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut split = Split::on(stage, example, options.rows, options.thinks, options.seed).await?;
    split.ask_for_view()?;
    let copy = ["snapshot", "incremental"][random.random_range(0..2)];
    let began = Instant::now();
    let mut engine = killed(&split, copy, options, &mut random).await?;
    split.cut_over(&mut engine).await?;
    let (there, before) = (began.elapsed(), split.commits());
    split.compare_and_copy().await?;
    split.work_in_both_shapes().await?;
    let began = Instant::now();
    engine.kill_9().await?;
    split.goes_on(options.behind).await?;
    let mut engine = killed(&split, copy, options, &mut random).await?;
    let gone_on = Instant::now();
    split.follows_back(&mut engine).await?;
    let caught_up = gone_on.elapsed();
    split.verified_by(&mut engine).await?;
    split.roll_back_only(engine).await?;
    let back = began.elapsed();
    split.both_are_in_the_old_table().await?;
    Ok(Figures {
        before,
        behind: split.commits() - before,
        there,
        back,
        caught_up,
    })
}

/// Starts it, and starts it again as often as it is killed.
async fn killed(split: &Split, copy: &str, options: &Options, random: &mut ChaCha8Rng) -> Result<Process> {
    let copy = ["--copy", copy];
    let mut engine = split.run(&copy)?;
    for _ in 0..options.kills {
        tokio::time::sleep(options.lives_max.mul_f64(random.random_range(0.03..1.0))).await;
        engine.kill_9().await?;
        split.goes_on(5).await?;
        engine = split.run(&copy)?;
    }
    Ok(engine)
}
