//! The hand-over: shuts writers out of the server that leads, waits until the other one has everything, and lets them in
//! there.
//!
//! ```text
//!  leader    BEGIN  lock  shut ────── marker ─── (drained) ────────────── left, positions ─ COMMIT
//!  follower                             └─► applied ─► BEGIN  attach, sequences, open ─────────┴─ COMMIT
//! ```
//!
//! Until the leader's COMMIT everything is as before: its writers wait, and a rollback, or the end of our session, lets
//! them go on. Behind it they are refused there, whoever they are; the follower's COMMIT lets them in, and is repeated by
//! the next engine if it did not come (the row `left` decides, which commits with the lockout). The positions from which
//! the server that is left will follow commit with it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::code::FailureCode;
use crossfade_core::moves::Precedence;
use crossfade_core::name::TableName;
use crossfade_core::piece::{Marker, marker};
use crossfade_core::position::Lsn;
use crossfade_postgres::moves::{lockout, relations, schema};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::state;
use crossfade_postgres::{slot, wal};
use tokio::sync::{mpsc, oneshot};

use super::hooks::{self, Hooks};
use super::shared::{Shared, opposite};
use super::{changed, enter, prepare};
use crate::failure::Failure;
use crate::hands::SLOT_RELEASE_MAX;

/// What the hand-over asks of the engine's loop.
#[derive(Debug)]
pub(crate) enum Ask {
    /// Behind this marker nothing more is to be applied; answered before it is sent.
    EndBehind(Marker, oneshot::Sender<()>),
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
    /// Everything was ready, and the rest took too long: taken back. This engine has ended its machines.
    TakenBack(String),
    /// Of a copy that nobody is handed over to: it stands on its own.
    Released,
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
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// The first attempt to get all locks takes no longer; each next one twice as long.
const SLICE_FIRST: Duration = Duration::from_millis(100);
/// The longest one, as a part of `deadlock_timeout`, unless an autovacuum is in the way.
const SLICE_SHARE: f32 = 0.8;
/// A frozen engine's session is ended by the server so long after the budget.
const WATCHDOG: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) async fn hand_over(
    shared: Arc<Shared>,
    hooks: Hooks,
    precedence: Precedence,
    asks: mpsc::UnboundedSender<Ask>,
) -> Result<HandedOver, Failure> {
    let back = opposite(shared.direction());
    // Made before anybody waits: a slot waits for whoever is writing.
    prepare::publish(&shared, back).await?;
    let handing = Handing::prepare(&shared, asks).await?;
    let paused = hooks::pause(&hooks, &shared, back).await;
    let outcome = match paused {
        Ok(()) => handing.attempts(&hooks, &precedence).await,
        Err(failure) => Err(failure),
    };
    let follower = match outcome {
        // Decided, or nobody knows: the next engine finds out, and lets applications go on where they shall.
        Ok(HandedOver::Done { .. }) | Err(Failure::Lost { .. }) => None,
        Ok(_) | Err(_) => Some(handing.let_go().await?),
    };
    match &outcome {
        Ok(HandedOver::Done {
            switch_failed: None, ..
        }) => hooks::resume(&hooks, &shared, back).await?,
        Ok(HandedOver::Done { .. }) => {}
        _not_handed_over => {
            if let Some(follower) = follower {
                // Nobody reads it, and it would keep WAL.
                slot::drop(&follower, &shared.slot(back), SLOT_RELEASE_MAX).await?;
                hooks::resume(&hooks, &shared, shared.direction()).await?;
            }
        }
    }
    outcome
}

pub(super) struct Handing {
    pub(super) shared: Arc<Shared>,
    /// The session of the transaction that shuts writers out.
    leader: Session,
    /// Another one there, in no transaction.
    pub(super) witness: Session,
    pub(super) follower: Session,
    pub(super) asks: mpsc::UnboundedSender<Ask>,
}

/// What one attempt came to.
enum Attempt {
    /// Both have committed.
    Done(Duration),
    /// Given back.
    Obstacle(String),
    Compare(Vec<usize>),
    TakenBack(String),
}

impl Handing {
    pub(super) async fn prepare(
        shared: &Arc<Shared>,
        asks: mpsc::UnboundedSender<Ask>,
    ) -> Result<Self, Failure> {
        Ok(Handing {
            leader: shared.leader().session(shared.name()).await?,
            witness: shared.leader().session(shared.name()).await?,
            follower: shared.follower().session(shared.name()).await?,
            shared: Arc::clone(shared),
            asks,
        })
    }

    /// Rolls back what is open on either server, so that writers go on.
    async fn let_go(self) -> Result<Session, Failure> {
        for session in [&self.leader, &self.follower] {
            session.batch_execute("ROLLBACK").await?;
        }
        Ok(self.follower)
    }

