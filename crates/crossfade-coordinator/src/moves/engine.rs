//! The loop of one engine of a move: many machines, one stream, and at most one hand-over.
//!
//! The loop owns machines, workers and stream, and waits for nothing but the next thing that happens. What the machines
//! want of things that many tables share (stream, snapshot, positions, notes) it gives to shared workers; the rest goes to
//! each table's own.

mod compared;
mod perform;
mod shown;
mod together;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::change::StreamItem;
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::feed::FeedLimits;
use crossfade_core::migration::{Ask as Asked, Command, Durable, Event, Migration, Options, Stop, copy_step};
use crossfade_core::moves::Dealer;
use crossfade_core::name::TableName;
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::plan::{CopyMode, Plan};
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_core::verify::Verified;
use crossfade_replication::reader::{History, Reader, ReaderHandle, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::Shape;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

pub(crate) use self::compared::record;
pub(crate) use self::shown::{Shown, ShownTable};
use super::copy::Copying;
use super::hand_over::{self, HandedOver};
use super::load::Loaded;
use super::run::MoveOptions;
use super::shared::Shared;
use super::workers::Workers;
use crate::context::{Context, Far, Message};
use crate::engine::at;
use crate::failure::Failure;
use crate::hands::{Hands, failure_of, receive};
use crate::losses::Mark;
use crate::report::{Report, now_ms};

/// What the loop hears: of which table, and what.
pub(crate) type Heard = (Option<usize>, Result<Heeded, Failure>);

/// See [`Heard`].
pub(crate) enum Heeded {
    /// An answer, or something worth a note.
    Message(Message),
    /// A batch that could not be applied together with others.
    ApplyAlone(Piece),
    /// An operator asks the move.
    Asked {
        ask: Asked,
        /// By the target's clock.
        at: String,
    },
    /// WAL that the slot retains and that is not applied yet, as measured.
    Measured {
        /// A snapshot of the leader's.
        reference: crossfade_core::snapshot::Snapshot,
        lag_bytes: u64,
        retained_bytes: u64,
    },
    /// What a partitioned table has, and what comes once the rows are there, is made.
    Finished,
    /// The hand-over has ended.
    HandedOver(Result<HandedOver, Failure>),
}

/// Index builds at the same time.
const BUILDS_MAX: usize = 2;
/// Of all tables together, about.
const QUEUE_BYTES: usize = 32 << 20;
const TICK: Duration = Duration::from_millis(200);

struct Member {
    machine: Migration,
    hands: Hands,
    applied: Lsn,
    /// Every row was compared in this leg, and none differed.
    equal: bool,
    /// What the last comparison came to, and which columns it left out.
    found: Option<(Verified, Vec<String>)>,
}

/// How the loop ended.
pub(crate) enum Outcome {
    /// The machine of that table has stopped, or the process was asked to.
    Stopped(Stop, Option<usize>),
    /// The other server leads now.
    HandedOver {
        held: Duration,
        attempts: u32,
        switch_failed: Option<Failure>,
    },
    /// The copy stands on its own.
    Released,
    /// Nothing was handed over, and another engine tries again.
    TakenBack(String),
    /// The hand-over was not achieved.
    NotHandedOver { obstacle: String, attempts: u32 },
}

/// What the loop woke up for.
enum Wake {
    Heard(Option<usize>, Result<Heeded, Failure>),
    Items(Option<Vec<StreamItem>>),
    Asked(hand_over::Ask),
    StopAsked,
    TimeOut,
    Tick,
    Ended(Result<(), tokio::task::JoinError>),
}

/// See the module.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    plans: Arc<Vec<Plan>>,
    options: MoveOptions,
    members: Vec<Member>,
    copying: Option<Arc<Copying>>,
    slot_at: Lsn,
    slot_snapshot: Option<Snapshot>,
    /// Tables that are still to be copied under the snapshot.
    under_snapshot: usize,
    /// The table whose turn it is to be copied in chunks.
    in_chunks: Option<usize>,
    dealer: Option<Dealer>,
    reader: Option<ReaderHandle>,
    items: Option<mpsc::Receiver<Vec<StreamItem>>>,
    heard: mpsc::UnboundedReceiver<Heard>,
    tell: mpsc::UnboundedSender<Heard>,
    workers: Workers,
    builds: Arc<Semaphore>,
    tasks: JoinSet<()>,
    asks: mpsc::UnboundedReceiver<hand_over::Ask>,
    ask: mpsc::UnboundedSender<hand_over::Ask>,
    /// Answered when every table has passed the marker.
    draining: Option<oneshot::Sender<()>>,
    wants_hand_over: bool,
    /// A comparison was asked for then, and its result is to be written down for whoever waits for it.
    asked_to_compare: Option<String>,
    handing_over: bool,
    /// The machines are stopped for good.
    silenced: bool,
    finished: bool,
    finishing: bool,
    paused: bool,
    stop: watch::Receiver<bool>,
    timeline: u32,
    shown: watch::Sender<Shown>,
    report: Report,
    measured: (u64, u64),
    note: Option<String>,
}

