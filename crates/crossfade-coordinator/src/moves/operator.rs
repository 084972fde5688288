//! The operator's task of a move: reads requests and writes progress on the target, measures on the server that leads.

use std::sync::Arc;
use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::Activity;
use crossfade_core::phase::Phase;
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::Session;
use crossfade_postgres::slot::WalStatus;
use crossfade_postgres::{preflight, slot, state, visibility, wal};
use tokio::sync::{mpsc, watch};

use super::engine::{Heard, Heeded, Shown};
use super::prepare;
use super::shared::Shared;
use crate::failure::Failure;
use crate::operator::{ask_of, store_report};
use crate::report::Report;

const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until a session is lost; `home` is the one that the state schema knows the engine by.
pub(crate) async fn operate(
    shared: Arc<Shared>,
    home: Session,
    shown: watch::Receiver<Shown>,
    tell: mpsc::UnboundedSender<Heard>,
) {
    let mut operator = Operator {
        shared,
        home,
        leader: None,
        shown,
        tell,
        written: None,
        reached: None,
    };
    loop {
        if let Err(failure) = operator.look().await {
            let _ = operator.tell.send((None, Err(failure)));
            return;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

struct Operator {
    shared: Arc<Shared>,
    home: Session,
    leader: Option<Session>,
    shown: watch::Receiver<Shown>,
    tell: mpsc::UnboundedSender<Heard>,
    written: Option<Report>,
    /// How far the move as a whole is, as written down.
    reached: Option<Phase>,
}

impl Operator {
    async fn look(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let name = shared.name().as_str();
        for verb in state::take(&self.home, name).await? {
            self.asked(verb).await?;
        }
        self.measure().await?;
        let shown = self.shown.borrow().clone();
        let waits_for = self.explain_wait(&shown).await?;
        if self.shared.leg == 0 && self.reached < Some(shown.phase) {
            // What a later engine goes by is written by no earlier one (R24).
            shared.target.begin(&self.home, shared.name()).await?;
            state::advance_phase(&self.home, name, shown.phase).await?;
            self.home.batch_execute("COMMIT").await?;
            self.reached = Some(shown.phase);
        }
        let progress = progress(&shared, &shown, waits_for.as_deref()).to_string();
        state::heartbeat(&self.home, name, &progress).await?;
        if self.written.as_ref() != Some(&shown.report) {
            store_report(&self.home, name, &shown.report).await?;
            self.written = Some(shown.report);
        }
        Ok(())
    }

    /// A proof of visibility that does not come is named (R7).
    async fn explain_wait(&self, shown: &Shown) -> Result<Option<String>, Failure> {
        let waiting = shown.tables.iter().find_map(|table| {
            let invisible = table.progress.invisible?;
            Some((&table.name, invisible))
        });
        let (Some((table, invisible)), Some(leader)) = (waiting, &self.leader) else {
            return Ok(None);
        };
        let words = visibility::explain(leader, invisible).await?;
        Ok(Some(format!("{table}: {words}")))
    }

    async fn asked(&self, verb: state::Verb) -> Result<(), Failure> {
        let name = self.shared.name().as_str();
        let at = state::server_time(&self.home).await?;
        if let state::Verb::Pause | state::Verb::Continue = verb {
            state::set_paused(&self.home, name, verb == state::Verb::Pause).await?;
        }
        self.shared
            .audit(&self.home, &format!("asked: {}", verb.as_str()), None)
            .await?;
        let ask = ask_of(verb);
        let _ = self.tell.send((None, Ok(Heeded::Asked { ask, at })));
        Ok(())
    }

    async fn measure(&mut self) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        let leader = match &mut self.leader {
            Some(leader) => leader,
            None => self.leader.insert(shared.leader().session(shared.name()).await?),
        };
        let application = shared.name().application_name();
        // Every commit would wait for our acknowledgement (R2): to disconnect ends that.
        if let Some(setting) = preflight::synchronous_as(leader, &application).await? {
            return Err(Failure::stopped(
                FailureCode::SynchronousStandby,
                format!(
                    "synchronous_standby_names is now `{setting}`, which makes `{application}` a synchronous standby"
                ),
                "Name the standbys one by one, then give the same command again.",
            ));
        }
        let direction = shared.direction();
        if !state::publication_is_the_same(leader, shared.name(), direction).await? {
            return Err(prepare::changes_missing(&shared.publication(direction)));
        }
        let slot = slot::find(leader, &shared.slot(direction)).await?;
        if slot
            .as_ref()
            .is_some_and(|slot| slot.wal_status == Some(WalStatus::Lost))
        {
            return Err(Failure::needs_operator(
                FailureCode::SlotInvalidated,
                format!("the slot {} was invalidated", shared.slot(direction)),
                "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` \
                 ends the move.",
            ));
        }
        let insert = wal::insert_position(leader).await?;
        // The table that is least far; before all are followed, where the stream will begin.
        let applied = self
            .shown
            .borrow()
            .tables
            .iter()
            .map(|table| table.progress.applied)
            .min();
        let acknowledged = slot.as_ref().and_then(|slot| slot.confirmed_flush_lsn);
        let applied = applied.filter(|applied| applied.0 > 0).or(acknowledged);
        let heeded = Heeded::Measured {
            reference: wal::snapshot(leader).await?,
            lag_bytes: applied.map_or(0, |at| insert.0.saturating_sub(at.0)),
            retained_bytes: slot.and_then(|slot| slot.retained_bytes).unwrap_or(0),
        };
        let _ = self.tell.send((None, Ok(heeded)));
        Ok(())
    }
}

/// What `status` shows of a running engine.
fn progress(shared: &Shared, shown: &Shown, waits_for: Option<&str>) -> serde_json::Value {
    let activities = shown.tables.iter().map(|table| table.activity);
    // The one that is least far.
    let activity = activities.min_by_key(|activity| *activity as u8);
    let activity = match shown.handing_over {
        true => Some(Activity::CuttingOver),
        false => activity,
    };
    let sum = |of: fn(&super::engine::ShownTable) -> u64| shown.tables.iter().map(of).sum::<u64>();
    let tables = shown.tables.iter().map(|table| {
        serde_json::json!({
            "table": table.name,
            "activity": format!("{:?}", table.activity),
            "rows_copied": table.progress.rows_copied,
            "rows_expected": table.rows_expected,
            "changes_applied": table.progress.feed.applied,
            "waiting": table.progress.waiting,
            "verified": table.equal,
        })
    });
    serde_json::json!({
        "activity": activity.map(|activity| format!("{activity:?}")),
        "leg": shared.leg,
        "leads": match shared.direction() {
            Direction::Forward => &shared.source.place,
            Direction::Back => &shared.target.place,
        },
        "rows_copied": sum(|table| table.progress.rows_copied),
        "rows_expected": shown.rows_expected,
        "changes_applied": sum(|table| table.progress.feed.applied),
        "lag_bytes": shown.lag_bytes,
        "retained_bytes": shown.retained_bytes,
        "verify": {
            "slices": sum(|table| table.progress.verify.slices.into()),
            "rows": sum(|table| table.progress.verify.rows),
        },
        "ready": shown.ready,
        "verified": shown.ready && shown.tables.iter().all(|table| table.equal),
        "note": shown.note,
        "waits_for": waits_for,
        "tables": tables.collect::<Vec<_>>(),
    })
}
