//! The loop of one engine of a move: many machines, one stream, and at most one hand-over.
//!
//! The loop owns machines, workers and stream, and waits for nothing but the next thing that happens. What the machines
//! want of things that many tables share (stream, snapshot, positions, notes) it gives to shared workers; the rest goes to
//! each table's own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_core::change::StreamItem;
use crossfade_core::code::FailureCode;
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::feed::FeedLimits;
use crossfade_core::migration::{Activity, Ask as Asked, Command, Event, Migration, Options, RangeId, Stop};
use crossfade_core::moves::Dealer;
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::plan::Plan;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_replication::reader::{History, Reader, ReaderHandle, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::Shape;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::copy::Copying;
use super::hand_over::{self, HandedOver, hand_over};
use super::load::Loaded;
use super::run::MoveOptions;
use super::shared::Shared;
use super::workers::{self, Note};
use crate::context::{Context, Far, Message};
use crate::failure::{DEFECT, Failure};
use crate::hands::{Hands, failure_of, statements};
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
    Asked(Asked),
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

/// Sessions that apply whole batches. Each has the tables of every so many numbers, and one commit for all that wait.
const LANES: usize = 4;
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
}

/// How the loop ended.
pub(crate) enum Outcome {
    /// A machine has stopped, or the process was asked to.
    Stopped(Stop),
    /// The other server leads now.
    HandedOver {
        held: Duration,
        attempts: u32,
        switch_failed: Option<Failure>,
    },
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

/// What it publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    /// By table: name, activity, rows copied, changes applied.
    pub(crate) tables: Vec<ShownTable>,
    pub(crate) report: Report,
    pub(crate) rows_expected: u64,
    pub(crate) lag_bytes: u64,
    pub(crate) retained_bytes: u64,
    pub(crate) paused: bool,
    pub(crate) ready: bool,
    pub(crate) handing_over: bool,
    pub(crate) note: Option<String>,
    pub(crate) waits_for: Option<String>,
}

/// One table of [`Shown`].
#[derive(Clone, Debug)]
pub(crate) struct ShownTable {
    pub(crate) name: String,
    pub(crate) activity: Activity,
    pub(crate) progress: crossfade_core::migration::Progress,
    pub(crate) equal: bool,
    pub(crate) rows_expected: u64,
}

