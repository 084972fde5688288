//! The engine as users run it, through the coordinator's own function, in a task of this process.

use std::time::Duration;

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::report::{Report, Status};
use crossfade_coordinator::run::{RunOptions, What, run};
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::plan::Plan;
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner;
use crossfade_postgres::session::Session;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::table::ITEMS;

/// The change that is made.
const ALTER: &str = "ALTER COLUMN id TYPE bigint";
/// Sessions that copy, as by default.
const COPIERS: usize = 2;
const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// How long anything of a measurement may take before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3_600);

/// An engine that did something else than it was started for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It ended in its own way.
    #[error("{what}: the engine ended: {ended}")]
    Ended {
        /// What was waited for.
        what: &'static str,
        /// How, in its own words.
        ended: String,
    },
}

/// An engine at work. Dropping it ends its sessions.
pub(crate) struct Engine {
    /// One task, which ends with the set.
    task: JoinSet<Ended>,
    stop: watch::Sender<bool>,
    status: watch::Receiver<Option<Status>>,
}

/// Plans the change of [`ITEMS`], without a way back.
pub(crate) async fn plan(session: &Session, name: &str) -> Result<Plan, BenchError> {
    let mut request = ChangeRequest::from_arguments(ITEMS, &[ALTER])?;
    request.search_path = Some(crate::SCHEMA.to_owned());
    request.way_back.off = true;
    Ok(planner::plan(session, &request, &name.parse()?).await?.plan)
}

impl Engine {
    /// Starts one. It swaps and compares as it would by default, or neither.
    pub(crate) fn start(config: &ConnectConfig, what: What, to_the_end: bool) -> Engine {
        let options = RunOptions {
            copiers: COPIERS,
            cutover_when_ready: to_the_end,
            roll_back: false,
            verify: to_the_end,
            repair: false,
            old_snapshots: OldSnapshots::Wait,
            reconnect_max: RECONNECT_MAX,
        };
        let (stop, stopped) = watch::channel(false);
        let (told, status) = watch::channel(None);
        let config = config.clone();
        let mut task = JoinSet::new();
        task.spawn(async move { run(&config, what, options, stopped, told).await });
        Engine { task, stop, status }
    }

    /// What it says of itself.
    pub(crate) fn status(&self) -> watch::Receiver<Option<Status>> {
        self.status.clone()
    }

    /// Waits until it says so of itself.
    pub(crate) async fn until(
        &mut self,
        what: &'static str,
        so: impl Fn(&Status) -> bool,
    ) -> Result<(), BenchError> {
        let waiting = self.status.wait_for(|status| status.as_ref().is_some_and(&so));
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(_)) => {}
            Err(_) => return Err(late(what)),
        }
        // It has let go of its end of the channel.
        Err(ended_early(what, &self.ended().await?).into())
    }

    async fn ended(&mut self) -> Result<Ended, BenchError> {
        match self.task.join_next().await {
            Some(ended) => Ok(ended?),
            // It was waited for already.
            None => Ok(Ended::Interrupted),
        }
    }

    /// Ends it where it can go on.
    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        self.stop.send_replace(true);
        match self.ended().await? {
            Ended::Interrupted => Ok(()),
            ended => Err(ended_early("stop", &ended).into()),
        }
    }

    /// Waits for the end of the change.
    pub(crate) async fn done(mut self) -> Result<Report, BenchError> {
        match self.ended().await? {
            Ended::Done(report) => Ok(*report),
            ended => Err(ended_early("change a table", &ended).into()),
        }
    }
}

fn ended_early(what: &'static str, ended: &Ended) -> EngineError {
    let ended = format!("{ended:?}");
    EngineError::Ended { what, ended }
}

/// It did not come in [`PATIENCE`].
pub(crate) fn late(what: &str) -> BenchError {
    BenchError::TooLate {
        what: what.to_owned(),
        seconds: PATIENCE.as_secs(),
    }
}
