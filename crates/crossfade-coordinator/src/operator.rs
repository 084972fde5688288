//! The operator's task: reads requests, writes heartbeat and progress, measures lag; in a session of its own, so
//! that nothing of this adds to the time under a lock.

use std::sync::Arc;
use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::{Activity, Ask, Event, Invisible};
use crossfade_core::phase::Phase;
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::Session;
use crossfade_postgres::slot::WalStatus;
use crossfade_postgres::{catalog, preflight, slot, state, visibility, wal};
use tokio::sync::watch;

use crate::context::{Context, Message};
use crate::failure::{DEFECT, Failure};
use crate::report::{Report, Status};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

const BEGIN_AGAIN: &str = "The source is untouched. `crossfade abort`, then run the change again.";

/// What the loop publishes for the state schema.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) status: Status,
    pub(crate) report: Report,
}

/// What the task measures for the loop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// WAL behind the insert position that is not applied, in bytes.
    pub(crate) lag_bytes: u64,
    /// WAL that our slot retains, in bytes; of two the one that retains more.
    pub(crate) retained_bytes: u64,
    /// The transaction that the machine waits for, and what that waits for, in words.
    pub(crate) waits_for: Option<String>,
}

/// Runs until its session is lost; `session` is the one that the state schema knows the engine by.
pub(crate) async fn operate(
    context: Arc<Context>,
    session: Session,
    published: watch::Receiver<Option<Published>>,
    measured: watch::Sender<Measured>,
) {
    let mut operator = Operator {
        context,
        session,
        published,
        measured,
        told: None,
        written: None,
    };
    loop {
        if let Err(failure) = operator.look().await {
            let _ = operator.context.answers.send(Err(failure));
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Operator {
    context: Arc<Context>,
    session: Session,
    published: watch::Receiver<Option<Published>>,
    measured: watch::Sender<Measured>,
    /// See [`Operator::explain_wait`].
    told: Option<Invisible>,
    written: Option<Report>,
}

impl Operator {
    async fn look(&mut self) -> Result<(), Failure> {
        for verb in state::take(&self.session, self.context.name()).await? {
            self.asked(verb).await?;
        }
        self.refuse_to_be_waited_for().await?;
        self.find_source_and_slot().await?;
        self.find_publications().await?;
        self.measure().await?;
        self.write().await
    }

    /// What the stream does not tell: a table that is dropped, and a slot that is lost while nothing is read from it.
    async fn find_source_and_slot(&self) -> Result<(), Failure> {
        if self.phase() >= Phase::Swapped {
            return Ok(());
        }
        let source = &self.context.step().source;
        if !catalog::exists(&self.session, source.oid).await? {
            let reason = format!("the source {} was dropped", source.name);
            return Err(Failure::needs_operator(
                FailureCode::SourceDropped,
                reason,
                "Remove what is left with `crossfade abort`.",
            ));
        }
        let name = self.context.plan.name.slot();
        let slot = slot::find(&self.session, &name).await?;
        if slot.is_some_and(|slot| slot.wal_status == Some(WalStatus::Lost)) {
            let reason = format!(
                "the slot {name} was invalidated: the server removed WAL that it needs (see max_slot_wal_keep_size, and from version 18 on idle_replication_slot_timeout)"
            );
            return Err(Failure::needs_operator(
                FailureCode::SlotInvalidated,
                reason,
                BEGIN_AGAIN,
            ));
        }
        Ok(())
    }

    /// Nor what is left out of the stream because it is not published any more.
    async fn find_publications(&self) -> Result<(), Failure> {
        let context = &self.context;
        let Some(publication) = context.other_publication(&self.session, false).await? else {
            return Ok(());
        };
        // It goes with the migration, and an engine that has lost that must not complain of it.
        context.begin(&self.session).await?;
        let stored = state::load(&self.session, context.name()).await;
        self.session.batch_execute("ROLLBACK").await?;
        let at_work = stored?.is_some_and(|stored| match context.direction {
            Direction::Forward => stored.phase < Phase::Swapped,
            Direction::Back => stored.phase == Phase::Swapped,
        });
        match at_work {
            true => Err(context.changes_missing(&publication)),
            false => Ok(()),
        }
    }

    /// As the loop last published it.
    fn phase(&self) -> Phase {
        let published = self.published.borrow();
        published
            .as_ref()
            .map_or(Phase::Planned, |published| published.status.phase)
    }

    /// Every commit would wait for our acknowledgement, and we for the commit (R2): to disconnect ends that.
    async fn refuse_to_be_waited_for(&self) -> Result<(), Failure> {
        let name = self.context.plan.name.application_name();
        match preflight::synchronous_as(&self.session, &name).await? {
            None => Ok(()),
            Some(setting) => Err(Failure::stopped(
                FailureCode::SynchronousStandby,
                format!(
                    "synchronous_standby_names is now `{setting}`, which makes `{name}` a synchronous standby: every commit would wait for it"
                ),
                "Name the standbys one by one, then go on with `crossfade continue`.",
            )),
        }
    }

    async fn asked(&self, verb: state::Verb) -> Result<(), Failure> {
        let (session, name) = (&self.session, self.context.name());
        match verb {
            state::Verb::Pause => state::set_paused(session, name, true).await?,
            state::Verb::Continue => state::set_paused(session, name, false).await?,
            state::Verb::Cutover | state::Verb::Rollback | state::Verb::Verify | state::Verb::Repair => {}
        }
        self.context
            .audit(session, &format!("asked: {}", verb.as_str()), None)
            .await?;
        self.tell(Event::Asked(ask_of(verb)));
        Ok(())
    }

    async fn measure(&mut self) -> Result<(), Failure> {
        let slot = slot::find(&self.session, &self.context.slot()).await?;
        let mut retained_bytes = slot.as_ref().and_then(|slot| slot.retained_bytes).unwrap_or(0);
        if self.context.direction == Direction::Back {
            let detector = slot::find(&self.session, &self.context.plan.name.slot()).await?;
            let by_detector = detector.and_then(|slot| slot.retained_bytes).unwrap_or(0);
            retained_bytes = retained_bytes.max(by_detector);
        }
        // Before the stream is followed, what the slot has acknowledged is where it will begin.
        let acknowledged = slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
        let published = self.published.borrow().clone();
        let applied = published.map(|published| published.status.progress.applied);
        let applied = applied.filter(|applied| applied.0 > 0).or(acknowledged);
        let lag_bytes = match applied {
            Some(applied) => wal::insert_position(&self.session)
                .await?
                .0
                .saturating_sub(applied.0),
            None => 0,
        };
        let waits_for = self.explain_wait().await?;
        self.measured.send_replace(Measured {
            lag_bytes,
            retained_bytes,
            waits_for,
        });
        self.tell(Event::RetainedWal(retained_bytes));
        // Also when nothing of ours moves: the stream's ids are widened by the nearest one that is known.
        self.tell(Event::Reference(wal::snapshot(&self.session).await?));
        Ok(())
    }

    /// A proof of visibility that does not come is named, and so is its coming (R7).
    async fn explain_wait(&mut self) -> Result<Option<String>, Failure> {
        let published = self.published.borrow().clone();
        let invisible = published.and_then(|published| published.status.progress.invisible);
        let words = match invisible {
            Some(invisible) => Some(visibility::explain(&self.session, invisible).await?),
            None => None,
        };
        if self.told != invisible {
            match (&words, self.told) {
                (Some(words), _) => self.context.line(words),
                (None, Some(before)) => {
                    self.context
                        .line(format!("transaction {} is visible: going on", before.xid));
                }
                (None, None) => {}
            }
            self.told = invisible;
        }
        Ok(words)
    }

    /// Nobody hears it once the engine has ended.
    fn tell(&self, event: Event) {
        let _ = self.context.answers.send(Ok(Message::Event(event)));
    }

    async fn write(&mut self) -> Result<(), Failure> {
        let Some(published) = self.published.borrow().clone() else {
            return Ok(());
        };
        let progress = progress(&published.status).to_string();
        state::heartbeat(&self.session, self.context.name(), &progress).await?;
        // The swap holds the migration's row until its COMMIT: this must not wait for it.
        let settled = match published.status.phase {
            Phase::Swapped => published.status.activity == Some(Activity::FollowingBack),
            _other => true,
        };
        if settled && self.written.as_ref() != Some(&published.report) {
            store_report(&self.session, self.context.name(), &published.report).await?;
            self.written = Some(published.report);
        }
        Ok(())
    }
}

/// What the machine is asked by that word.
pub(crate) fn ask_of(verb: state::Verb) -> Ask {
    match verb {
        state::Verb::Pause => Ask::Pause,
        state::Verb::Continue => Ask::Continue,
        state::Verb::Cutover => Ask::Cutover,
        state::Verb::Rollback => Ask::Rollback,
        state::Verb::Verify => Ask::Verify,
        state::Verb::Repair => Ask::Repair,
    }
}

/// What `status` shows of a running engine.
fn progress(status: &Status) -> serde_json::Value {
    serde_json::json!({
        "activity": status.activity.map(|activity| format!("{activity:?}")),
        "rows_copied": status.progress.rows_copied,
        "rows_expected": status.rows_expected,
        "changes_applied": status.progress.feed.applied,
        "lag_bytes": status.lag_bytes,
        "retained_bytes": status.retained_bytes,
        "verify": {
            "slices": status.progress.verify.slices,
            "slices_different": status.progress.verify.slices_different,
            "rows": status.progress.verify.rows,
            "obstacle": status.progress.verify.obstacle.map(|obstacle| obstacle.to_string()),
        },
        "strays": status.progress.strays.count,
        "held_back": status.held_back,
        "waits_for": status.waits_for,
        "cutover_attempts": status.progress.attempts,
        "note": status.note,
    })
}

/// Writes the report down.
pub(crate) async fn store_report(session: &Session, name: &str, report: &Report) -> Result<(), Failure> {
    let text = serde_json::to_string(report)
        .map_err(|error| Failure::stopped(FailureCode::Defect, error, DEFECT))?;
    Ok(state::store_report(session, name, &text).await?)
}
