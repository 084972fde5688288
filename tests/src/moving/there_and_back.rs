//! There, back, and there again, with faults in between: compared, and held against the application's ledger.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use crossfade_lab::estate::Application;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rustix::process::Signal;
use serde_json::Value;

use super::beside::{self, Beside, Known};
use super::{Moving, MovingOptions, STEP_MAX, more_commits};
use crate::process::Process;

/// What is done to it on the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The engine is killed so often.
    pub kills: u32,
    /// Each server is crashed so often.
    pub crashes: u32,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Transactions that were committed.
    pub commits: u64,
    /// Those of pgbench.
    pub pgbench: Option<Known>,
    /// The longest time in which none was, anywhere.
    pub longest_gap: Duration,
    /// How long writers were shut out at the hand-overs, in milliseconds: the last there, and back.
    pub held_ms: [f64; 2],
    /// From the start of the engine to its being ready in the first leg.
    pub ready_after: Duration,
    /// Errors that the application met, by code.
    pub errors: String,
}

struct Run {
    moving: Moving,
    engine: Process,
    random: ChaCha8Rng,
    kills: u32,
    /// Of the source and of the target.
    crashes: [u32; 2],
    next: Instant,
    /// A server was crashed, or the engine killed.
    harmed: bool,
}

/// Runs it.
///
/// # Errors
/// Something was lost, invented, or did not come in time.
pub async fn there_and_back(options: MovingOptions, faults: Faults) -> Result<Seen> {
    let seed = options.seed;
    let moving = Moving::start(options).await?;
    let application = moving.application().await?;
    let (old, new) = (moving.place(&moving.from), moving.place(&moving.to));
    let pgbench = moving
        .options
        .pgbench
        .map(|_| Beside::start(moving.from.installation(), &moving.route));
    more_commits(&application, &old, 50).await?;
    let began = Instant::now();
    let mut run = Run {
        engine: moving.start_move(&[])?,
        moving,
        random: ChaCha8Rng::seed_from_u64(seed),
        kills: faults.kills,
        crashes: [faults.crashes; 2],
        next: Instant::now(),
        harmed: false,
    };
    run.reached(&application, "ready in leg 0", None, verified_in(0))
        .await?;
    let ready_after = began.elapsed();
    for (leg, verb, place) in [(1, "cutover", &new), (2, "rollback", &old), (3, "cutover", &new)] {
        run.reached(&application, &format!("leg {leg}"), Some(verb), |progress| {
            progress["leg"].as_u64() >= Some(leg)
        })
        .await?;
        more_commits(&application, place, 100).await?;
        run.reached(
            &application,
            &format!("ready in leg {leg}"),
            None,
            verified_in(leg),
        )
        .await?;
    }
    let story = application.stop().await?;
    let known = match pgbench {
        Some(pgbench) => Some(pgbench.stop().await?),
        None => None,
    };
    let Run { moving, engine, .. } = run;
    moving.check_story(&moving.to, &story).await?;
    moving.check_rows(&moving.to, &moving.from).await?;
    if let Some(known) = known {
        beside::check(&moving.client(&moving.to).await?, known).await?;
    }
    let report = moving.status().await?["report"].clone();
    moving.operate_both("complete", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    moving.check_catalogs().await?;
    let held = |name: &str| report[name].as_f64().unwrap_or_default();
    Ok(Seen {
        commits: story.commits_by_place.values().sum(),
        pgbench: known,
        longest_gap: story.longest_gap,
        held_ms: [held("lock_held_ms"), held("rollback_lock_held_ms")],
        ready_after,
        errors: format!("{:?}", story.errors_by_code),
    })
}

/// Follows in that leg, and has compared everything.
fn verified_in(leg: u64) -> impl Fn(&Value) -> bool {
    move |progress| progress["leg"] == leg && progress["verified"] == true
}

impl Run {
    /// Waits for it, and does harm meanwhile. `verb` is asked until it is so: an engine that was killed has forgotten it.
    async fn reached(
        &mut self,
        application: &Application,
        what: &str,
        verb: Option<&str>,
        is_so: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + STEP_MAX;
        let mut ask_at = Instant::now();
        loop {
            let failures = application.progress().failures;
            ensure!(failures.is_empty(), "the application failed: {failures:#?}");
            let status = self.moving.status().await.unwrap_or_default();
            if status["engine"].is_object() && is_so(&status["progress"]) {
                return Ok(());
            }
            if let Some(verb) = verb.filter(|_| Instant::now() >= ask_at) {
                // Nobody may be there to take it.
                let _ = self.moving.operate(verb, &[]).await?;
                ask_at = Instant::now() + Duration::from_secs(5);
            }
            if !self.engine.is_running()? {
                let said = self.engine.ended_early().await?;
                // Whoever gives the command while a server is down gives it again.
                if self.harmed && said.contains("no_access") {
                    self.engine = self.moving.start_move(&[])?;
                    continue;
                }
                bail!("waiting for {what}, the engine ended: {said}");
            }
            if status["engine"].is_object() {
                self.harm().await?;
            }
            ensure!(Instant::now() < deadline, "waited in vain for {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn harm(&mut self) -> Result<()> {
        let left = self.kills + self.crashes[0] + self.crashes[1];
        if left == 0 || Instant::now() < self.next {
            return Ok(());
        }
        self.harmed = true;
        self.next = Instant::now() + Duration::from_millis(self.random.random_range(500..6_000));
        let what = self.random.random_range(0..left);
        if what < self.kills {
            self.kills -= 1;
            self.engine.signal(Signal::KILL)?;
            self.engine.ended_early().await?;
            self.engine = self.moving.start_move(&[])?;
        } else if what < self.kills + self.crashes[0] {
            self.crashes[0] -= 1;
            self.moving.from.restart(true).await?;
        } else {
            self.crashes[1] -= 1;
            self.moving.to.restart(true).await?;
        }
        Ok(())
    }
}
