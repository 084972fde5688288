//! The machine of a whole migration: phases, what runs when, and when it may be cut over.
//!
//! ```text
//!  prepare ─► open snapshot ─► copy ranges ─► record chunk ─► key index ─► drain the backlog
//!     ─► other indexes ─► drain ─► analyze ─► verify ─► ready ─► prepare the way back ─► cutover ─► finish
//! ```
//!
//! With a way back the migration goes on after the swap, in the other direction: see `back.rs`.
//!
//! An engine that starts again enters this line at its durable phase; whatever it finds half done before
//! `copied` begins again (R11), and everything after it is safe to find already done. Pause is a flag: it holds
//! back ranges, index builds, the verification and the cutover, never changes.

mod back;
mod command;
mod verifying;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use command::{Ask, Command, Event, OpenedChunk, RangeId, Stop};

use crate::change::StreamItem;
use crate::copy::{Chunks, Ranges, SourceRewritten};
use crate::cutover::{Cutover, CutoverCommand, CutoverEvent, OldSnapshots, Outcome};
use crate::feed::{Feed, FeedCounts, FeedLimits, FeedStep};
use crate::ledger::{CopiedChunk, Ledger};
use crate::order::KeyOrder;
use crate::phase::Phase;
use crate::piece::marker;
use crate::plan::{CopyMode, CopyStep, Plan, Step};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;
use crate::verify::{Verification, VerifyCommand, VerifyProgress};
use crate::way_back::{Direction, Threshold};

/// What a machine is told once, at its start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Sessions that copy at the same time.
    pub copiers: usize,
    /// Cut over without being asked.
    pub cutover_when_ready: bool,
    /// After the swap, go back without being asked.
    pub roll_back: bool,
    /// See [`OldSnapshots`].
    pub old_snapshots: OldSnapshots,
    /// Compare every row before the migration is ready.
    pub verify: bool,
    /// Bounds of pieces and queue.
    pub feed: FeedLimits,
}

/// What the state schema holds of a migration.
#[derive(Clone, Debug)]
pub struct Durable {
    /// How far it has come.
    pub phase: Phase,
    /// Held back.
    pub paused: bool,
    /// What the target holds.
    pub copy: CopyState,
    /// The applied LSN of the reverse stream, once it has begun.
    pub back: Option<Lsn>,
    /// The retired table refused a row that comes behind it.
    pub back_closed: bool,
    /// What the target was last aligned with: it has all of what this sees.
    pub aligned: Option<Snapshot>,
    /// The last verification did not find every row equal.
    pub differs: bool,
    /// A snapshot of this server's life, taken after the position was read, in or after a transaction that was begun
    /// after that: every transaction applied so far is seen, or listed as in progress.
    pub now: Snapshot,
}

/// What is known durably of the copy.
#[derive(Clone, Debug)]
pub enum CopyState {
    /// Nothing that can be gone on with.
    Nothing,
    /// The whole table was copied under one snapshot.
    Whole {
        /// The applied LSN.
        applied: Lsn,
        /// That of the copy.
        snapshot: Snapshot,
    },
    /// The table is copied in chunks.
    Chunked {
        /// The applied LSN.
        applied: Lsn,
        /// The snapshot of the slot's consistent point.
        slot: Snapshot,
        /// The ledger rows, in the order of their numbers.
        chunks: Vec<CopiedChunk>,
        /// Rows in them.
        rows: u64,
        /// Transactions of which a change was dropped for a chunk that was still to be read (R6).
        unproven: Vec<Xid>,
    },
}

/// Numbers for progress and report; counted since this engine started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Ranges of the copy, or chunks that are known so far, and how many are done.
    pub ranges: (u32, u32),
    /// Rows copied.
    pub rows_copied: u64,
    /// See [`FeedCounts`].
    pub feed: FeedCounts,
    /// Changes applied under the cutover's lock.
    pub last_drain: u64,
    /// Changes that wait in memory.
    pub waiting: usize,
    /// See [`Feed::applied`].
    pub applied: Lsn,
    /// See [`Feed::received`].
    pub received: Lsn,
    /// Cutover attempts so far.
    pub attempts: u32,
    /// See [`VerifyProgress`].
    pub verify: VerifyProgress,
}