    async fn attempts(&self, hooks: &Hooks, precedence: &Precedence) -> Result<HandedOver, Failure> {
        let limits = &self.shared.plan.limits;
        let deadline = Instant::now() + limits.cutover_max();
        let mut pause = PAUSE;
        let tables = self.lock_order(precedence).await?;
        for attempt in 1.. {
            match self.attempt(attempt, &tables).await? {
                Attempt::Done(held) => {
                    let leads = opposite(self.shared.direction());
                    let switched = hooks::switch(hooks, &self.shared, (self.shared.leg + 1, leads)).await;
                    return Ok(HandedOver::Done {
                        held,
                        attempts: attempt,
                        switch_failed: switched.err(),
                    });
                }
                Attempt::Compare(tables) => return Ok(HandedOver::Compare(tables)),
                Attempt::TakenBack(why) => return Ok(HandedOver::TakenBack(why)),
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

    async fn attempt(&self, attempt: u32, tables: &[TableName]) -> Result<Attempt, Failure> {
        let budget = self.shared.plan.limits.hold_budget();
        if let Err(obstacle) = self.lock(attempt, tables).await? {
            return Ok(Attempt::Obstacle(obstacle));
        }
        let began = Instant::now();
        let destination = self.shared.destination()?;
        let shut = lockout::shut(
            &destination.relations,
            self.shared.name(),
            &self.shared.follower().place,
        );
        self.leader.batch_execute(&shut).await?;
        tracing::debug!(at = ?began.elapsed(), "shut");
        let replaced = self.replaced().await?;
        tracing::debug!(at = ?began.elapsed(), "looked at");
        if !replaced.is_empty() {
            self.leader.batch_execute("ROLLBACK").await?;
            return Ok(Attempt::Compare(replaced));
        }
        self.check_publication().await?;
        let marker = self.marker(attempt).await?;
        let drained = self.drain(marker, budget.saturating_sub(began.elapsed())).await?;
        let Some(drained) = drained else {
            self.leader.batch_execute("ROLLBACK").await?;
            return Ok(Attempt::Obstacle(format!(
                "the other server had not caught up within hold_budget ({})",
                humantime::format_duration(budget)
            )));
        };
        tracing::debug!(at = ?began.elapsed(), "drained");
        self.decide(began, budget, drained).await
    }

    /// The order in which applications write to the tables, as far as the stream has shown it: who holds one of them then
    /// wants none that we hold already. Of the others those come last that are written to most: who holds one of them is
    /// likely to be near the end.
    async fn lock_order(&self, precedence: &Precedence) -> Result<Vec<TableName>, Failure> {
        let tables = self.shared.tables();
        let by_writes = relations::by_writes(&self.witness, &tables).await?;
        let ordered = precedence.order(&by_writes).into_iter();
        let ordered: Vec<TableName> = ordered.map(|number| tables[number].clone()).collect();
        let relations = &self.shared.destination()?.relations;
        Ok(relations::in_order(&self.witness, relations, &ordered).await?)
    }

    /// Locks every table against writers; readers go on. `Err`: who is in the way.
    ///
    /// Writers wait behind us from the first lock on, so the first attempts are short. Who waits for us may still be who we
    /// wait for: a slice shorter than `deadlock_timeout` is over before the server looks for somebody to end, which could be
    /// an application. An autovacuum gives way only then, so it gets a longer one.
    async fn lock(&self, attempt: u32, tables: &[TableName]) -> Result<Result<(), String>, Failure> {
        let limits = &self.shared.plan.limits;
        let slice = match relations::being_vacuumed(&self.witness, tables).await? {
            true => limits.lock_timeout(),
            false => {
                let detected = relations::deadlock_timeout(&self.witness).await?;
                let longest = limits.lock_timeout().min(detected.mul_f32(SLICE_SHARE));
                longest.min(SLICE_FIRST * 2_u32.saturating_pow(attempt - 1))
            }
        };
        let deadline = Instant::now() + slice;
        self.shared
            .leader()
            .begin(&self.leader, self.shared.name())
            .await?;
        let watchdog = limits.hold_budget() + WATCHDOG;
        let set = format!(
            "SET LOCAL idle_in_transaction_session_timeout = {}",
            watchdog.as_millis()
        );
        self.leader.batch_execute(&set).await?;
        for table in tables {
            let left = deadline
                .saturating_duration_since(Instant::now())
                .as_millis()
                .max(1);
            let lock = relations::lock(std::slice::from_ref(table), "SHARE ROW EXCLUSIVE");
            let lock = format!("SET LOCAL lock_timeout = {left}; {lock}");
            match self.leader.batch_execute(&lock).await {
                Ok(()) => {}
                Err(error)
                    if matches!(
                        error.class(),
                        SqlClass::LockTimeout | SqlClass::SerializationOrDeadlock
                    ) =>
                {
                    self.leader.batch_execute("ROLLBACK").await?;
                    return Ok(Err(format!(
                        "{table} is written to by a transaction that did not end within {} ms",
                        slice.as_millis()
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Ok(()))
    }

    /// Tables whose file is another one than that which was copied or compared; or whose columns differ, which ends the
    /// move.
    pub(super) async fn replaced(&self) -> Result<Vec<usize>, Failure> {
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
        changed::refuse_new_tables(&self.shared, &self.witness).await?;
        let files = relations::files(&self.witness, &tables).await?;
        Ok(state::other_files(&self.follower, &self.shared.state_names(), &files).await?)
    }

    /// The stream has had everything that it should (R34).
    pub(super) async fn check_publication(&self) -> Result<(), Failure> {
        let (name, direction) = (self.shared.name(), self.shared.direction());
        match state::publication_is_the_same(&self.witness, name, direction).await? {
            true => Ok(()),
            false => Err(prepare::changes_missing(&self.shared.publication(direction))),
        }
    }

    /// By the position there is no other of this content, in this engine or a former one.
    pub(super) async fn marker(&self, attempt: u32) -> Result<Marker, Failure> {
        let position = wal::insert_position(&self.witness).await?;
        Ok(marker(&format!("{} {position}", self.shared.name()), attempt))
    }

    /// Where the marker is that everything on the follower lies behind; `None`: not within the time.
    pub(super) async fn drain(&self, content: Marker, within: Duration) -> Result<Option<Lsn>, Failure> {
        let (drained, all_drained) = oneshot::channel();
        let _ = self.asks.send(Ask::Drain(content.clone(), drained));
        let marker = wal::emit(&self.witness, &content).await?;
        match tokio::time::timeout(within, all_drained).await {
            Ok(Ok(())) => Ok(Some(marker)),
            Ok(Err(_)) => Err(Failure::Lost {
                what: "the engine has ended".to_owned(),
            }),
            Err(_) => Ok(None),
        }
    }

    /// Nothing is applied any more, and nobody writes anywhere. From here on this engine ends, whatever comes.
    async fn decide(&self, began: Instant, budget: Duration, drained: Lsn) -> Result<Attempt, Failure> {
        let (shared, name) = (&self.shared, self.shared.name());
        let leg = shared.leg + 1;
        self.ask(Ask::Stop).await?;
        let lost = |what: String| Failure::Lost { what };
        // Everything of ours there is before it, and everything of an application's behind it.
        let position = wal::durable_insert_position(&self.follower).await?;
        let files = relations::files(&self.follower, &shared.tables()).await?;
        tracing::debug!(at = ?began.elapsed(), "stopped");
        shared.follower().begin(&self.follower, name).await?;
        // Somebody may read there, and a vacuum be at work.
        let left = budget.saturating_sub(began.elapsed()).as_millis().max(1);
        self.follower
            .batch_execute(&format!("SET LOCAL lock_timeout = {left}"))
            .await?;
        match enter::enter(shared, &self.follower, &self.witness, leg).await {
            Err(Failure::Stopped {
                code: FailureCode::LockNotGranted,
                reason,
                ..
            }) => return self.take_back(reason).await,
            entered => entered?,
        }
        tracing::debug!(at = ?began.elapsed(), "entered");
        state::start_tables(&self.leader, &shared.state_names(), &files, position).await?;
        state::mark_left(&self.leader, name.as_str(), leg, drained).await?;
        shared
            .audit(
                &self.leader,
                &format!("follows from leg {leg} on, from {position}"),
                None,
            )
            .await?;
        if began.elapsed() > budget {
            let budget = humantime::format_duration(budget);
            return self
                .take_back(format!("it took longer than hold_budget ({budget})"))
                .await;
        }
        self.leader.batch_execute("COMMIT").await?;
        tracing::debug!(at = ?began.elapsed(), "left");
        // It is decided: whatever happens here, the next engine completes it.
        let entered = self.follower.batch_execute("COMMIT").await;
        entered.map_err(|error| lost(error.to_string()))?;
        Ok(Attempt::Done(began.elapsed()))
    }

    /// Asks the engine's loop, and waits until it has done it.
    pub(super) async fn ask(&self, ask: impl FnOnce(oneshot::Sender<()>) -> Ask) -> Result<(), Failure> {
        let (done, all_done) = oneshot::channel();
        let _ = self.asks.send(ask(done));
        all_done.await.map_err(|_| Failure::Lost {
            what: "the engine has ended".to_owned(),
        })
    }

    async fn take_back(&self, why: String) -> Result<Attempt, Failure> {
        for session in [&self.follower, &self.leader] {
            session.batch_execute("ROLLBACK").await?;
        }
        Ok(Attempt::TakenBack(why))
    }
}
