//! Applications: concurrent writers on `orders`, each as fast as it can, that keep a ledger of their commits.
//!
//! Inserts, updates (also to NULL, and with and without the TOASTed note), deletes, changes of the key,
//! transactions of several statements, savepoints, transactions rolled back. They know the tables by name and
//! nothing of any migration; an error that they did not ask for counts against it.

mod operation;
mod planner;
mod session;
mod statistics;
mod writer;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::task::JoinSet;

pub use self::statistics::Statistics;

use self::planner::Planner;
use self::session::Session;
use self::writer::{Shared, Writer};
use crate::ledger::Ledger;
use crate::orders::Size;

/// Who writes.
#[derive(Clone, Debug)]
pub struct WriterOptions {
    /// A libpq keyword string; `application_name` is added.
    pub connection: String,
    /// How many.
    pub writers: u32,
    /// What their choices follow from.
    pub seed: u64,
    /// The size of the initial table.
    pub size: Size,
}

/// Why the writers did not begin, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum WritersError {
    /// A first session could not be opened.
    #[error("open a writer's session")]
    Connect(#[from] tokio_postgres::Error),
    /// The histogram of latencies.
    #[error("make a histogram")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A writer panicked, and its ledger is lost.
    #[error("end a writer")]
    Died(#[from] tokio::task::JoinError),
}

/// Running writers. Dropping them ends them at once, wherever they are.
#[derive(Debug)]
pub struct Writers {
    tasks: JoinSet<(Ledger, Statistics)>,
    shared: Arc<Shared>,
    started: Instant,
    size: Size,
}

/// What the writers know when they have ended.
#[derive(Clone, Debug)]
pub struct Written {
    /// What must be in the table.
    pub ledger: Ledger,
    /// What they measured.
    pub statistics: Statistics,
}

impl Writers {
    /// Opens all sessions, then lets the writers go.
    ///
    /// # Errors
    /// [`WritersError::Connect`].
    pub async fn start(options: &WriterOptions) -> Result<Writers, WritersError> {
        let mut sessions = Vec::new();
        for number in 0..options.writers {
            let connection = format!("{} application_name='orders writer {number}'", options.connection);
            let session = Session::open(&connection).await?;
            sessions.push((number, connection, session));
        }
        let (started, shared) = (Instant::now(), Arc::new(Shared::default()));
        let mut tasks = JoinSet::new();
        for (number, connection, session) in sessions {
            let writer = Writer {
                connection,
                planner: Planner::new(options.seed, number, options.writers),
                ledger: Ledger::new(options.size),
                statistics: Statistics::new(started)?,
                shared: Arc::clone(&shared),
            };
            tasks.spawn(writer.run(session));
        }
        Ok(Writers {
            tasks,
            shared,
            started,
            size: options.size,
        })
    }

    /// Row changes acknowledged so far.
    pub fn changes(&self) -> u64 {
        self.shared.changes.load(Ordering::Relaxed)
    }

    /// Transactions failed so far.
    pub fn failed_transactions(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }

    /// Transactions so far that the server's crashes took along, and commits that it did not answer.
    pub fn lost_or_in_doubt(&self) -> (u64, u64) {
        let Shared { lost, in_doubt, .. } = &*self.shared;
        (lost.load(Ordering::Relaxed), in_doubt.load(Ordering::Relaxed))
    }

    /// Lets each writer end its transaction, and gathers what they know.
    ///
    /// # Errors
    /// [`WritersError::Died`].
    pub async fn stop(mut self) -> Result<Written, WritersError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::new(self.size);
        let mut statistics = Statistics::new(self.started)?;
        while let Some(ended) = self.tasks.join_next().await {
            let (its_ledger, its_statistics) = ended?;
            ledger.merge(its_ledger);
            statistics.merge(its_statistics);
        }
        Ok(Written { ledger, statistics })
    }
}
