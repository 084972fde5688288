//! Writers that go on until they are told to stop, on the table and on its twin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::Client;

use super::scene::{PATIENCE, Scene, try_both};

/// What a writer does, each with keys of its own, until it is told to stop.
pub(super) struct Writers {
    stop: Arc<AtomicBool>,
    commits: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Duration>>,
}

/// What they have seen.
pub(super) struct Seen {
    /// Transactions committed.
    pub(super) commits: u64,
    /// The longest that a transaction took.
    pub(super) slowest: Duration,
}

impl Writers {
    /// Each of `sessions` inserts, updates, deletes and changes keys, in transactions of several statements.
    ///
    /// The table has the columns `id`, `gate`, `n`; keys from 1,000,000 on are the writers'. A failed statement
    /// fails the test.
    pub(super) fn start(sessions: Vec<Client>) -> Writers {
        let stop = Arc::new(AtomicBool::new(false));
        let commits = Arc::new(AtomicU64::new(0));
        let work =
            |(number, session)| tokio::spawn(write(number, session, Arc::clone(&stop), Arc::clone(&commits)));
        let tasks = (1..).zip(sessions).map(work).collect();
        Writers { stop, commits, tasks }
    }

    /// So many sessions of the application.
    pub(super) async fn of_the_app(scene: &Scene, count: usize) -> Writers {
        let mut sessions = Vec::new();
        for _ in 0..count {
            sessions.push(scene.session().await);
        }
        Self::start(sessions)
    }

    /// Waits for so many more commits.
    pub(super) async fn commit_more(&self, count: u64) {
        let wanted = self.commits.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + PATIENCE;
        while self.commits.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "the writers stand still");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) async fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut slowest = Duration::ZERO;
        for task in self.tasks {
            slowest = slowest.max(task.await.expect("no statement of a writer fails"));
        }
        Seen {
            commits: self.commits.load(Ordering::Relaxed),
            slowest,
        }
    }
}

async fn write(number: u64, session: Client, stop: Arc<AtomicBool>, commits: Arc<AtomicU64>) -> Duration {
    let mut slowest = Duration::ZERO;
    let first = number * 1_000_000;
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let id = first + round;
        let statements = format!(
            "INSERT INTO {{t}} (id, n) VALUES ({id}, {round});
             UPDATE {{t}} SET n = n + 1 WHERE id BETWEEN {id} - 3 AND {id};
             UPDATE {{t}} SET id = id + 500000 WHERE id = {id} - 5 AND id % 3 = 0;
             DELETE FROM {{t}} WHERE id = {id} - 8"
        );
        let done = try_both(&session, &statements).await;
        done.unwrap_or_else(|error| panic!("{:?}", error.as_db_error()));
        slowest = slowest.max(began.elapsed());
        commits.fetch_add(1, Ordering::Relaxed);
    }
    slowest
}
