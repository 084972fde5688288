//! A run: from a plan, or from where a migration is, to its end.

use std::time::Duration;

use crossfade_core::cutover::OldSnapshots;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_postgres::connect::ConnectConfig;
use tokio::sync::watch;

use crate::ended::Ended;
use crate::report::Status;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Sessions that copy at the same time.
    pub copiers: usize,
    /// Cut over without being asked.
    pub cutover_when_ready: bool,
    /// What to do about transactions that took their snapshot before the last apply.
    pub old_snapshots: OldSnapshots,
    /// How long to try to get back to a server that is away.
    pub reconnect_max: Duration,
}

/// What to run.
#[derive(Clone, Debug)]
pub enum What {
    /// This plan: from the start, or from where the migration of its name is if it has the same plan.
    Plan(Box<Plan>),
    /// The migration of that name, whose plan is in the state schema.
    Resume(MigrationName),
}

/// Runs a migration to its end, its interruption or its failure.
///
/// `stop` becoming true asks it to end cleanly and resumably. `status` is written as things change.
///
/// # Cancel safety
/// Dropping the future closes the sessions; the server rolls open transactions back, and the migration can go on
/// from its durable state.
pub async fn run(
    config: &ConnectConfig,
    what: What,
    options: RunOptions,
    stop: watch::Receiver<bool>,
    status: watch::Sender<Option<Status>>,
) -> Ended {
    let _ = (config, what, options, stop, status);
    Ended::Interrupted
}
