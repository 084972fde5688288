//! The hand-over: shuts writers out of the server that leads, waits until the other one has everything, and lets them in
//! there.
//!
//! ```text
//!  leader    BEGIN  lock  fence ───── marker ─── (drained) ─────────────── left, positions ─ COMMIT
//!  follower                             └─► applied ─► BEGIN attach, sequences, lower the fence ──┴─ COMMIT
//! ```
//!
//! Until the leader's COMMIT everything is as before: its writers wait, and a rollback, or the end of our session, lets
//! them go on. Behind it they are refused there, whoever they are; the follower's COMMIT lets them in, and is repeated by
//! the next engine if it did not come (the row `left` decides, which commits with the fence). The positions from which the
//! server that is left will follow commit with the fence too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::code::FailureCode;
use crossfade_core::piece::{Marker, marker};
use crossfade_postgres::moves::{fence, relations, schema};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::{state, wal};
use tokio::sync::{mpsc, oneshot};

use super::hooks::{Hook, Hooks};
use super::shared::{Shared, opposite};
use super::{enter, prepare};
use crate::failure::Failure;

/// What the hand-over asks of the engine's loop.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Await this marker in every table; answer when all have passed it.
    Drain(Marker, oneshot::Sender<()>),
    /// Stop all machines: nothing is applied any more.
    Stop(oneshot::Sender<()>),
    /// Something worth a line.
    Line(String),
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum HandedOver {
    /// The other server leads.
    Done {
        /// From the moment in which writers were locked out to that in which they were let in.
        held: Duration,
        /// Attempts made.
        attempts: u32,
        /// The hook that was to lead applications over has failed: go back.
        switch_failed: Option<Failure>,
    },
    /// These tables have to be compared first: their files were replaced (R4).
    Compare(Vec<usize>),
    /// Not within the budget.
    NotAchieved {
        /// The last obstacle, in words.
        obstacle: String,
        /// Attempts made.
        attempts: u32,
    },
}

/// The first pause between two attempts; it doubles up to the last.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A frozen engine's session is ended by the server so long after the budget.
const WATCHDOG: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) async fn hand_over(
    shared: Arc<Shared>,
    hooks: Hooks,
    asks: mpsc::UnboundedSender<Ask>,
) -> Result<HandedOver, Failure> {
    let back = opposite(shared.direction());
    // Made before anybody waits: a slot waits for whoever is writing.
    prepare::publish(&shared, back).await?;
    let handing = Handing {
        leader: shared.leader().session(shared.name()).await?,
        witness: shared.leader().session(shared.name()).await?,
        follower: shared.follower().session(shared.name()).await?,
        shared: Arc::clone(&shared),
        asks,
    };
    let outcome = match hooks.run(Hook::Pause, &shared, back).await {
        Ok(()) => handing.attempts(&hooks).await,
        Err(failure) => Err(failure),
    };
    let leads = match &outcome {
        Ok(HandedOver::Done { .. }) => back,
        _not_handed_over => shared.direction(),
    };
    let resumed = hooks.run(Hook::Resume, &shared, leads).await;
    match outcome {
        // Applications are where they were or go where they shall, and wait: that is for a person to see.
        Ok(_) if resumed.is_err() => resumed.and(outcome),
        outcome => outcome,
    }
}

struct Handing {
    shared: Arc<Shared>,
    /// The session of the transaction that shuts writers out.
    leader: Session,
    /// Another one there, in no transaction.
    witness: Session,
    follower: Session,
    asks: mpsc::UnboundedSender<Ask>,
}

/// What one attempt came to.
enum Attempt {
    /// Both have committed.
    Done(Duration),
    /// Given back.
    Obstacle(String),
    Compare(Vec<usize>),
}