/// What the machine is at. One line of the module's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Publication, schema, shadow.
    Preparing,
    /// Slot and snapshot.
    OpeningSnapshot,
    /// Copying ranges.
    Copying,
    /// Writing the ledger row.
    RecordingChunk,
    /// Building the index by which changes are applied.
    BuildingKeyIndex,
    /// Applying what came during the copy.
    DrainingBacklog,
    /// Building the other indexes.
    BuildingIndexes,
    /// Applying what came during the index builds.
    Draining,
    /// `ANALYZE`.
    Analyzing,
    /// Comparing every row.
    Verifying,
    /// Following; a cutover may be asked for.
    Ready,
    /// Publication and slot of the reverse stream.
    PreparingBack,
    /// In a cutover.
    CuttingOver,
    /// After the swap.
    Finishing,
    /// Reading the reverse stream up to the swap.
    SeekingSwap,
    /// The retired table follows; a rollback may be asked for.
    FollowingBack,
    /// The retired table has refused a row.
    BackClosed,
    /// Ended.
    Stopped,
}

/// A drain round shorter than this part of the hold budget has caught up: under the lock, where nothing is added,
/// what is left takes no longer.
const CAUGHT_UP_SHARE: u32 = 4;
/// How long positions at which nothing was changed may wait before they are written down.
const FLUSH_INTERVAL: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Migration {
    plan: Plan,
    options: Options,
    phase: Phase,
    activity: Activity,
    paused: bool,
    /// A cutover was asked for, or a rollback after one.
    swap_asked: bool,
    /// Publication and slot of the reverse stream are there.
    back_prepared: bool,
    /// Where the reverse stream goes on, if it has begun.
    back: Option<Lsn>,
    /// A row was refused, and has not been taken since.
    reopening: bool,
    /// Until the swap has come by in the reverse stream.
    threshold: Option<Threshold>,
    interrupt: Option<Stop>,
    /// The snapshot copy's.
    ranges: Option<Ranges>,
    /// The incremental copy's, while the phase is `copying`.
    chunks: Option<Chunks>,
    reference: Xid,
    feed: Option<Feed>,
    acknowledged: Lsn,
    round: Round,
    flush_at: Option<Instant>,
    stop_at: Option<Instant>,
    cutover: Cutover,
    verification: Verification,
    /// Every row is to be compared before anything else when the target is ready.
    must_verify: bool,
    /// See [`Durable::aligned`] and [`Durable::now`].
    inherited: (Option<Snapshot>, Snapshot),
    /// A round runs that an attempt, or a pair of snapshots, waits for.
    catching_up: bool,
    /// Waits until no transaction of a fetch holds a lock on the source.
    deferred_lock: Option<CutoverCommand>,
    /// Waits until it is known whether the cutover's session has the lock.
    deferred_fetch: Option<FeedStep>,
    /// A fetch's transaction is open, outside the cutover's session, and holds a lock on the source.
    fetch_open: bool,
    applied_at_lock: u64,
    last_drain: u64,
    commands: VecDeque<Command>,
}

/// One round of a drain: up to a position read at its start.
#[derive(Debug, Default)]
struct Round {
    /// Positions asked for and not answered: only the last answer counts.
    asked: u32,
    target: Option<Lsn>,
    started: Option<Instant>,
}

impl Round {
    /// A position is asked for; `started`: within a drain that began then.
    fn begin(&mut self, started: Option<Instant>) {
        self.asked += 1;
        self.target = None;
        self.started = started;
    }

    fn position(&mut self, now: Instant, lsn: Lsn) {
        self.asked -= 1;
        if self.asked == 0 {
            self.target = Some(lsn);
            self.started.get_or_insert(now);
        }
    }
}

