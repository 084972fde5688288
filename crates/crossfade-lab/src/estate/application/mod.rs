//! An application on the estate: writers that go where the [`Route`] leads and remember what was committed.
//!
//! Each transaction changes a few tables and leaves a row in `shop.ledger`. Its number is *sure* once the COMMIT
//! was acknowledged, *unknown* if the connection broke before the answer. What an application has to live with
//! (a place that takes no writes, a lost connection, a deadlock) is counted, and the writer connects again; any
//! other error is a failure.

mod choice;
mod operations;
mod route;
mod story;
mod trouble;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::Client;

pub use self::choice::WRITERS_MAX;
pub use self::route::Route;
pub use self::story::{Commit, Progress, Story};

use self::choice::Choice;
use self::writer::{Record, Session, Shared, Writer};
use super::schema;

/// Who writes.
#[derive(Clone, Debug)]
pub struct ApplicationOptions {
    /// How many; at most [`WRITERS_MAX`].
    pub writers: u32,
    /// What their choices follow from.
    pub seed: u64,
    /// The scale that the estate was built with.
    pub scale: u32,
    /// How long a writer rests after a transaction.
    pub pause: Duration,
    /// SQLSTATEs that are counted, not failures, beyond those that every application has to live with.
    pub tolerated: Vec<String>,
}

impl Default for ApplicationOptions {
    fn default() -> Self {
        ApplicationOptions {
            writers: 3,
            seed: 1,
            scale: 1,
            pause: Duration::from_millis(1),
            tolerated: Vec::new(),
        }
    }
}

/// Why the application did not begin, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// A first session could not be opened, or did not find the ledger.
    #[error("open a writer's session")]
    Connect(#[from] tokio_postgres::Error),
    /// More writers than keys are made for.
    #[error("start {writers} writers: there may be {WRITERS_MAX}")]
    TooMany {
        /// How many were asked for.
        writers: u32,
    },
    /// A writer panicked, and what it knew is lost.
    #[error("end a writer")]
    Died(#[from] tokio::task::JoinError),
}

/// A running application. Dropping it ends it at once, wherever it is.
#[derive(Debug)]
pub struct Application {
    tasks: JoinSet<Record>,
    shared: Arc<Shared>,
    before: BTreeMap<i32, i64>,
    began: Instant,
    rows: i64,
}

impl Application {
    /// Opens all sessions where `route` leads, then lets the writers go.
    ///
    /// # Errors
    /// [`ApplicationError::Connect`], [`ApplicationError::TooMany`].
    pub async fn start(route: &Route, options: &ApplicationOptions) -> Result<Application, ApplicationError> {
        let writers = options.writers;
        if writers > WRITERS_MAX {
            return Err(ApplicationError::TooMany { writers });
        }
        let (mut before, mut ready) = (BTreeMap::new(), Vec::new());
        for number in (0..WRITERS_MAX).take_while(|number| *number < writers) {
            // Fewer than an i32 holds.
            let number = number.cast_signed();
            let mut receiver = route.watch();
            let place = receiver.borrow_and_update().clone();
            let session = Session::open(&place, number).await?;
            if ready.is_empty() {
                before = last_numbers(&session.client).await?;
            }
            ready.push((number, receiver, session));
        }
        let mut application = Application {
            tasks: JoinSet::new(),
            shared: Arc::default(),
            before,
            began: Instant::now(),
            rows: schema::rows(options.scale),
        };
        for (number, receiver, session) in ready {
            application.spawn(number, receiver, session, options);
        }
        Ok(application)
    }

    fn spawn(
        &mut self,
        number: i32,
        route: watch::Receiver<String>,
        session: Session,
        options: &ApplicationOptions,
    ) {
        let last = self.before.get(&number).copied().unwrap_or(0);
        let writer = Writer {
            choice: Choice::new(options.seed, number, last, self.rows),
            route,
            pause: options.pause,
            tolerated: options.tolerated.clone(),
            shared: Arc::clone(&self.shared),
            record: Record::default(),
        };
        self.tasks.spawn(writer.run(session));
    }

    /// The counts so far.
    pub fn progress(&self) -> Progress {
        self.shared.progress.borrow().clone()
    }

    /// Waits until the application has committed so many transactions more at `place`, a connection string.
    ///
    /// # Cancel safety
    /// It changes nothing, so it may be dropped: by a deadline, for one.
    pub async fn more_commits_at(&self, place: &str, count: u64) {
        let mut progress = self.shared.progress.subscribe();
        let goal = progress.borrow().commits_at(place) + count;
        // The sender lives as long as the application.
        progress
            .wait_for(|progress| progress.commits_at(place) >= goal)
            .await
            .ok();
    }

    /// Lets each writer end its transaction, and gathers what they know.
    ///
    /// # Errors
    /// [`ApplicationError::Died`].
    pub async fn stop(mut self) -> Result<Story, ApplicationError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut all = Record::default();
        while let Some(record) = self.tasks.join_next().await {
            let record = record?;
            all.commits.extend(record.commits);
            all.unknown.extend(record.unknown);
        }
        Ok(self.tell(all))
    }

    fn tell(&self, mut all: Record) -> Story {
        let (progress, ended) = (self.progress(), Instant::now());
        all.commits.sort_by_key(|commit| commit.ended);
        let ends = all.commits.iter().map(|commit| commit.ended);
        let (longest_gap, gap_began) = story::longest_gap(self.began, ends, ended);
        let waits = all.commits.iter().map(|commit| commit.ended - commit.intended);
        Story {
            sure: all
                .commits
                .iter()
                .map(|commit| (commit.writer, commit.number))
                .collect(),
            unknown: all.unknown.into_iter().collect(),
            before: self.before.clone(),
            longest_wait: waits.max().unwrap_or_default(),
            commits: all.commits,
            commits_by_place: progress.commits_by_place,
            errors_by_code: progress.errors_by_code,
            rolled_back: progress.rolled_back,
            failed: progress.failed,
            failures: progress.failures,
            began: self.began,
            ended,
            longest_gap,
            gap_began,
            rows: self.rows,
        }
    }
}

/// The highest number of each writer in the ledger.
async fn last_numbers(client: &Client) -> Result<BTreeMap<i32, i64>, tokio_postgres::Error> {
    let query = "SELECT writer, max(number) FROM shop.ledger GROUP BY writer";
    let rows = client.query(query, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}
