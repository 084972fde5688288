//! What a drain takes: a table, a migration of it that was stopped after its copy, a subscription, a slot for the stream.

use std::time::Duration;

use crossfade_coordinator::run::What;
use crossfade_core::migration::{Activity, copy_step};
use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_core::way_back::Direction;
use crossfade_postgres::ident;
use crossfade_postgres::session::Session;
use crossfade_postgres::state;
use tokio::time::{Instant, sleep};

use super::curve::{Drain, Point};
use super::stream::Stream;
use super::subscription::Subscription;
use super::{ApplyOptions, Backlog, Reader};
use crate::BenchError;
use crate::engine::{self, Engine, PATIENCE, late};
use crate::ground::{Ground, MAIN};
use crate::table::{self, ITEMS};
use crate::table_name;

/// The migration.
const MIGRATION: &str = "bench_apply";
/// Between two looks at how far somebody is.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long it may take until somebody reads a slot, or does not any more.
const SLOT_PATIENCE: Duration = Duration::from_secs(60);
const ACTIVE: &str = "SELECT active FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text";

/// See the module.
pub(super) struct Scene<'a> {
    ground: &'a Ground,
    session: Session,
    plan: Plan,
    name: MigrationName,
    subscription: Result<Subscription, BenchError>,
    stream: Stream,
    mix: crate::mix::Mix,
    /// Changes made so far.
    changes: u64,
}

impl<'a> Scene<'a> {
    /// Sets it up.
    pub(super) async fn set(
        ground: &'a Ground,
        options: &ApplyOptions,
        progress: &mut impl FnMut(&str),
    ) -> Result<Scene<'a>, BenchError> {
        progress(&format!("apply: filling a table of {} rows", options.rows));
        ground.clear().await?;
        ground.make(MAIN).await?;
        let session = ground.session(MAIN).await?;
        build(&session, options).await?;
        progress("apply: the engine's copy");
        let plan = engine::plan(&session, MIGRATION).await?;
        let what = What::Plan(Box::new(plan.clone()));
        let mut engine = Engine::start(&ground.config(MAIN), what, false);
        engine
            .until("be ready", |status| status.activity == Some(Activity::Ready))
            .await?;
        engine.stop().await?;
        progress("apply: the subscription's copy");
        // All three read the publication of the migration: the table has no other, or it would not have been changed.
        let publication = plan.name.publication();
        let subscription = Subscription::make(ground, &session, &publication).await;
        let stream = Stream::make(ground, &copy_step(&plan).source, publication).await?;
        Ok(Scene {
            ground,
            session,
            name: plan.name.clone(),
            plan,
            subscription,
            stream,
            mix: options.mix,
            changes: 0,
        })
    }

    /// Why there is no subscription. Not the statement that failed: a password may be in it.
    pub(super) fn no_subscription(&self) -> Option<String> {
        Some(match self.subscription.as_ref().err()? {
            BenchError::Sql(error) => error.message().to_owned(),
            error => crossfade_postgres::causes::in_one_line(error),
        })
    }

    /// Who can drain here.
    pub(super) fn readers(&self) -> Vec<Reader> {
        let there = |reader: &Reader| *reader != Reader::Subscription || self.subscription.is_ok();
        Reader::ALL.into_iter().filter(there).collect()
    }

    /// Commits a backlog.
    pub(super) async fn write(&mut self, changes: u64, transaction: u64) -> Result<Backlog, BenchError> {
        let backlog = Backlog::write(&self.session, self.changes, changes, transaction).await?;
        self.changes += changes;
        Ok(backlog)
    }

    /// Lets one of them drain it, and checks what came of that.
    pub(super) async fn drain(
        &mut self,
        reader: Reader,
        backlog: &Backlog,
    ) -> Result<Vec<Point>, BenchError> {
        match reader {
            Reader::Engine => self.drain_by_engine(backlog).await,
            Reader::Subscription => self.drain_by_subscription(backlog).await,
            Reader::Stream => {
                let (session, mix) = (&self.session, self.mix);
                self.stream.drain(session, backlog, mix).await
            }
        }
    }

    async fn drain_by_engine(&self, backlog: &Backlog) -> Result<Vec<Point>, BenchError> {
        let what = What::Resume(self.name.clone());
        let mut engine = Engine::start(&self.ground.config(MAIN), what, false);
        let slot = self.name.slot();
        tokio::select! {
            active = slot_is(&self.session, &slot, true) => active?,
            // It does not say so before it reads: it has ended.
            ended = engine.until("read its slot", |_| false) => ended?,
        }
        let points = follow(backlog, "the engine's drain", async || {
            let position = state::position(&self.session, self.name.as_str(), Direction::Forward).await?;
            Ok(position.map_or(0, |position| position.0))
        })
        .await?;
        let changes = backlog.changes;
        engine
            .until("count what it applied", |status| {
                status.progress.feed.applied >= changes
            })
            .await?;
        let applied = engine
            .status()
            .borrow()
            .as_ref()
            .map(|status| status.progress.feed.applied);
        engine.stop().await?;
        slot_is(&self.session, &slot, false).await?;
        equal("changes that the engine applied", applied, Some(changes))?;
        let shadow = &copy_step(&self.plan).targets[0].shadow;
        let there = content(&self.session, &ident::table(shadow)).await?;
        self.same_as_source("the engine's table", &there).await?;
        Ok(points)
    }

    async fn drain_by_subscription(&self, backlog: &Backlog) -> Result<Vec<Point>, BenchError> {
        let Ok(subscription) = &self.subscription else {
            return Ok(Vec::new());
        };
        subscription.enable(true).await?;
        slot_is(&self.session, subscription.slot(), true).await?;
        let points = follow(backlog, "the subscription's drain", async || {
            subscription.position().await
        })
        .await?;
        subscription.enable(false).await?;
        slot_is(&self.session, subscription.slot(), false).await?;
        let there = content(subscription.session(), &ident::table(&table_name(ITEMS))).await?;
        self.same_as_source("the subscription's table", &there).await?;
        Ok(points)
    }

    async fn same_as_source(&self, what: &str, there: &(i64, String)) -> Result<(), BenchError> {
        let source = content(&self.session, &ident::table(&table_name(ITEMS))).await?;
        equal(what, there, &source)
    }

    /// Leaves nothing behind.
    pub(super) async fn strike(self) -> Result<(), BenchError> {
        let Scene {
            ground,
            session,
            subscription,
            ..
        } = self;
        drop((session, subscription));
        Ok(ground.clear().await?)
    }
}

