//! The loop of one engine: select an event, hand it to the machine, perform what it wants.
//!
//! The loop owns the machine and every handle; workers get a command and answer with an event. Nothing is shared,
//! and nothing in the loop waits for the database.

use std::time::{Duration, Instant};

use crossfade_core::change::StreamItem;
use crossfade_core::migration::{Activity, Ask, Event, Migration, Stop};
use tokio::sync::watch;
use tokio::time::Interval;

use crate::failure::Failure;
use crate::hands::{Hands, Next};
use crate::operator::{Measured, Published};
use crate::report::{Report, Status};

/// Between two publications of what is going on.
const TICK: Duration = Duration::from_millis(200);

/// An engine at work on one migration.
pub(crate) struct Engine {
    pub(crate) machine: Migration,
    pub(crate) hands: Hands,
    /// Becomes true when the process is asked to end.
    pub(crate) stop: watch::Receiver<bool>,
    /// For whoever watches this process.
    pub(crate) status: watch::Sender<Option<Status>>,
    /// For the operator's task.
    pub(crate) published: watch::Sender<Option<Published>>,
    pub(crate) measured: watch::Receiver<Measured>,
    pub(crate) note: watch::Receiver<Option<String>>,
}

/// What the loop woke up for.
enum Wake {
    Event(Event),
    Stream(Vec<StreamItem>),
    Detected(Vec<StreamItem>),
    Timeout,
    Tick,
    StopAsked,
}

impl From<Next> for Wake {
    fn from(next: Next) -> Self {
        match next {
            Next::Event(event) => Wake::Event(event),
            Next::Items(items) => Wake::Stream(items),
            Next::Detected(items) => Wake::Detected(items),
        }
    }
}

impl Engine {
    /// Runs until the machine stops or a command fails.
    pub(crate) async fn run(&mut self) -> Result<Stop, Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop_heard = false;
        loop {
            while let Some(command) = self.machine.poll_command() {
                if let Some(stop) = self.hands.perform(command)? {
                    return Ok(stop);
                }
            }
            match self.wake(&mut tick, stop_heard).await? {
                Wake::Event(event) => self.handle(event),
                Wake::Stream(items) => items
                    .into_iter()
                    .for_each(|item| self.handle(Event::Stream(item))),
                Wake::Detected(items) => items
                    .into_iter()
                    .for_each(|item| self.handle(Event::Detected(item))),
                Wake::Timeout => self.machine.handle_timeout(Instant::now()),
                Wake::Tick => self.publish(),
                Wake::StopAsked => {
                    stop_heard = true;
                    self.handle(Event::Asked(Ask::Interrupt));
                }
            }
        }
    }

    /// The report so far.
    pub(crate) fn report(&self) -> Report {
        self.hands.report(&self.machine.progress())
    }

    fn handle(&mut self, event: Event) {
        self.hands.observe(&event);
        let before = self.machine.activity();
        let gate_before = self.machine.held_back_by();
        self.machine.handle_event(Instant::now(), event);
        let after = self.machine.activity();
        let gate = self.machine.held_back_by();
        if gate_before.is_some() != gate.is_some() {
            tracing::info!(closed = gate.map(|closed| closed.to_string()), "gate for pace");
        }
        if before != after {
            tracing::info!(from = ?before, to = ?after, "activity");
            self.hands.activity_changed(after);
            // It may only make way for the next.
            if after != Activity::Stopped {
                self.publish();
            }
        }
    }

    async fn wake(&mut self, tick: &mut Interval, stop_heard: bool) -> Result<Wake, Failure> {
        let timeout = self.machine.poll_timeout();
        let wants = (self.machine.wants_stream(), self.machine.wants_detected());
        let stop = &mut self.stop;
        let mut stop_asked = std::pin::pin!(async move {
            // An error means that nobody is left who could ask; then there is nobody to run for.
            let _ = stop.wait_for(|asked| *asked).await;
        });
        tokio::select! {
            next = self.hands.next(wants.0, wants.1) => next.map(Wake::from),
            () = &mut stop_asked, if !stop_heard => Ok(Wake::StopAsked),
            () = at(timeout) => Ok(Wake::Timeout),
            _ = tick.tick() => Ok(Wake::Tick),
        }
    }

    fn publish(&self) {
        let measured = self.measured.borrow().clone();
        let plan = self.machine.plan();
        let status = Status {
            activity: Some(self.machine.activity()),
            phase: self.machine.phase(),
            paused: self.machine.is_paused(),
            held_back: self.machine.held_back_by().map(|closed| closed.to_string()),
            progress: self.machine.progress(),
            rows_expected: crossfade_core::migration::copy_step(plan).estimate.rows,
            lag_bytes: measured.lag_bytes,
            retained_bytes: measured.retained_bytes,
            waits_for: measured
                .waits_for
                .or_else(|| self.machine.cutover_waits_for().map(str::to_owned)),
            note: self.note.borrow().clone(),
        };
        self.status.send_replace(Some(status.clone()));
        self.published.send_replace(Some(Published {
            status,
            report: self.report(),
        }));
    }
}

/// Never, if there is no such moment.
pub(crate) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