impl Migration {
    /// A machine at the place where the durable state is.
    pub fn new(now: Instant, plan: Plan, durable: Durable, options: Options) -> Self {
        let cutover = Cutover::new(plan.limits.clone(), options.old_snapshots);
        let stop_at = plan
            .limits
            .execution_max_ms
            .filter(|_| durable.phase < Phase::Swapped)
            .map(|max| now + Duration::from_millis(max));
        let verification =
            Verification::new(plan.limits.verify_time(), copy_step(&plan).source.key.is_some());
        let mut machine = Migration {
            swap_asked: match durable.phase >= Phase::Swapped {
                true => options.roll_back,
                false => options.cutover_when_ready,
            },
            back_prepared: false,
            back: durable.back,
            reopening: durable.back_closed,
            threshold: None,
            phase: durable.phase,
            activity: Activity::Preparing,
            paused: durable.paused,
            interrupt: None,
            ranges: None,
            chunks: None,
            reference: durable.now.xmax(),
            inherited: (durable.aligned.clone(), durable.now.clone()),
            feed: None,
            acknowledged: Lsn(0),
            round: Round::default(),
            flush_at: Some(now + FLUSH_INTERVAL),
            stop_at,
            cutover,
            verification,
            // A difference once found is not forgotten because the next engine is told not to look.
            must_verify: durable.differs || (options.verify && durable.phase < Phase::Ready),
            catching_up: false,
            deferred_lock: None,
            deferred_fetch: None,
            fetch_open: false,
            applied_at_lock: 0,
            last_drain: 0,
            commands: VecDeque::new(),
            plan,
            options,
        };
        machine.enter(durable);
        machine
    }

    fn enter(&mut self, durable: Durable) {
        match (durable.phase, durable.copy) {
            (Phase::Planned, _) => self.commands.push_back(Command::Prepare),
            (Phase::Prepared, _) => self.record(Phase::Copying),
            (Phase::Copied | Phase::Following | Phase::Ready, CopyState::Whole { applied, snapshot }) => {
                self.follow(Ledger::whole(snapshot), applied);
                self.inherit();
            }
            // The phase was recorded when the target was consistent.
            (Phase::Copied | Phase::Following | Phase::Ready, CopyState::Chunked { applied, .. }) => {
                self.follow(Ledger::settled(), applied);
                self.inherit();
            }
            (
                Phase::Copying,
                CopyState::Chunked {
                    applied,
                    slot,
                    chunks,
                    rows,
                    unproven,
                },
            ) => {
                self.follow_chunks(applied, slot, chunks, rows, unproven);
                self.inherit();
            }
            (Phase::Swapped | Phase::RolledBack, _) => self.finish(),
            (Phase::Completed, _) => self.stop(Stop::Done),
            (Phase::Aborted, _) => self.stop(Stop::Aborted),
            // Without a ledger row nothing is provable of a target half filled: the copy begins again.
            (Phase::Copying | Phase::Copied | Phase::Following | Phase::Ready, _) => self.open_copy(),
        }
    }