async fn build(session: &Session, options: &ApplyOptions) -> Result<(), BenchError> {
    let ApplyOptions {
        rows, width, toast, ..
    } = *options;
    table::build(session, rows, width, toast).await?;
    Ok(session.batch_execute(&options.mix.function(rows, width)).await?)
}

/// Waits until a slot is being read, or is not any more.
pub(super) async fn slot_is(session: &Session, slot: &str, active: bool) -> Result<(), BenchError> {
    let deadline = Instant::now() + SLOT_PATIENCE;
    loop {
        let row = session.query_opt(ACTIVE, &[&slot]).await?;
        if row.is_some_and(|row| row.get::<_, bool>(0) == active) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(BenchError::TooLate {
                what: format!(
                    "a reader of the slot {slot} to {}",
                    if active { "begin" } else { "end" }
                ),
                seconds: SLOT_PATIENCE.as_secs(),
            });
        }
        sleep(Duration::from_millis(1)).await;
    }
}

/// Looks at a position until it is behind the backlog.
async fn follow(
    backlog: &Backlog,
    what: &str,
    position: impl AsyncFn() -> Result<u64, BenchError>,
) -> Result<Vec<Point>, BenchError> {
    let mut drain = Drain::begin();
    let deadline = Instant::now() + PATIENCE;
    loop {
        drain.reached(backlog.changes_at(position().await?));
        if drain.changes() == backlog.changes {
            return Ok(drain.end());
        }
        if Instant::now() > deadline {
            return Err(late(what));
        }
        sleep(LOOK_AGAIN).await;
    }
}

async fn content(session: &Session, qualified: &str) -> Result<(i64, String), BenchError> {
    let row = session.query_one(&table::content(qualified), &[]).await?;
    Ok((row.get(0), row.get(1)))
}

/// What is drained wrongly has no figures.
pub(super) fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: T,
    expected: T,
) -> Result<(), BenchError> {
    if found == expected {
        return Ok(());
    }
    Err(BenchError::Wrong {
        what: what.to_owned(),
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}