impl Handing {
    async fn attempts(&self, hooks: &Hooks) -> Result<HandedOver, Failure> {
        let limits = &self.shared.plan.limits;
        let deadline = Instant::now() + limits.cutover_max();
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.attempt(attempt).await? {
                Attempt::Done(held) => {
                    let leads = opposite(self.shared.direction());
                    let switched = hooks.run(Hook::Switch, &self.shared, leads).await;
                    return Ok(HandedOver::Done {
                        held,
                        attempts: attempt,
                        switch_failed: switched.err(),
                    });
                }
                Attempt::Compare(tables) => return Ok(HandedOver::Compare(tables)),
                Attempt::Obstacle(obstacle) if Instant::now() > deadline => {
                    let attempts = attempt;
                    return Ok(HandedOver::NotAchieved { obstacle, attempts });
                }
                Attempt::Obstacle(obstacle) => self.line(format!("not handed over yet: {obstacle}")),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Err(Failure::Lost {
            what: "attempts ran out".to_owned(),
        })
    }

    fn line(&self, line: String) {
        let _ = self.asks.send(Ask::Line(line));
    }

    async fn attempt(&self, attempt: u32) -> Result<Attempt, Failure> {
        let budget = self.shared.plan.limits.hold_budget();
        if let Err(obstacle) = self.lock(attempt).await? {
            return Ok(Attempt::Obstacle(obstacle));
        }
        let began = Instant::now();
        let destination = self.shared.destination()?;
        let raise = fence::raise(
            &destination.fenced,
            self.shared.name(),
            &self.shared.follower().place,
        );
        self.leader.batch_execute(&raise).await?;
        let replaced = self.replaced().await?;
        if !replaced.is_empty() {
            self.leader.batch_execute("ROLLBACK").await?;
            return Ok(Attempt::Compare(replaced));
        }
        let publication =
            state::publication_is_the_same(&self.witness, self.shared.name(), self.shared.direction());
        if !publication.await? {
            return Err(prepare::changes_missing(
                &self.shared.publication(self.shared.direction()),
            ));
        }
        if !self
            .drain(attempt, budget.saturating_sub(began.elapsed()))
            .await?
        {
            self.leader.batch_execute("ROLLBACK").await?;
            return Ok(Attempt::Obstacle(format!(
                "the other server had not caught up within hold_budget ({})",
                humantime::format_duration(budget)
            )));
        }
        self.decide(began, budget).await
    }

    /// Locks every table against writers, in one order; readers go on. `Err`: who is in the way.
    async fn lock(&self, attempt: u32) -> Result<Result<(), String>, Failure> {
        let limits = &self.shared.plan.limits;
        let slice = limits.lock_timeout() * attempt.min(4);
        self.shared
            .leader()
            .begin(&self.leader, self.shared.name())
            .await?;
        let watchdog = limits.hold_budget() + WATCHDOG;
        let set = format!(
            "SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = {}",
            slice.as_millis().max(1),
            watchdog.as_millis()
        );
        self.leader.batch_execute(&set).await?;
        let tables = &self.shared.destination()?.fenced;
        let lock = relations::lock(tables, "SHARE ROW EXCLUSIVE");
        match self.leader.batch_execute(&lock).await {
            Ok(()) => Ok(Ok(())),
            Err(error)
                if matches!(
                    error.class(),
                    SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock
                ) =>
            {
                self.leader.batch_execute("ROLLBACK").await?;
                Ok(Err(format!(
                    "a table is written to by a transaction that did not end within {}",
                    humantime::format_duration(slice)
                )))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tables whose file is another one than that which was copied or compared; or whose columns differ, which ends the
    /// move.
    async fn replaced(&self) -> Result<Vec<usize>, Failure> {
        let tables = self.shared.tables();
        let (here, there) = tokio::try_join!(
            schema::columns(&self.witness, &tables),
            schema::columns(&self.follower, &tables)
        )?;
        if let Some(table) = tables.iter().find(|table| here.get(table) != there.get(table)) {
            return Err(Failure::needs_operator(
                FailureCode::SourceChanged,
                format!("{table} has other columns on the two servers now"),
                "The server that leads is complete. Make the tables alike and give the same command again; or `crossfade \
                 abort`.",
            ));
        }
        let files = relations::files(&self.witness, &tables).await?;
        Ok(state::other_files(&self.follower, &self.shared.state_names(), &files).await?)
    }

    /// Whether everything up to here is on the follower, within the time.
    async fn drain(&self, attempt: u32, within: Duration) -> Result<bool, Failure> {
        let generation = self.shared.leader().generation.0;
        let content = marker(&format!("{} {generation}", self.shared.name()), attempt);
        let (drained, all_drained) = oneshot::channel();
        let _ = self.asks.send(Ask::Drain(content.clone(), drained));
        wal::emit(&self.witness, &content).await?;
        match tokio::time::timeout(within, all_drained).await {
            Ok(Ok(())) => Ok(true),
            Ok(Err(_)) => Err(Failure::Lost {
                what: "the engine has ended".to_owned(),
            }),
            Err(_) => Ok(false),
        }
    }

    /// Nothing is applied any more, and nobody writes anywhere. From here on this engine ends, whatever comes.
    async fn decide(&self, began: Instant, budget: Duration) -> Result<Attempt, Failure> {
        let (shared, name) = (&self.shared, self.shared.name());
        let leg = shared.leg + 1;
        let (stopped, all_stopped) = oneshot::channel();
        let _ = self.asks.send(Ask::Stop(stopped));
        let _ = all_stopped.await;
        // Everything of ours there is before it, and everything of an application's behind it.
        let position = wal::durable_insert_position(&self.follower).await?;
        let files = relations::files(&self.follower, &shared.tables()).await?;
        shared.follower().begin(&self.follower, name).await?;
        enter::enter(shared, &self.follower, &self.witness, leg).await?;
        state::start_tables(&self.leader, &shared.state_names(), &files, position).await?;
        state::record_left(&self.leader, name.as_str(), leg).await?;
        shared
            .audit(
                &self.leader,
                &format!("follows from leg {leg} on, from {position}"),
                None,
            )
            .await?;
        if began.elapsed() > budget {
            self.leader.batch_execute("ROLLBACK").await?;
            return Err(Failure::Lost {
                what: format!(
                    "the hand-over took longer than hold_budget ({}), and was taken back",
                    humantime::format_duration(budget)
                ),
            });
        }
        self.leader.batch_execute("COMMIT").await?;
        self.follower.batch_execute("COMMIT").await?;
        Ok(Attempt::Done(began.elapsed()))
    }
}