    /// What it is at.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// How far it has come, durably.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Held back by an operator.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// A swap, in that direction, that was asked for and has not been achieved: for whoever begins again where this
    /// machine's connections were lost.
    pub fn wants_swap(&self) -> Option<Direction> {
        let wanted = self.swap_asked || self.activity == Activity::CuttingOver;
        wanted.then(|| self.direction())
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The cutover's lock is held, or may be.
    pub fn is_locked(&self) -> bool {
        self.cutover.is_locked()
    }

    /// Numbers for progress and report.
    pub fn progress(&self) -> Progress {
        let feed = self.feed.as_ref();
        Progress {
            ranges: self
                .ranges
                .as_ref()
                .map_or_else(|| feed.map_or((0, 0), Feed::chunks), Ranges::counts),
            rows_copied: self.ranges.as_ref().map_or(0, Ranges::rows)
                + self.chunks.as_ref().map_or(0, Chunks::rows),
            feed: feed.map(Feed::counts).unwrap_or_default(),
            last_drain: self.last_drain,
            waiting: feed.map_or(0, Feed::waiting),
            applied: feed.map_or(Lsn(0), Feed::applied),
            received: feed.map_or(Lsn(0), Feed::received),
            attempts: self.cutover.attempt(),
            verify: self.verification.progress(),
        }
    }

    /// Whether the stream should be read on.
    pub fn wants_stream(&self) -> bool {
        self.threshold.is_some() || self.feed.as_ref().is_some_and(Feed::has_capacity)
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When [`Migration::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.activity == Activity::Stopped {
            return None;
        }
        let ranges = self.ranges.as_ref().and_then(Ranges::poll_timeout);
        let chunks = self.chunks.as_ref().and_then(Chunks::poll_timeout);
        let verification = self.verification.poll_timeout();
        let cutover = self.cutover.poll_timeout();
        [cutover, verification, ranges, chunks, self.flush_at, self.stop_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let past = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        if past(self.stop_at) {
            self.stop_at = None;
            self.interrupt.get_or_insert(Stop::OutOfTime);
        }
        if self
            .ranges
            .as_mut()
            .is_some_and(|ranges| ranges.handle_timeout(now))
        {
            self.copy_on();
        }
        let flush = past(self.flush_at);
        if flush {
            self.flush_at = Some(now + FLUSH_INTERVAL);
        }
        self.cutover.handle_timeout(now);
        self.verification.handle_timeout(now);
        self.go_on(now, flush);
    }

    /// Takes what happened.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Prepared => self.record(Phase::Prepared),
            Event::PhaseRecorded => self.phase_recorded(),
            Event::SnapshotOpened {
                consistent_point,
                snapshot,
                ranges,
            } => {
                self.reference = snapshot.xmax();
                self.ranges = Some(Ranges::new(consistent_point, snapshot, ranges));
                self.activity = Activity::Copying;
                self.copy_on();
            }
            Event::SlotOpened {
                consistent_point,
                snapshot,
            } => {
                self.reference = snapshot.xmax();
                self.follow_chunks(consistent_point, snapshot, Vec::new(), 0, Vec::new());
            }
            Event::ChunkOpened(opened) => {
                if let Some(chunks) = &mut self.chunks {
                    chunks.opened(opened);
                }
            }
            Event::ChunkCopied { id, rows } => {
                if let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) {
                    chunks.copied(now, id, rows);
                    feed.chunk_recorded(id);
                }
            }
            Event::ChunkFailed { id } => {
                if let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) {
                    chunks.failed(now, id);
                    feed.chunk_failed(id);
                }
            }
            Event::RangeCopied { range: _, rows } => self.range_copied(now, rows),
            Event::ChunkRecorded => self.chunk_recorded(),
            Event::KeyIndexBuilt if self.chunks.is_some() => self.activity = Activity::Copying,
            Event::KeyIndexBuilt => self.drain(Activity::DrainingBacklog),
            Event::IndexesBuilt => self.record(Phase::Following),
            Event::Analyzed => self.become_ready(),
            Event::InsertPosition(lsn) => self.round.position(now, lsn),
            Event::Stream(item) => self.receive(item),
            Event::Routed(homes) => {
                let step = self.feed.as_mut().and_then(|feed| feed.routed(homes));
                self.perform(step);
            }
            Event::Classified(classes) => {
                let step = self.feed.as_mut().and_then(|feed| feed.classified(classes));
                self.perform(step);
            }
            Event::Fetched {
                snapshot,
                rows,
                reach,
            } => {
                let step = self
                    .feed
                    .as_mut()
                    .and_then(|feed| feed.fetched(snapshot, rows, reach));
                self.perform(step);
            }
            Event::PieceApplied => self.piece_applied(),
            Event::PieceRefused { reason } => self.piece_refused(reason),
            Event::BackPrepared => self.back_prepared(now),
            Event::BackBegun => self.back_begun(),
            Event::BackClosed => self.back_closed(),
            Event::BackReopened => {}
            Event::Cutover(event) => self.cutover_event(now, event),
            Event::Verify(event) => self.verify_event(now, event),
            Event::Finished => self.finished(),
            Event::Asked(ask) => self.asked(ask),
            Event::Reference(snapshot) => {
                self.reference = snapshot.xmax();
                if let Some(feed) = &mut self.feed {
                    feed.observe(&snapshot);
                }
            }
            Event::RetainedWal(retained) => {
                if self
                    .plan
                    .limits
                    .retained_wal_max_bytes
                    .is_some_and(|max| retained > max)
                {
                    self.interrupt.get_or_insert(Stop::WalBudget { retained });
                }
            }
        }
        self.go_on(now, false);
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Pause => self.paused = true,
            Ask::Continue => {
                self.paused = false;
                if self.activity == Activity::BackClosed {
                    self.stop(Stop::Again);
                }
                self.copy_on();
            }
            Ask::Cutover => self.swap_asked |= self.direction() == Direction::Forward,
            Ask::Rollback => self.swap_asked |= self.direction() == Direction::Back,
            Ask::Verify => self.must_verify = true,
            Ask::Abort => self.interrupt = Some(Stop::Aborted),
            Ask::Interrupt => {
                self.interrupt.get_or_insert(Stop::Interrupted);
            }
        }
    }

    fn record(&mut self, phase: Phase) {
        self.phase = phase;
        self.commands.push_back(Command::RecordPhase(phase));
    }

    fn phase_recorded(&mut self) {
        match self.phase {
            Phase::Prepared => self.record(Phase::Copying),
            Phase::Copying => self.open_copy(),
            // Of the incremental copy; the snapshot copy records it with the ledger row.
            Phase::Copied => self.build_indexes(),
            Phase::Following => self.drain(Activity::Draining),
            Phase::Ready => self.activity = Activity::Ready,
            // These are recorded in the transactions that make them true.
            Phase::Planned | Phase::Swapped | Phase::RolledBack | Phase::Completed | Phase::Aborted => {}
        }
    }

    fn open_copy(&mut self) {
        self.activity = Activity::OpeningSnapshot;
        self.commands.push_back(match copy_step(&self.plan).copy_mode {
            CopyMode::Snapshot => Command::OpenSnapshot,
            CopyMode::Incremental => Command::OpenSlot,
        });
    }

    /// Keeps every copier busy, unless held back.
    fn copy_on(&mut self) {
        let Some(ranges) = self.ranges.as_mut() else {
            return;
        };
        if self.activity != Activity::Copying || self.paused {
            return;
        }
        while let Some(range) = ranges.begin(self.options.copiers) {
            self.commands.push_back(Command::CopyRange(range));
        }
        if ranges.is_done() {
            self.activity = Activity::RecordingChunk;
            self.commands.push_back(Command::RecordChunk {
                consistent_point: ranges.consistent_point(),
                snapshot: ranges.snapshot().clone(),
                rows: ranges.rows(),
            });
        }
    }

    fn range_copied(&mut self, now: Instant, rows: u64) {
        let delay = self.plan.limits.chunk_delay();
        if let Some(ranges) = &mut self.ranges {
            ranges.copied(now, rows, delay);
        }
        self.copy_on();
    }

    fn chunk_recorded(&mut self) {
        let Some(ranges) = &self.ranges else { return };
        self.phase = Phase::Copied;
        self.commands.push_back(Command::CloseSnapshot);
        let ledger = Ledger::whole(ranges.snapshot().clone());
        self.follow(ledger, ranges.consistent_point());
    }

    /// From here on the copy's chunks and the stream go on side by side.
    fn follow_chunks(
        &mut self,
        applied: Lsn,
        slot: Snapshot,
        copied: Vec<CopiedChunk>,
        rows: u64,
        unproven: Vec<Xid>,
    ) {
        let step = copy_step(&self.plan);
        let Some(key) = &step.source.key else { return };
        let order = KeyOrder::new(key, &step.source.columns);
        self.chunks = Some(Chunks::new(&step.estimate, &self.plan.limits, rows));
        self.follow(Ledger::chunked(order, slot, copied, unproven), applied);
    }

    fn follow(&mut self, ledger: Ledger, applied: Lsn) {
        let step = copy_step(&self.plan);
        self.feed = Some(Feed::new(
            &step.source,
            &step.targets,
            ledger,
            applied,
            self.reference,
            self.options.feed,
        ));
        self.acknowledged = applied;
        self.commands.push_back(Command::Follow { from: applied });
        self.activity = Activity::BuildingKeyIndex;
        self.commands.push_back(Command::BuildKeyIndex);
    }

    fn drain(&mut self, activity: Activity) {
        self.activity = activity;
        self.round.begin(None);
        self.commands.push_back(Command::ReadInsertPosition);
    }

    fn receive(&mut self, item: StreamItem) {
        let item = match self.direction() {
            Direction::Forward => Some(item),
            Direction::Back => self.back_item(item),
        };
        let Some(item) = item else { return };
        if let Some(Err(error)) = self.feed.as_mut().map(|feed| feed.receive(item)) {
            self.interrupt.get_or_insert(Stop::CannotFollow(error));
        }
    }

    fn perform(&mut self, step: Option<FeedStep>) {
        let command = match step {
            None => return,
            Some(FeedStep::Fetch { keys, .. }) if self.is_aligning() => {
                Command::Verify(VerifyCommand::Fetch { keys })
            }
            Some(FeedStep::Apply(piece)) => Command::Apply(piece),
            Some(FeedStep::Route { keys, bounds }) => Command::Route { keys, bounds },
            Some(FeedStep::Classify(keys)) => Command::Classify(keys),
            // It would queue behind our own request for the lock, and then stand in its way.
            Some(step @ FeedStep::Fetch { .. }) if self.must_wait_for_lock() => {
                self.deferred_fetch = Some(step);
                return;
            }
            Some(FeedStep::Fetch { keys, same_snapshot }) => {
                let locked = self.cutover.is_locked();
                let same_snapshot = same_snapshot && self.fetch_open;
                self.fetch_open |= !locked;
                Command::Fetch {
                    keys,
                    same_snapshot,
                    locked,
                }
            }
        };
        self.commands.push_back(command);
    }

    fn piece_applied(&mut self) {
        let Some(feed) = self.feed.as_mut() else { return };
        feed.piece_applied();
        if feed.is_at_boundary() && std::mem::take(&mut self.reopening) {
            self.commands.push_back(Command::ReopenBack);
        }
        if feed.is_at_boundary() && std::mem::take(&mut self.fetch_open) {
            self.commands.push_back(Command::EndFetch);
        }
        if feed.applied() > self.acknowledged {
            self.acknowledged = feed.applied();
            self.commands.push_back(Command::Acknowledge(self.acknowledged));
        }
    }

    fn cutover_event(&mut self, now: Instant, event: CutoverEvent) {
        if event == CutoverEvent::Locked {
            self.applied_at_lock = self.progress().feed.applied;
            // Attempts are numbered anew by every engine, and a former one's marker may have been replayed.
            if let Some(feed) = &mut self.feed {
                feed.forget_markers();
            }
        }
        self.cutover.handle_event(now, event);
    }

    /// A cutover ends with an answer or, between two attempts, with its time.
    fn cutover_ended(&mut self) {
        if self.activity != Activity::CuttingOver {
            return;
        }
        match self.cutover.outcome().cloned() {
            None => {}
            Some(Outcome::Swapped) => {
                self.last_drain = self.progress().feed.applied - self.applied_at_lock;
                self.swapped();
            }
            Some(Outcome::GaveUp { obstacle, attempts }) => {
                self.stop(Stop::CutoverNotAchieved { obstacle, attempts });
            }
        }
    }

    /// With a way back another machine begins, over the step backwards: nothing of this one may touch a table again.
    fn swapped(&mut self) {
        match (self.direction(), self.has_way_back()) {
            (Direction::Forward, true) => {
                self.phase = Phase::Swapped;
                self.stop(Stop::Again);
            }
            (Direction::Forward, false) => {
                self.phase = Phase::Swapped;
                self.finish();
            }
            (Direction::Back, _) => {
                self.phase = Phase::RolledBack;
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        self.activity = Activity::Finishing;
        self.commands.push_back(Command::Finish);
    }

    fn stop(&mut self, stop: Stop) {
        if self.activity != Activity::Stopped {
            self.activity = Activity::Stopped;
            self.commands.push_back(Command::Stop(stop));
        }
    }

    /// After every event: what has become possible.
    fn go_on(&mut self, now: Instant, flush: bool) {
        self.cutover_ended();
        if self.activity == Activity::Stopped {
            return;
        }
        // A swap that may be committed is neither interrupted nor forgotten. What comes after it the next engine can
        // finish, but no bound of a migration that is still to be swapped counts any more.
        let may_stop = match self.activity {
            Activity::Finishing => matches!(self.interrupt, Some(Stop::Interrupted)),
            _before => !self.cutover.is_swapping(),
        };
        if may_stop && let Some(stop) = self.interrupt.take() {
            return self.stop(stop);
        }
        // Before the feed forms its next piece: under writers that never pause the only boundaries are between two.
        self.round_on(now);
        self.verified();
        self.ready_on(now);
        self.verify_on(now);
        self.feed_on(flush);
        self.chunks_on(now);
        self.drain_to_marker();
        self.cutover_on();
    }

    /// A fetch of a batch whose transaction is open must run, so that the batch can end and the lock, which waits
    /// for that, can be asked for. While the lock is given back the cutover's session is nobody's.
    fn must_wait_for_lock(&self) -> bool {
        let asked = self.cutover.is_locking() && self.deferred_lock.is_none() && !self.fetch_open;
        asked || self.cutover.is_unlocking()
    }

    fn cutover_on(&mut self) {
        if self.cutover.is_catching_up() && !self.catching_up {
            self.catching_up = true;
            self.drain(self.activity);
        }
        if !self.must_wait_for_lock() {
            let step = self.deferred_fetch.take();
            self.perform(step);
        }
        while let Some(command) = self.deferred_lock.take().or_else(|| self.cutover.poll_command()) {
            if matches!(command, CutoverCommand::Lock { .. }) && self.fetch_open {
                self.deferred_lock = Some(command);
                return;
            }
            self.commands.push_back(Command::Cutover(command));
        }
    }

    /// Keeps the applier busy, except while indexes are built (R25) and after the swap.
    fn feed_on(&mut self, flush: bool) {
        let applying = match self.activity {
            Activity::DrainingBacklog | Activity::Draining | Activity::Analyzing => true,
            Activity::Ready | Activity::PreparingBack | Activity::FollowingBack => true,
            Activity::Copying => self.chunks.is_some(),
            Activity::Verifying => !self.verification.holds_applier(),
            Activity::CuttingOver => !self.cutover.is_locked() || self.cutover.is_draining(),
            Activity::Preparing
            | Activity::OpeningSnapshot
            | Activity::RecordingChunk
            | Activity::BuildingKeyIndex
            | Activity::BuildingIndexes
            | Activity::Finishing
            | Activity::SeekingSwap
            | Activity::BackClosed
            | Activity::Stopped => false,
        };
        let applying = applying && !self.waits_for_mending();
        let flush = flush || self.round.target.is_some() || self.cutover.is_draining();
        if applying {
            let step = self.feed.as_mut().and_then(|feed| feed.poll(flush));
            self.perform(step);
        }
    }

    /// Ends a round of a drain when its position is applied; the round that took no time was the last.
    fn round_on(&mut self, now: Instant) {
        // A position that was asked for before a truncate began the copy again is of no use to it.
        if self.activity == Activity::Copying {
            self.round.target = None;
        }
        let (Some(target), Some(feed)) = (self.round.target, self.feed.as_ref()) else {
            return;
        };
        if feed.applied() < target || !feed.is_at_boundary() || self.paused {
            return;
        }
        let started = self.round.started.unwrap_or(now);
        self.round.target = None;
        if now.saturating_duration_since(started) > self.plan.limits.hold_budget() / CAUGHT_UP_SHARE {
            self.round.begin(Some(now));
            self.commands.push_back(Command::ReadInsertPosition);
        } else {
            self.caught_up(now);
        }
    }

    fn caught_up(&mut self, now: Instant) {
        self.catching_up = false;
        if self.activity == Activity::CuttingOver {
            self.cutover.caught_up(now);
        } else if self.activity == Activity::DrainingBacklog && self.phase == Phase::Copying {
            self.settle();
        } else if self.activity == Activity::Verifying {
            self.open_pair(now);
        } else if self.activity == Activity::DrainingBacklog && self.phase < Phase::Following {
            self.build_indexes();
        } else if self.phase < Phase::Ready {
            self.activity = Activity::Analyzing;
            self.commands.push_back(Command::Analyze);
        } else if self.direction() == Direction::Forward {
            self.become_ready();
        }
    }

    fn build_indexes(&mut self) {
        self.activity = Activity::BuildingIndexes;
        self.commands.push_back(Command::BuildIndexes);
    }

    /// The stream has passed every snapshot of the chunks: the target is consistent, and stays so at every boundary.
    fn settle(&mut self) {
        self.activity = Activity::RecordingChunk;
        if let Some(feed) = &mut self.feed {
            feed.settle();
        }
        self.record(Phase::Copied);
    }

    /// Goes on with the chunks of the incremental copy.
    fn chunks_on(&mut self, now: Instant) {
        let (Some(chunks), Some(feed)) = (&mut self.chunks, &mut self.feed) else {
            return;
        };
        match self.activity {
            // A truncate that came behind the last chunk has emptied the ledger.
            Activity::DrainingBacklog if self.phase == Phase::Copying && !feed.is_whole() => {
                self.activity = Activity::Copying;
                self.round.target = None;
            }
            Activity::Copying => {}
            _elsewhere => return,
        }
        let copiers = if self.paused { 0 } else { self.options.copiers };
        match chunks.go_on(now, feed, copiers) {
            Ok(commands) => self.commands.extend(commands),
            Err(SourceRewritten) => {
                self.interrupt.get_or_insert(Stop::SourceRewritten);
            }
        }
        if feed.is_whole() && chunks.is_idle() {
            self.drain(Activity::DrainingBacklog);
        }
    }

    fn ready_on(&mut self, now: Instant) {
        if self.paused {
            return;
        }
        if self.must_verify && self.is_following() {
            self.become_ready();
        }
        if !self.swap_asked {
            return;
        }
        match self.activity {
            // Creating a slot waits for whoever is writing: never under the lock.
            Activity::Ready if self.has_way_back() && !self.back_prepared => {
                self.activity = Activity::PreparingBack;
                self.commands.push_back(Command::PrepareBack);
            }
            Activity::Ready => self.start_cutover(now),
            // A row that was refused may be refused again, and the drain would never end.
            Activity::FollowingBack if !self.reopening => self.start_cutover(now),
            _elsewhere => {}
        }
    }

    fn back_prepared(&mut self, now: Instant) {
        self.back_prepared = true;
        self.activity = Activity::Ready;
        self.ready_on(now);
    }

    fn start_cutover(&mut self, now: Instant) {
        self.swap_asked = false;
        self.activity = Activity::CuttingOver;
        self.cutover.start(now);
    }

    fn drain_to_marker(&mut self) {
        if !self.cutover.is_draining() {
            return;
        }
        let Some(feed) = self.feed.as_ref() else { return };
        let content = marker(self.plan.name.as_str(), self.cutover.attempt());
        if feed.is_at_boundary() && feed.passed_marker(&content).is_some() {
            self.cutover.drained();
        }
    }
}

/// The step that copies. A plan of this release has exactly one.
pub fn copy_step(plan: &Plan) -> &CopyStep {
    let Step::CopyIntoTables(step) = &plan.steps[0];
    step
}
