//! One run: start, faults at random moments, go on until it is done, compare.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_core::phase::Phase;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::fault::Fault;
use super::ground::Ground;
use crate::app::{TABLE, compare_all};

/// What all runs have in common.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows of `orders` at the start.
    pub rows: i64,
    /// Writers.
    pub writers: u32,
    /// The most faults of a run; there is one at least.
    pub faults_max: u32,
    /// The longest time from a phase, chosen anew for each fault, to the fault.
    pub pause_max: Duration,
    /// Once the change is in place, write to it, and roll it back.
    pub roll_back: bool,
    /// Further arguments of `crossfade run`.
    pub more: Vec<String>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Which faults, and the phase in which each came.
    pub faults: Vec<String>,
    /// How often the engine was started.
    pub starts: u32,
    /// Rows compared.
    pub rows: u64,
    /// Row changes that the writers know to be committed.
    pub changes: u64,
    /// Transactions of the writers that the server's crashes took along: certainly, and perhaps, not committed.
    pub lost: (u64, u64),
    /// From the first start to the end.
    pub took: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}; {} starts; {} rows equal after {} changes, {} transactions lost and {} in doubt by crashes; {:.1} s",
            self.faults.join(", "),
            self.starts,
            self.rows,
            self.changes,
            self.lost.0,
            self.lost.1,
            self.took.as_secs_f64()
        )
    }
}

/// How long an undisturbed engine may take to come to its end after the last fault.
const QUIET_MAX: Duration = Duration::from_secs(300);
/// A fault waits until one of these is reached, or for nothing.
const MOMENTS: [Phase; 8] = [
    Phase::Planned,
    Phase::Prepared,
    Phase::Copying,
    Phase::Copied,
    Phase::Following,
    Phase::Ready,
    // Only these are there to be rolled back.
    Phase::Swapped,
    Phase::Swapped,
];
const LOOK: Duration = Duration::from_millis(5);
/// Changes that must come after the swap.
const CHANGES_AFTER: u64 = 50;

/// Runs once.
///
/// # Errors
/// A row differs, a transaction of the application failed, or the engine ended with what no operator can go on from.
pub async fn run(options: &Options, seed: u64) -> Result<Figures> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut ground = Ground::open(options, seed).await?;
    let began = Instant::now();
    let mut faults = Vec::new();
    let mut done = false;
    for _ in 0..random.random_range(1..=options.faults_max) {
        let phases: &[Phase] = if options.roll_back {
            &MOMENTS
        } else {
            &MOMENTS[..6]
        };
        let phase = *phases.choose(&mut random).unwrap_or(&Phase::Planned);
        let pause = options.pause_max.mul_f64(random.random());
        done =
            go_on_to(&mut ground, phase).await? || go_on_until(&mut ground, Instant::now() + pause).await?;
        if done {
            break;
        }
        let fault = Fault::choose(&mut random);
        let phase = ground.phase().await?.map_or("nothing", |phase| phase.as_str());
        faults.push(format!("{fault} at {phase}"));
        let befallen = ground.befall(fault, &mut random).await;
        befallen.with_context(|| format!("after {}", faults.join(", ")))?;
    }
    let what = format!("after {}", faults.join(", "));
    while !done {
        done = go_on_until(&mut ground, Instant::now() + QUIET_MAX)
            .await
            .with_context(|| what.clone())?;
        if !done {
            let status = ground.stage.status().await?;
            bail!("{what}: it does not come to its end in {QUIET_MAX:?}: {status}");
        }
    }
    let figures = conclude(ground, options, faults, began).await;
    figures.with_context(|| what)
}

/// Keeps an engine running until it has come so far; whether the migration is done.
async fn go_on_to(ground: &mut Ground, phase: Phase) -> Result<bool> {
    let deadline = Instant::now() + QUIET_MAX;
    while ground.phase().await? < Some(phase) {
        ensure!(Instant::now() < deadline, "it does not become {}", phase.as_str());
        if go_on_until(ground, Instant::now() + LOOK).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Keeps an engine running until the moment; whether the migration is done.
async fn go_on_until(ground: &mut Ground, moment: Instant) -> Result<bool> {
    loop {
        if !ground.is_running()? {
            if ground.ended().await? {
                return Ok(true);
            }
            ground.start().await?;
        }
        ground.ask_back().await?;
        if Instant::now() >= moment {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn conclude(ground: Ground, options: &Options, faults: Vec<String>, began: Instant) -> Result<Figures> {
    let took = began.elapsed();
    let goal = ground.writers.changes() + CHANGES_AFTER;
    crate::until::so("changes after the swap", async || {
        Ok(ground.writers.changes() >= goal)
    })
    .await?;
    let written = ground.writers.stop().await?;
    let statistics = written.statistics.clone();
    let expected = if options.roll_back { "integer" } else { "bigint" };
    let found = ground.stage.column_type(TABLE, "id").await?;
    ensure!(found == expected, "another table is in place: its key is {found}");
    let compared = compare_all(&ground.stage, written, &[], |row| row).await?;
    Ok(Figures {
        faults,
        starts: ground.starts,
        rows: compared.rows,
        changes: statistics.committed_changes,
        lost: (statistics.lost_transactions, statistics.in_doubt_transactions),
        took,
    })
}