/// See the module.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    plans: Arc<Vec<Plan>>,
    options: MoveOptions,
    members: Vec<Member>,
    copying: Option<Arc<Copying>>,
    slot_at: Lsn,
    still_copying: usize,
    dealer: Option<Dealer>,
    reader: Option<ReaderHandle>,
    items: Option<mpsc::Receiver<Vec<StreamItem>>>,
    heard: mpsc::UnboundedReceiver<Heard>,
    tell: mpsc::UnboundedSender<Heard>,
    notes: mpsc::UnboundedSender<(usize, Note)>,
    positions: mpsc::UnboundedSender<usize>,
    lanes: Vec<mpsc::UnboundedSender<(usize, Piece)>>,
    builds: Arc<Semaphore>,
    tasks: JoinSet<()>,
    asks: mpsc::UnboundedReceiver<hand_over::Ask>,
    ask: mpsc::UnboundedSender<hand_over::Ask>,
    /// Answered when every table has passed the marker.
    draining: Option<oneshot::Sender<()>>,
    wants_hand_over: bool,
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
        } = loaded;
        let plans = Arc::new(plans);
        let mut tasks = JoinSet::new();
        let (notes, notes_seen) = mpsc::unbounded_channel();
        let (positions, positions_seen) = mpsc::unbounded_channel();
        tasks.spawn(workers::write_down(
            Arc::clone(&shared),
            Arc::clone(&plans),
            notes_seen,
            tell.clone(),
        ));
        tasks.spawn(workers::read_positions(
            Arc::clone(&shared),
            positions_seen,
            tell.clone(),
        ));
        let lanes = (0..LANES.min(plans.len())).map(|_| {
            let (lane, batches) = mpsc::unbounded_channel();
            let (shared, plans) = (Arc::clone(&shared), Arc::clone(&plans));
            tasks.spawn(workers::apply_together(shared, plans, batches, tell.clone()));
            lane
        });
        let lanes = lanes.collect();
        let now = Instant::now();
        let still_copying = durables
            .iter()
            .filter(|durable| durable.phase < Phase::Copied)
            .count();
        let machine_options = machine_options(&options, plans.len());
        let mut members = Vec::with_capacity(plans.len());
        for (number, (plan, durable)) in plans.iter().zip(durables).enumerate() {
            let equal = durable.equal == Some(true);
            let hands = hands(&shared, plan, number, &tell, &mut tasks);
            members.push(Member {
                machine: Migration::new(now, plan.clone(), durable, machine_options.clone()),
                hands,
                applied: Lsn(0),
                equal,
            });
        }
        let (ask, asks) = mpsc::unbounded_channel();
        Engine {
            wants_hand_over: options.wants(shared.direction()),
            shared,
            plans,
            options,
            members,
            copying: None,
            slot_at,
            still_copying,
            dealer: None,
            reader: None,
            items: None,
            heard,
            tell,
            notes,
            positions,
            lanes,
            builds: Arc::new(Semaphore::new(BUILDS_MAX)),
            tasks,
            asks,
            ask,
            draining: None,
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

    /// The report so far.
    pub(crate) fn report(&self) -> Report {
        let mut report = self.report.clone();
        for member in &self.members {
            let progress = member.machine.progress();
            let feed = progress.feed;
            match self.shared.direction() {
                Direction::Forward => {
                    report.rows_copied += progress.rows_copied;
                    report.changes_delivered += feed.delivered;
                    report.changes_dropped += feed.dropped;
                    report.changes_applied += feed.applied;
                    report.rows_fetched += feed.fetched;
                }
                Direction::Back => report.changes_carried_back += feed.applied,
            }
        }
        report
    }

    async fn open_copy(&mut self) -> Result<(), Failure> {
        let wanted: Vec<usize> = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.machine.phase() < Phase::Copied)
            .map(|(number, _)| number)
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        self.report.timeline.copy_started.get_or_insert_with(now_ms);
        let copying = Copying::open(
            &self.shared,
            &self.plans,
            &wanted,
            self.slot_at,
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
        let sources = self
            .plans
            .iter()
            .map(|plan| &crossfade_core::migration::copy_step(plan).source);
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
            Wake::Heard(number, heard) => return self.hear(number, heard?),
            Wake::Items(Some(items)) => return self.deal(items),
            Wake::Items(None) => return Err(self.stream_ended().await),
            Wake::Asked(ask) => self.asked_by_hand_over(ask),
            Wake::StopAsked => {
                *stop_heard = true;
                // A hand-over that is not decided is taken back by the end of its session.
                return Ok(Some(Outcome::Stopped(Stop::Interrupted)));
            }
            Wake::TimeOut => return self.time_out(),
            Wake::Tick => self.publish(),
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
            (_, Heeded::Asked(asked)) => return self.asked(asked),
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
                return self.event(0, Event::RetainedWal(retained_bytes));
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
        let machine = &mut self.members[number].machine;
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

    fn perform_all(&mut self, number: usize) -> Result<Option<Outcome>, Failure> {
        while let Some(command) = self.members[number].machine.poll_command() {
            if let Some(stop) = self.perform(number, command)? {
                return Ok(Some(Outcome::Stopped(stop)));
            }
        }
        Ok(None)
    }

    fn perform(&mut self, number: usize, command: Command) -> Result<Option<Stop>, Failure> {
        match command {
            Command::RecordPhase(phase) => self.write_down(number, Note::Phase(phase)),
            Command::OpenSnapshot => {
                if let Some(event) = self.copying.as_ref().and_then(|copying| copying.opened(number)) {
                    self.members[number].machine.handle_event(Instant::now(), event);
                }
            }
            Command::CopyRange(range) => self.copy_range(number, range),
            Command::RecordChunk {
                consistent_point,
                snapshot,
                rows,
            } => {
                let file = self.copying.as_ref().and_then(|copying| copying.file(number));
                let note = Note::Copied {
                    consistent_point,
                    snapshot,
                    rows,
                    file,
                };
                self.write_down(number, note);
            }
            Command::CloseSnapshot => self.table_copied(),
            Command::Follow { from } => {
                self.members[number].applied = from;
                self.members[number].hands.start_applier();
            }
            Command::ReadInsertPosition => {
                let _ = self.positions.send(number);
            }
            Command::Apply(piece) if is_position(&piece) => {
                self.write_down(number, Note::Position(Box::new(piece)));
            }
            Command::Apply(piece) if piece.first && piece.applied.is_some() => {
                let lane = number % self.lanes.len().max(1);
                let _ = self.lanes[lane].send((number, piece));
            }
            Command::Acknowledge(lsn) => self.acknowledge(number, lsn),
            Command::BuildKeyIndex => self.build(number, statements::Build::KeyIndex),
            Command::BuildIndexes => self.build(number, statements::Build::Indexes),
            Command::Stop(stop) => return Ok(Some(stop)),
            command @ (Command::Apply(_)
            | Command::Route { .. }
            | Command::Classify(_)
            | Command::Fetch { .. }
            | Command::EndFetch
            | Command::Analyze
            | Command::Verify(_)) => return self.members[number].hands.perform(command),
            other => {
                let reason = format!("a table of a move asked for {other:?}");
                return Err(Failure::stopped(FailureCode::Defect, reason, DEFECT));
            }
        }
        Ok(None)
    }

    fn write_down(&mut self, number: usize, note: Note) {
        let _ = self.notes.send((number, note));
    }

    fn copy_range(&mut self, number: usize, range: RangeId) {
        let Some(copying) = self.copying.clone() else {
            return;
        };
        let (shared, plans, tell) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.plans),
            self.tell.clone(),
        );
        self.tasks.spawn(async move {
            let copied = copying.copy_range(shared, plans, number, range).await;
            let heeded = copied.map(|event| Heeded::Message(Message::Event(event)));
            let _ = tell.send((Some(number), heeded));
        });
    }

    /// With the last one snapshot and locks are let go.
    fn table_copied(&mut self) {
        self.still_copying = self.still_copying.saturating_sub(1);
        if self.still_copying == 0 {
            self.copying = None;
            self.report.timeline.copy_ended.get_or_insert_with(now_ms);
        }
    }

    fn build(&mut self, number: usize, build: statements::Build) {
        let context = self.members[number].hands.context();
        let (builds, tell) = (Arc::clone(&self.builds), self.tell.clone());
        self.tasks.spawn(async move {
            // It is closed with nobody left to build for.
            let Ok(_turn) = builds.acquire().await else { return };
            let built = statements::build(&context, build).await;
            let heeded = built.map(|event| Heeded::Message(Message::Event(event)));
            let _ = tell.send((Some(number), heeded));
        });
    }

    /// The least of all tables (R22).
    fn acknowledge(&mut self, number: usize, lsn: Lsn) {
        self.members[number].applied = lsn;
        let least = self.members.iter().map(|member| member.applied).min();
        if let (Some(reader), Some(least)) = (&self.reader, least) {
            reader.acknowledge(least);
        }
    }

    fn note(&mut self, number: usize, note: crate::context::Note) {
        match note {
            crate::context::Note::Verified { found, .. } => {
                self.members[number].equal = found.is_equal();
            }
            crate::context::Note::Line(line) => {
                tracing::info!("{line}");
                self.note = Some(line);
            }
            crate::context::Note::LockQueue(_) | crate::context::Note::Swapped { .. } => {}
        }
    }

    fn asked(&mut self, asked: Asked) -> Result<Option<Outcome>, Failure> {
        match (asked, self.shared.direction()) {
            (Asked::Pause, _) => self.paused = true,
            (Asked::Continue, _) => self.paused = false,
            (Asked::Cutover, Direction::Forward) | (Asked::Rollback, Direction::Back) => {
                self.wants_hand_over = true;
            }
            (Asked::Cutover | Asked::Rollback, _) => {}
            (Asked::Verify | Asked::Repair, _) => {
                self.options.verify = true;
                self.members.iter_mut().for_each(|member| member.equal = false);
                return Ok(None);
            }
            (Asked::Abort | Asked::Interrupt, _) => {
                return Ok(Some(Outcome::Stopped(match asked {
                    Asked::Abort => Stop::Aborted,
                    _interrupt => Stop::Interrupted,
                })));
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

    fn asked_by_hand_over(&mut self, ask: hand_over::Ask) {
        match ask {
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

    fn answer_drain(&mut self) {
        let all = |members: &[Member]| members.iter().all(|member| member.machine.has_passed_marker());
        if self.draining.is_some()
            && all(&self.members)
            && let Some(drained) = self.draining.take()
        {
            let _ = drained.send(());
        }
    }

    /// What has become possible for the move as a whole.
    fn go_on(&mut self) -> Result<Option<Outcome>, Failure> {
        if self.silenced || self.handing_over || self.paused {
            return Ok(None);
        }
        if self
            .members
            .iter()
            .any(|member| member.machine.phase() < Phase::Ready)
        {
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

    /// Tables are compared one after the other: each takes as much of both servers as it can get.
    fn verify_next(&mut self) -> Result<Option<Outcome>, Failure> {
        let verifying = |member: &Member| member.machine.activity() == Activity::Verifying;
        if self.members.iter().any(verifying) {
            return Ok(None);
        }
        let ready = |member: &Member| !member.equal && member.machine.activity() == Activity::Ready;
        match self.members.iter().position(ready) {
            Some(number) => self.event(number, Event::Asked(Asked::Verify)),
            None => Ok(None),
        }
    }

    fn finish(&mut self) {
        if std::mem::replace(&mut self.finishing, true) {
            return;
        }
        let (shared, tell) = (Arc::clone(&self.shared), self.tell.clone());
        self.tasks.spawn(async move {
            let finished = super::run::finish_schema(&shared).await;
            let _ = tell.send((None, finished.map(|()| Heeded::Finished)));
        });
    }

    fn begin_hand_over(&mut self) {
        self.handing_over = true;
        let (shared, hooks, ask, tell) = (
            Arc::clone(&self.shared),
            self.options.hooks.clone(),
            self.ask.clone(),
            self.tell.clone(),
        );
        self.tasks.spawn(async move {
            let outcome = hand_over(shared, hooks, ask).await;
            let _ = tell.send((None, Ok(Heeded::HandedOver(outcome))));
        });
    }

    fn handed_over(&mut self, outcome: HandedOver) -> Result<Option<Outcome>, Failure> {
        self.handing_over = false;
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

    async fn stream_ended(&mut self) -> Failure {
        self.items = None;
        let again = "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` \
                     ends the move.";
        failure_of(self.reader.take(), again).await
    }

    fn publish(&mut self) {
        if self.silenced {
            return;
        }
        let tables = self.members.iter().zip(self.plans.iter()).map(|(member, plan)| {
            let step = crossfade_core::migration::copy_step(plan);
            ShownTable {
                name: step.source.name.to_string(),
                activity: member.machine.activity(),
                progress: member.machine.progress(),
                equal: member.equal,
                rows_expected: step.estimate.rows,
            }
        });
        let tables: Vec<ShownTable> = tables.collect();
        let ready = tables.iter().all(|table| table.activity == Activity::Ready);
        let shown = Shown {
            rows_expected: tables.iter().map(|table| table.rows_expected).sum(),
            tables,
            report: self.report(),
            lag_bytes: self.measured.0,
            retained_bytes: self.measured.1,
            paused: self.paused,
            ready,
            handing_over: self.handing_over,
            note: self.note.clone(),
            waits_for: None,
        };
        self.shown.send_replace(shown);
    }
}

/// Nothing but a position: many of them are written down at once.
fn is_position(piece: &Piece) -> bool {
    let empty = piece.puts.is_empty() && piece.deletes.is_empty() && piece.removes.is_empty();
    empty && !piece.truncate && piece.first && piece.applied.is_some()
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
        system_identifier: follower.server.system_identifier,
        writes_for: shared.name().to_string(),
    });
    let (_, nothing) = mpsc::unbounded_channel();
    let (note, _) = watch::channel(None);
    Hands::new(Arc::new(context), nothing, Report::default(), note)
}

async fn receive(items: Option<&mut mpsc::Receiver<Vec<StreamItem>>>) -> Option<Vec<StreamItem>> {
    match items {
        Some(items) => items.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}
