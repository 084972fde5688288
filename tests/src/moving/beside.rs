//! PostgreSQL's own `pgbench` beside the application, on tables of its own, led over as it is.

use std::time::Duration;

use anyhow::{Result, ensure};
use crossfade_lab::estate::Route;
use crossfade_lab::pgbench::{Pgbench, PgbenchError, Sums};
use crossfade_lab::server::{Installation, Server};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::{APPLICATION, DATABASE};

const CLIENTS: u32 = 2;
/// Transactions a second.
const RATE: u32 = 100;
/// It reports at its end only, and does not look at the route meanwhile.
const SLICE: Duration = Duration::from_secs(2);
/// Between two runs of which the first was shut out, or met a crash.
const PATIENCE: Duration = Duration::from_millis(50);

/// Makes its tables.
pub(super) async fn initialize(server: &Server, scale: u32) -> Result<()> {
    Ok(at(server)?.initialize(scale).await?)
}

/// Makes them, and leaves them empty.
pub(super) async fn create_tables(server: &Server) -> Result<()> {
    Ok(at(server)?.create_tables().await?)
}

fn at(server: &Server) -> Result<Pgbench> {
    let connection = server.connection(APPLICATION, DATABASE);
    Ok(Pgbench::new(server.installation(), &connection)?)
}

/// What it knows of its transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Were committed.
    pub committed: u64,
    /// May have been: their clients were ended before they heard of it.
    pub in_doubt: u64,
}

/// A `pgbench` that runs until it is stopped.
pub(super) struct Beside {
    stop: watch::Sender<bool>,
    running: JoinHandle<Result<Known>>,
}

impl Beside {
    /// Starts it where the route leads.
    pub(super) fn start(installation: &Installation, route: &Route) -> Beside {
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(run(installation.clone(), route.clone(), stopped));
        Beside { stop, running }
    }

    /// Stops it.
    pub(super) async fn stop(self) -> Result<Known> {
        self.stop.send_replace(true);
        self.running.await?
    }
}

async fn run(installation: Installation, route: Route, stop: watch::Receiver<bool>) -> Result<Known> {
    let mut known = Known::default();
    while !*stop.borrow() {
        let pgbench = Pgbench::new(&installation, &route.current())?.at_rate(RATE);
        match pgbench.transactions(CLIENTS, SLICE).await {
            Ok(report) => known.committed += report.transactions,
            Err(PgbenchError::Failed { transactions, .. }) => {
                known.committed += transactions;
                known.in_doubt += u64::from(CLIENTS);
                tokio::time::sleep(PATIENCE).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(known)
}

/// Holds its tables against what it knows.
pub(super) async fn check(leader: &Client, known: Known) -> Result<()> {
    let sums = Sums::read(leader).await?;
    ensure!(sums.are_equal(), "of pgbench's tables: {sums:?}");
    let history: i64 = leader
        .query_one("SELECT count(*) FROM pgbench_history", &[])
        .await?
        .get(0);
    let history = u64::try_from(history)?;
    ensure!(
        (known.committed..=known.committed + known.in_doubt).contains(&history),
        "{history} in pgbench's history, and it knows of {known:?}"
    );
    ensure!(known.committed > 0, "pgbench wrote nothing");
    Ok(())
}