impl Engine {
    /// With everything loaded; nothing runs yet.
    pub(crate) fn new(
        shared: Arc<Shared>,
        loaded: Loaded,
        options: MoveOptions,
        (stop, shown): (watch::Receiver<bool>, watch::Sender<Shown>),
        (tell, heard): (mpsc::UnboundedSender<Heard>, mpsc::UnboundedReceiver<Heard>),
        timeline: u32,
        (report, paused): (Report, bool),
    ) -> Self {
        let Loaded {
            plans,
            durables,
            slot_at,
            slot_snapshot,
            rows_before,
        } = loaded;
        let mut report = report;
        if let Some(rows) = rows_before {
            report.rows_copied = rows;
        }
        let plans = Arc::new(plans);
        let mut tasks = JoinSet::new();
        let workers = Workers::start(&shared, &plans, &tell, &mut tasks);
        let now = Instant::now();
        let of_all = machine_options(&options, plans.len());
        let member = |(number, (plan, durable)): (usize, (&Plan, Durable))| {
            // A table that was found to differ is compared again whoever asks.
            let repair = options.repair && durable.equal == Some(false);
            let copiers = match copy_step(plan).copy_mode {
                CopyMode::Snapshot => of_all.copiers,
                // Until it is its turn.
                CopyMode::Incremental => 0,
            };
            let options = Options {
                repair,
                copiers,
                ..of_all.clone()
            };
            Member {
                equal: durable.equal == Some(true),
                machine: Migration::new(now, plan.clone(), durable, options),
                hands: hands(&shared, plan, number, &tell, &mut tasks),
                applied: Lsn(0),
                found: None,
            }
        };
        let members = plans.iter().zip(durables).enumerate().map(member).collect();
        let (ask, asks) = mpsc::unbounded_channel();
        Engine {
            wants_hand_over: options.wants(shared.direction()),
            shared,
            plans,
            options,
            members,
            copying: None,
            slot_at,
            slot_snapshot,
            under_snapshot: 0,
            in_chunks: None,
            dealer: None,
            reader: None,
            items: None,
            heard,
            tell,
            workers,
            builds: Arc::new(Semaphore::new(BUILDS_MAX)),
            tasks,
            asks,
            ask,
            draining: None,
            asked_to_compare: None,
            handing_over: false,
            silenced: false,
            finished: false,
            finishing: false,
            paused,
            stop,
            timeline,
            shown,
            report,
            measured: (0, 0),
            note: None,
        }
    }

