//! Where a run takes place: a server of its own, the proxy in front of it, the writers, and the engine if it runs.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::orders::{Size, schema};
use crossfade_lab::server::ServerOptions;
use crossfade_lab::writers::{WriterOptions, Writers};
use rand::{Rng, RngExt as _};
use rustix::process::Signal;

use super::fault::Fault;
use super::run::Options;
use crate::app::{RETYPE, TABLE};
use crate::process::{Ended, Process};
use crate::proxy::{self, Proxy, Weather};
use crate::stage::{ENGINE, Stage, arguments_to};
use crate::until;

/// How long the network is slow.
const SLOW_FOR: Duration = Duration::from_secs(2);
/// More starts than faults can explain: it does not come to an end.
const STARTS_MAX: u32 = 40;

/// Changes that the new table is to have before the old one comes back.
const CHANGES_BETWEEN: u64 = 500;

/// See the module.
pub(super) struct Ground {
    pub(super) stage: Stage,
    proxy: Proxy,
    pub(super) writers: Writers,
    engine: Option<Process>,
    more: Vec<String>,
    /// The change is to be rolled back once it is in place.
    roll_back: bool,
    /// It was asked for.
    asked_back: bool,
    pub(super) starts: u32,
}

impl Ground {
    pub(super) async fn open(options: &Options, seed: u64) -> Result<Ground> {
        let settings = ServerOptions::default().setting("max_wal_size", "4GB");
        let stage = Stage::own(settings).await?;
        let size = Size { orders: options.rows };
        schema::build(&stage.client().await?, size).await?;
        let proxy = Proxy::calm(stage.server().port()).await?;
        let writers = Writers::start(&WriterOptions {
            connection: stage.application(),
            writers: options.writers,
            seed,
            size,
        })
        .await?;
        Ok(Ground {
            stage,
            proxy,
            writers,
            engine: None,
            more: options.more.clone(),
            roll_back: options.roll_back,
            asked_back: false,
            starts: 0,
        })
    }

    /// Starts the engine, or goes on where the last one was.
    pub(super) async fn start(&mut self) -> Result<()> {
        self.starts += 1;
        ensure!(
            self.starts <= STARTS_MAX,
            "the engine was started {STARTS_MAX} times and is not done"
        );
        let name = self.stage.name().as_str();
        let way_back = if self.roll_back { "auto" } else { "none" };
        let arguments: Vec<&str> = match self.phase().await? {
            None => {
                let more = self.more.iter().map(String::as_str);
                let more: Vec<&str> = ["--way-back", way_back, "--cutover", "auto"]
                    .into_iter()
                    .chain(more)
                    .collect();
                self.stage.arguments(&["run", "--yes"], TABLE, RETYPE, &more)
            }
            Some(Phase::Swapped) if self.asked_back => vec!["rollback", name],
            Some(_) => vec!["continue", name, "--cutover", "auto"],
        };
        let url = self.stage.engine_through(self.proxy.port());
        self.engine = Some(Process::start(&arguments_to(&url, &arguments))?);
        Ok(())
    }

    /// Asks for the rollback, once, as an operator on another machine would.
    pub(super) async fn ask_back(&mut self) -> Result<()> {
        if !self.roll_back || self.asked_back || self.phase().await? != Some(Phase::Swapped) {
            return Ok(());
        }
        self.asked_back = true;
        let goal = self.writers.changes() + CHANGES_BETWEEN;
        until::so("changes between the swap and the rollback", async || {
            Ok(self.writers.changes() >= goal)
        })
        .await?;
        // If no engine is there at this moment, the next one is started with it.
        if self.is_running()? {
            let asked = self.stage.operate("rollback", &[]).await?;
            // It may have begun again just now: asked once more, it hears.
            self.asked_back = asked.code == Some(0);
        }
        Ok(())
    }

    /// How far it has come.
    pub(super) async fn phase(&self) -> Result<Option<Phase>> {
        self.stage.phase(&self.stage.superuser().await?).await
    }

    /// Whether an engine runs.
    pub(super) fn is_running(&mut self) -> Result<bool> {
        self.engine.as_mut().map_or(Ok(false), Process::is_running)
    }

    /// What is said of an engine that ended by itself: whether it is done. Whatever it says must be what an operator
    /// may answer with `continue`.
    pub(super) async fn ended(&mut self) -> Result<bool> {
        let Some(engine) = self.engine.take() else {
            return Ok(false);
        };
        let ended = engine.end().await?;
        match ended.code {
            Some(0) => Ok(true),
            Some(11 | 20 | 22 | 130) | None => Ok(false),
            // The sessions of an engine that was killed or cut off may take a while to end.
            Some(10) if ended.says("takes over") || ended.says("take over") => Ok(false),
            Some(_) => {
                let Ended {
                    code, stdout, stderr, ..
                } = ended;
                bail!("the engine ended with {code:?}\n{stdout}\n{stderr}")
            }
        }
    }

    /// Lets a fault happen.
    pub(super) async fn befall(&mut self, fault: Fault, random: &mut impl Rng) -> Result<()> {
        match fault {
            Fault::KillEngine => {
                if let Some(engine) = self.engine.take() {
                    engine.kill_9().await?;
                }
            }
            Fault::Interrupt => self.signal(Signal::INT),
            Fault::FreezeEngine(time) => {
                self.signal(Signal::STOP);
                tokio::time::sleep(time).await;
                self.signal(Signal::CONT);
            }
            Fault::EndBackend => self.end_backend(random).await?,
            Fault::CrashServer => {
                let server = self.stage.own_server().context("the server is this run's own")?;
                server.restart(true).await?;
            }
            Fault::Cut => self.proxy.cut(),
            Fault::Stall(time) => self.weather(Weather::Still, time).await,
            Fault::StallAndCut(time) => {
                self.weather(Weather::Still, time).await;
                self.proxy.cut();
            }
            Fault::Slow(delay) => self.weather(Weather::Slow(delay), SLOW_FOR).await,
            Fault::LoseCommit => self.proxy.lose_next(proxy::Fault::LoseCommit),
            Fault::LoseAnswer => self.proxy.lose_next(proxy::Fault::LoseAnswer),
        }
        Ok(())
    }

    async fn weather(&self, weather: Weather, time: Duration) {
        self.proxy.weather(weather);
        tokio::time::sleep(time).await;
        self.proxy.weather(Weather::Clear);
    }

    /// It may have ended by itself.
    fn signal(&self, signal: Signal) {
        if let Some(engine) = &self.engine {
            engine.signal(signal).ok();
        }
    }

    async fn end_backend(&self, random: &mut impl Rng) -> Result<()> {
        let superuser = self.stage.superuser().await?;
        let select = "SELECT pid FROM pg_stat_activity WHERE usename = $1 ORDER BY pid";
        let sessions = superuser.query(select, &[&ENGINE]).await?;
        if sessions.is_empty() {
            return Ok(());
        }
        let pid: i32 = sessions[random.random_range(0..sessions.len())].get(0);
        superuser
            .execute("SELECT pg_terminate_backend($1)", &[&pid])
            .await?;
        Ok(())
    }
}
