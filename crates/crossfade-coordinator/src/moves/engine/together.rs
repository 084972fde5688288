//! What the tables do together: being compared one after the other, and handed over at once.

use std::sync::Arc;
use std::time::Instant;

use crossfade_core::migration::{Activity, Ask as Asked, Event, Stop};
use crossfade_core::phase::Phase;
use crossfade_core::way_back::Direction;

use super::{Engine, Heeded, Member, Outcome};
use crate::failure::Failure;
use crate::moves::hand_over::{self, HandedOver, hand_over};
use crate::moves::release::release;
use crate::report::now_ms;

impl Engine {
    pub(super) fn asked(&mut self, asked: Asked, at: String) -> Result<Option<Outcome>, Failure> {
        match (asked, self.shared.direction()) {
            (Asked::Pause, _) => self.paused = true,
            (Asked::Continue, _) => self.paused = false,
            (Asked::Cutover, Direction::Forward) | (Asked::Rollback, Direction::Back) => {
                self.wants_hand_over = true;
            }
            (Asked::Cutover | Asked::Rollback, _) => {}
            (Asked::Verify | Asked::Repair, _) => {
                self.options.verify = true;
                self.options.repair |= asked == Asked::Repair;
                self.asked_to_compare = Some(at);
                self.members.iter_mut().for_each(|member| member.equal = false);
            }
            // Nobody asks it in these ways: there are no such requests.
            (Asked::Abort | Asked::Interrupt, _) => {
                return Ok(Some(Outcome::Stopped(Stop::Interrupted, None)));
            }
        }
        if matches!(asked, Asked::Pause | Asked::Continue) {
            for number in 0..self.members.len() {
                if let Some(outcome) = self.event(number, Event::Asked(asked))? {
                    return Ok(Some(outcome));
                }
            }
        }
        Ok(None)
    }

    pub(super) fn asked_by_hand_over(&mut self, ask: hand_over::Ask) {
        match ask {
            hand_over::Ask::EndBehind(content, ready) => {
                if let Some(dealer) = &mut self.dealer {
                    dealer.end_behind(content);
                    let _ = ready.send(());
                }
            }
            hand_over::Ask::Drain(content, drained) => {
                let now = Instant::now();
                for member in &mut self.members {
                    member.machine.await_marker(now, content.clone());
                }
                self.draining = Some(drained);
            }
            hand_over::Ask::Stop(stopped) => {
                self.silenced = true;
                self.report = self.report();
                if let Some(reader) = self.reader.take() {
                    reader.stop();
                }
                self.items = None;
                self.members.clear();
                let _ = stopped.send(());
            }
            hand_over::Ask::Line(line) => {
                tracing::info!("{line}");
                self.note = Some(line);
            }
        }
    }

    pub(super) fn answer_drain(&mut self) {
        let all = |members: &[Member]| members.iter().all(|member| member.machine.has_passed_marker());
        if self.draining.is_some()
            && all(&self.members)
            && let Some(drained) = self.draining.take()
        {
            let _ = drained.send(());
        }
    }

    /// What has become possible for the move as a whole.
    pub(super) fn go_on(&mut self) -> Result<Option<Outcome>, Failure> {
        if self.silenced || self.handing_over || self.paused {
            return Ok(None);
        }
        let all = |members: &[Member], phase| members.iter().all(|member| member.machine.phase() >= phase);
        if !all(&self.members, Phase::Copied) {
            return self.copy_in_chunks();
        }
        if self.report.timeline.copy_started.is_some() {
            self.report.timeline.copy_ended.get_or_insert_with(now_ms);
        }
        if !all(&self.members, Phase::Ready) {
            return Ok(None);
        }
        if !self.finished {
            self.finish();
            return Ok(None);
        }
        self.report.timeline.indexed.get_or_insert_with(now_ms);
        if self.options.verify && self.members.iter().any(|member| !member.equal) {
            return self.verify_next();
        }
        let ready = |member: &Member| member.machine.activity() == Activity::Ready;
        if self.members.iter().all(ready) {
            self.report.timeline.ready.get_or_insert_with(now_ms);
            if self.wants_hand_over {
                self.begin_hand_over();
            }
        }
        Ok(None)
    }

    /// Behind those under the snapshot, which is not to be held longer than it has to, one table after the other: each keeps
    /// all copiers busy.
    fn copy_in_chunks(&mut self) -> Result<Option<Outcome>, Failure> {
        let done = |number: usize| self.members[number].machine.phase() >= Phase::Copied;
        if self.under_snapshot > 0 || self.in_chunks.is_some_and(|number| !done(number)) {
            return Ok(None);
        }
        self.in_chunks = (0..self.members.len()).find(|number| !done(*number));
        match self.in_chunks {
            Some(number) => self.event(number, Event::Copiers(self.options.copiers)),
            None => Ok(None),
        }
    }

    /// Tables are compared one after the other: each takes as much of both servers as it can get.
    pub(super) fn verify_next(&mut self) -> Result<Option<Outcome>, Failure> {
        let verifying = |member: &Member| member.machine.activity() == Activity::Verifying;
        if self.members.iter().any(verifying) {
            return Ok(None);
        }
        let ready = |member: &Member| !member.equal && member.machine.activity() == Activity::Ready;
        match self.members.iter().position(ready) {
            Some(number) => {
                let ask = match self.options.repair {
                    true => Asked::Repair,
                    false => Asked::Verify,
                };
                self.event(number, Event::Asked(ask))
            }
            None => Ok(None),
        }
    }

    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finishing, true) {
            return;
        }
        let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
        self.tasks.spawn(async move {
            let finished = crate::moves::run::finish_schema(&shared).await;
            let _ = tell.send((None, finished.map(|()| Heeded::Finished)));
        });
    }

    pub(super) fn begin_hand_over(&mut self) {
        self.handing_over = true;
        self.workers.hurry(true);
        let precedence = self.dealer.as_ref().map(|dealer| dealer.precedence().clone());
        let (shared, hooks, precedence, ask, tell) = (
            Arc::clone(&self.shared),
            self.options.hooks.clone(),
            precedence.unwrap_or_default(),
            self.ask.clone(),
            self.tell.clone(),
        );
        self.tasks.spawn(async move {
            let outcome = match shared.is_copy_only() {
                true => release(shared, ask).await,
                false => hand_over(shared, hooks, precedence, ask).await,
            };
            let _ = tell.send((None, Ok(Heeded::HandedOver(outcome))));
        });
    }

    pub(super) fn handed_over(&mut self, outcome: HandedOver) -> Result<Option<Outcome>, Failure> {
        self.handing_over = false;
        self.workers.hurry(false);
        Ok(match outcome {
            HandedOver::Done {
                held,
                attempts,
                switch_failed,
            } => Some(Outcome::HandedOver {
                held,
                attempts,
                switch_failed,
            }),
            HandedOver::NotAchieved { obstacle, attempts } => {
                Some(Outcome::NotHandedOver { obstacle, attempts })
            }
            HandedOver::Released => Some(Outcome::Released),
            HandedOver::TakenBack(why) => Some(Outcome::TakenBack(why)),
            HandedOver::Compare(tables) => {
                self.options.verify = true;
                for table in tables {
                    self.members[table].equal = false;
                }
                None
            }
        })
    }
}