    /// Runs until the move is handed over, or something ends it.
    pub(crate) async fn run(&mut self) -> Result<Outcome, Failure> {
        self.open_copy().await?;
        for number in 0..self.members.len() {
            if let Some(outcome) = self.perform_all(number)? {
                return Ok(outcome);
            }
        }
        self.follow();
        if self.paused {
            for number in 0..self.members.len() {
                if let Some(outcome) = self.event(number, Event::Asked(Asked::Pause))? {
                    return Ok(outcome);
                }
            }
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stop_heard = false;
        loop {
            if let Some(outcome) = self.wake(&mut tick, &mut stop_heard).await? {
                return Ok(outcome);
            }
            self.answer_drain();
            if let Some(outcome) = self.go_on()? {
                return Ok(outcome);
            }
        }
    }

    /// A hand-over was asked for, and has not been achieved.
    pub(crate) fn wants_hand_over(&self) -> bool {
        self.wants_hand_over
    }

    /// How far it is, durably: tables copied, the least position, tables compared.
    pub(crate) fn mark(&self) -> Mark {
        let phase = self.members.iter().map(|member| member.machine.phase()).min();
        let least = self.members.iter().map(|member| member.applied).min();
        let copied = self
            .members
            .iter()
            .filter(|member| member.machine.phase() >= Phase::Copied);
        let equal = self.members.iter().filter(|member| member.equal);
        let in_chunks = |plan: &Plan| copy_step(plan).copy_mode == CopyMode::Incremental;
        let members = self.members.iter().zip(self.plans.iter());
        let rows: u64 = members
            .filter(|(_, plan)| in_chunks(plan))
            .map(|(member, _)| member.machine.progress().rows_copied)
            .sum();
        (
            phase.unwrap_or(Phase::Ready),
            least.unwrap_or_default(),
            (copied.count() + equal.count()) as u64 + rows,
        )
    }

    async fn open_copy(&mut self) -> Result<(), Failure> {
        let to_copy: Vec<usize> = (0..self.members.len())
            .filter(|number| self.members[*number].machine.phase() < Phase::Copied)
            .collect();
        if to_copy.is_empty() {
            return Ok(());
        }
        self.report.timeline.copy_started.get_or_insert_with(now_ms);
        let mut wanted = to_copy;
        wanted.retain(|number| copy_step(&self.plans[*number]).copy_mode == CopyMode::Snapshot);
        self.under_snapshot = wanted.len();
        if wanted.is_empty() {
            return Ok(());
        }
        let copying = Copying::open(
            &self.shared,
            &self.plans,
            &wanted,
            (self.slot_at, self.slot_snapshot.as_ref()),
            self.options.copiers,
        );
        self.copying = Some(Arc::new(copying.await?));
        Ok(())
    }

    /// Every machine has said from where on it follows.
    fn follow(&mut self) {
        let dealer = Dealer::new(self.members.iter().map(|member| member.applied));
        let start = dealer.start();
        let direction = self.shared.direction();
        let sources = self.plans.iter().map(|plan| &copy_step(plan).source);
        let shapes = sources
            .clone()
            .map(|source| Shape::of(source, source.full_identity));
        let leader = self.shared.leader();
        let (reader, items) = Reader::start(ReaderOptions {
            connect: leader.config.clone(),
            slot: self.shared.slot(direction),
            publication: self.shared.publication(direction),
            shapes: shapes.collect(),
            binary: sources.clone().all(|source| source.binary),
            start,
            history: Some(History {
                system_identifier: leader.server.system_identifier,
                timeline: self.timeline,
            }),
            limits: ReaderLimits::default(),
        });
        reader.acknowledge(start);
        self.dealer = Some(dealer);
        self.reader = Some(reader);
        self.items = Some(items);
    }

    async fn wake(
        &mut self,
        tick: &mut tokio::time::Interval,
        stop_heard: &mut bool,
    ) -> Result<Option<Outcome>, Failure> {
        let wants = !self.silenced && self.members.iter().all(|member| member.machine.wants_stream());
        let timeout = self
            .members
            .iter()
            .filter_map(|member| member.machine.poll_timeout())
            .min();
        let (items, stop) = (self.items.as_mut(), &mut self.stop);
        let woken = tokio::select! {
            // The loop holds a sender itself: there is always somebody to wait for.
            Some((number, heard)) = self.heard.recv() => Wake::Heard(number, heard),
            items = receive(items), if wants => Wake::Items(items),
            Some(ask) = self.asks.recv() => Wake::Asked(ask),
            _ = stop.wait_for(|asked| *asked), if !*stop_heard && !self.silenced => Wake::StopAsked,
            () = at(timeout), if !self.silenced => Wake::TimeOut,
            _ = tick.tick() => Wake::Tick,
            Some(ended) = self.tasks.join_next() => Wake::Ended(ended),
        };
        match woken {
            // What the workers of a leg that has ended still say is nobody's business.
            Wake::Heard(_, Ok(Heeded::HandedOver(outcome))) => return self.handed_over(outcome?),
            Wake::Heard(..) if self.silenced => {}
            Wake::Heard(number, heard) => {
                let heard = heard.map_err(|failure| match number {
                    Some(number) => failure.about(&format!("{}: ", self.table(number))),
                    None => failure,
                });
                return self.hear(number, heard?);
            }
            Wake::Items(Some(items)) => return self.deal(items),
            Wake::Items(None) => return Err(self.stream_ended().await),
            Wake::Asked(ask) => self.asked_by_hand_over(ask),
            Wake::StopAsked => {
                *stop_heard = true;
                // A hand-over that is not decided is taken back by the end of its session.
                return Ok(Some(Outcome::Stopped(Stop::Interrupted, None)));
            }
            Wake::TimeOut => return self.time_out(),
            Wake::Tick => {
                self.members.iter_mut().for_each(|member| member.hands.reap());
                self.publish();
            }
            Wake::Ended(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Wake::Ended(_) => {}
        }
        Ok(None)
    }

    fn hear(&mut self, number: Option<usize>, heeded: Heeded) -> Result<Option<Outcome>, Failure> {
        match (number, heeded) {
            (Some(number), Heeded::Message(Message::Event(event))) => return self.event(number, event),
            (Some(number), Heeded::Message(Message::Note(note))) => self.note(number, note),
            (Some(number), Heeded::ApplyAlone(piece)) => {
                self.members[number].hands.perform(Command::Apply(piece))?;
            }
            (_, Heeded::Message(_) | Heeded::ApplyAlone(_)) => {}
            (_, Heeded::Asked { ask, at }) => return self.asked(ask, at),
            (
                _,
                Heeded::Measured {
                    reference,
                    lag_bytes,
                    retained_bytes,
                },
            ) => {
                self.measured = (lag_bytes, retained_bytes);
                for number in 0..self.members.len() {
                    if let Some(outcome) = self.event(number, Event::Reference(reference.clone()))? {
                        return Ok(Some(outcome));
                    }
                }
                let max = self.shared.plan.limits.retained_wal_max_bytes;
                if max.is_some_and(|max| retained_bytes > max) {
                    let retained = retained_bytes;
                    return Ok(Some(Outcome::Stopped(Stop::WalBudget { retained }, None)));
                }
            }
            (_, Heeded::Finished) => self.finished = true,
            (_, Heeded::HandedOver(outcome)) => return self.handed_over(outcome?),
        }
        Ok(None)
    }

    fn event(&mut self, number: usize, event: Event) -> Result<Option<Outcome>, Failure> {
        if self.silenced {
            return Ok(None);
        }
        let Member { machine, hands, .. } = &mut self.members[number];
        hands.observe(&event);
        let before = machine.activity();
        machine.handle_event(Instant::now(), event);
        let after = machine.activity();
        if before != after {
            tracing::info!(table = number, from = ?before, to = ?after, "activity");
        }
        self.perform_all(number)
    }

    fn time_out(&mut self) -> Result<Option<Outcome>, Failure> {
        let now = Instant::now();
        for number in 0..self.members.len() {
            let machine = &mut self.members[number].machine;
            if machine.poll_timeout().is_some_and(|timeout| timeout <= now) {
                machine.handle_timeout(now);
                if let Some(outcome) = self.perform_all(number)? {
                    return Ok(Some(outcome));
                }
            }
        }
        Ok(None)
    }

    fn deal(&mut self, items: Vec<StreamItem>) -> Result<Option<Outcome>, Failure> {
        let Some(dealer) = &mut self.dealer else {
            return Ok(None);
        };
        for (number, item) in dealer.deal(items) {
            if let Some(outcome) = self.event(number, Event::Stream(item))? {
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    fn note(&mut self, number: usize, note: crate::context::Note) {
        match note {
            crate::context::Note::Verified { found, unverified } => self.compared(number, found, unverified),
            crate::context::Note::Line(line) => {
                let line = format!("{}: {line}", self.table(number));
                tracing::info!("{line}");
                self.note = Some(line);
            }
            crate::context::Note::LockQueue(_) | crate::context::Note::Swapped { .. } => {}
        }
    }

    fn table(&self, number: usize) -> &TableName {
        &copy_step(&self.plans[number]).source.name
    }

    async fn stream_ended(&mut self) -> Failure {
        self.items = None;
        let again = "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` \
                     ends the move.";
        failure_of(self.reader.take(), again).await
    }
}

fn machine_options(options: &MoveOptions, tables: usize) -> Options {
    let queue = (QUEUE_BYTES / tables.max(1)).clamp(512 << 10, 6 << 20);
    Options {
        copiers: options.copiers,
        cutover_when_ready: false,
        roll_back: false,
        old_snapshots: OldSnapshots::Accept,
        // When it is to be compared the loop says.
        verify: false,
        repair: false,
        feed: FeedLimits {
            queue_bytes_max: queue,
            piece_bytes_max: queue.min(4 << 20),
            ..FeedLimits::default()
        },
    }
}

/// The workers of one table; what they say is passed on with its number.
fn hands(
    shared: &Arc<Shared>,
    plan: &Plan,
    number: usize,
    tell: &mpsc::UnboundedSender<Heard>,
    tasks: &mut JoinSet<()>,
) -> Hands {
    let (answers, mut answered) = mpsc::unbounded_channel::<crate::context::Answer>();
    let tell = tell.clone();
    tasks.spawn(async move {
        while let Some(answer) = answered.recv().await {
            if tell.send((Some(number), answer.map(Heeded::Message))).is_err() {
                return;
            }
        }
    });
    let (leader, follower) = (shared.leader(), shared.follower());
    let mut context = Context::new(leader.config.clone(), plan.clone(), follower.generation, answers);
    context.far = Some(Far {
        config: follower.config.clone(),
        writes_for: shared.name().to_string(),
    });
    let (_, nothing) = mpsc::unbounded_channel();
    let (note, _) = watch::channel(None);
    Hands::new(Arc::new(context), nothing, Report::default(), note)
}
