//! One writer: transaction after transaction, wherever the route leads, until told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_postgres::{Client, Config, NoTls};

use super::choice::Choice;
use super::operations::{self, Plan};
use super::story::{Commit, Progress};
use super::trouble::Trouble;

/// Before another try after an error.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// So much of a statement is told where it failed.
const STATEMENT_MAX: usize = 200;

/// What all writers share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// End after the transaction at hand.
    pub(super) stop: AtomicBool,
    /// The counts.
    pub(super) progress: watch::Sender<Progress>,
}

/// What one writer took down.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Its acknowledged commits.
    pub(super) commits: Vec<Commit>,
    /// The numbers of those that were not answered.
    pub(super) unknown: Vec<(i32, i64)>,
}

/// A session, and where it is.
pub(super) struct Session {
    pub(super) client: Client,
    place: Arc<str>,
}

impl Session {
    /// Opens one for `writer` at `place`.
    pub(super) async fn open(place: &str, writer: i32) -> Result<Session, tokio_postgres::Error> {
        let mut config: Config = place.parse()?;
        config.application_name(format!("estate writer {writer}"));
        let (client, driver) = config.connect(NoTls).await?;
        // The client's own calls report a broken connection; the driver has nothing to add.
        tokio::spawn(async move { driver.await.ok() });
        Ok(Session {
            client,
            place: place.into(),
        })
    }
}

/// How a try ended.
enum End {
    Committed,
    RolledBack,
    Failed { trouble: Trouble, statement: String },
}

/// A writer's state.
pub(super) struct Writer {
    pub(super) choice: Choice,
    pub(super) route: watch::Receiver<String>,
    pub(super) pause: Duration,
    pub(super) tolerated: Vec<String>,
    pub(super) shared: Arc<Shared>,
    pub(super) record: Record,
}

impl Writer {
    /// Writes until told to stop.
    pub(super) async fn run(mut self, session: Session) -> Record {
        let (mut session, mut intended) = (Some(session), Instant::now());
        while !self.shared.stop.load(Ordering::Relaxed) {
            // Where nobody can redirect any more, nothing has changed.
            if self.route.has_changed().unwrap_or(false) {
                session = None;
            }
            let open = match session.take() {
                Some(open) => open,
                None => match self.connect().await {
                    Some(open) => open,
                    None => continue,
                },
            };
            let began = Instant::now();
            let end = self.transaction(&open.client).await;
            if self.take_down(end, &open, intended, began) {
                session = Some(open);
                tokio::time::sleep(self.pause).await;
                intended = Instant::now();
            } else {
                drop(open);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        self.record
    }

    /// A session where the route leads to now, or none for the moment.
    async fn connect(&mut self) -> Option<Session> {
        let place = self.route.borrow_and_update().clone();
        match Session::open(&place, self.choice.writer).await {
            Ok(session) => Some(session),
            Err(error) => {
                self.trouble(Trouble::of(&error, &self.tolerated), "connect");
                tokio::time::sleep(RETRY_PAUSE).await;
                None
            }
        }
    }

    /// One try of the next transaction. Its number is not used again, however it ends.
    async fn transaction(&mut self, client: &Client) -> End {
        self.choice.next();
        let Plan { statements, commits } = operations::plan(&mut self.choice);
        let last = if commits { "COMMIT" } else { "ROLLBACK" };
        for statement in statements.into_iter().chain([last.to_owned()]) {
            if let Err(error) = client.batch_execute(&statement).await {
                return End::Failed {
                    trouble: Trouble::of(&error, &self.tolerated),
                    statement,
                };
            }
        }
        if commits { End::Committed } else { End::RolledBack }
    }

    /// Takes down how a try ended, and says whether the session is to be kept.
    fn take_down(&mut self, end: End, session: &Session, intended: Instant, began: Instant) -> bool {
        let Choice { writer, number, .. } = self.choice;
        match end {
            End::Committed => {
                self.record.commits.push(Commit {
                    writer,
                    number,
                    place: Arc::clone(&session.place),
                    intended,
                    began,
                    ended: Instant::now(),
                });
                self.count(|progress| progress.commit(&session.place));
                true
            }
            End::RolledBack => {
                self.count(|progress| progress.rolled_back += 1);
                true
            }
            End::Failed { trouble, statement } => {
                if statement == "COMMIT" && trouble.is_open {
                    self.record.unknown.push((writer, number));
                }
                self.trouble(trouble, &statement);
                false
            }
        }
    }

    fn trouble(&self, trouble: Trouble, statement: &str) {
        if trouble.is_expected {
            return self.count(|progress| progress.error(trouble.code));
        }
        let Choice { writer, number, .. } = self.choice;
        let statement: String = statement.chars().take(STATEMENT_MAX).collect();
        let failure = format!("writer {writer}, number {number}: {}: {statement}", trouble.text);
        self.count(|progress| progress.fail(failure));
    }

    fn count(&self, change: impl FnOnce(&mut Progress)) {
        self.shared.progress.send_modify(change);
    }
}
