//! The machine of a whole migration: phases, what runs when, and when it may be cut over.
//!
//! ```text
//!  prepare ─► open snapshot ─► copy ranges ─► record chunk ─► key index ─► drain the backlog
//!     ─► other indexes ─► drain ─► analyze ─► verify ─► ready ─► prepare the way back ─► cutover ─► finish
//! ```
//!
//! The stream begins with the copy, since the server reads its log at a bounded pace and the copy's own rows are in it; what
//! it brings waits. A backlog that is no more than a piece is not drained before the other indexes.
//!
//! With a way back the migration goes on after the swap, in the other direction: see `back.rs`.
//!
//! An engine that starts again enters this line at its durable phase; whatever it finds half done before
//! `copied` begins again (R11), and everything after it is safe to find already done. Pause is a flag: it holds
//! back ranges, index builds, the verification and the cutover, never changes. The gate for pace ([`crate::pace`]) holds
//! back the same but for the cutover.

mod applying;
mod back;
mod command;
mod copying;
mod cutting_over;
mod detecting;
mod durable;
mod progress;
mod proofs;
mod verifying;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

pub use command::{Ask, Command, Event, OpenedChunk, RangeId, Stop};
pub use durable::{CopyState, Durable, Options};
pub use progress::{Activity, Progress};
pub use proofs::Invisible;
pub(crate) use proofs::Proofs;

use crate::copy::{Chunks, Ranges};
use crate::cutover::{Cutover, CutoverCommand};
use crate::detector::{Detector, Seen};
use crate::feed::{Feed, FeedStep};
use crate::ledger::Ledger;
use crate::pace::{Closed, Pace};
use crate::phase::Phase;
use crate::plan::{CopyStep, Plan, Step};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;
use crate::verify::Verification;
use crate::way_back::{Direction, Threshold};

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
    pace: Pace,
    /// Work of its own that waits for the gate.
    due: Option<Command>,
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
    /// As the durable state has it; see [`Migration::seen`].
    detected: Seen,
    /// While the retired table follows.
    detector: Option<Detector>,
    /// The last verification, in this direction, found rows that differ.
    differs: bool,
    interrupt: Option<Stop>,
    /// The snapshot copy's.
    ranges: Option<Ranges>,
    /// The incremental copy's, while the phase is `copying`.
    chunks: Option<Chunks>,
    reference: Xid,
    proofs: Proofs,
    /// See [`Progress::invisible`].
    invisible: Option<Invisible>,
    /// Before the next fetch; longer and longer as long as the last one came too early.
    fetch_pause: Duration,
    feed: Option<Feed>,
    acknowledged: Lsn,
    round: Round,
    flush_at: Option<Instant>,
    stop_at: Option<Instant>,
    cutover: Cutover,
    verification: Verification,
    /// Every row is to be compared before anything else when the target is ready.
    must_verify: bool,
    /// What differs then is to be repaired.
    must_repair: bool,
    /// See [`Durable::aligned`] and [`Durable::now`].
    inherited: (Option<Snapshot>, Snapshot, Vec<Xid>),
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
    /// Of a hand-over to another server, which this machine does not perform: where it is to have come to.
    awaited: Option<Bytes>,
    commands: VecDeque<Command>,
}

/// One round of a drain: up to a position read at its start.
#[derive(Debug, Default)]
struct Round {
    /// Positions asked for and not answered. Which answer is to which question nobody says, so the highest counts when
    /// all are there.
    asked: u32,
    highest: Lsn,
    target: Option<Lsn>,
    started: Option<Instant>,
}

impl Round {
    /// A position is asked for; `started`: within a drain that began then.
    fn begin(&mut self, started: Option<Instant>) {
        if self.asked == 0 {
            self.highest = Lsn(0);
        }
        self.asked += 1;
        self.target = None;
        self.started = started;
    }

    fn position(&mut self, now: Instant, lsn: Lsn) {
        self.asked -= 1;
        self.highest = self.highest.max(lsn);
        if self.asked == 0 {
            self.target = Some(self.highest);
            self.started.get_or_insert(now);
        }
    }
}

impl Migration {
    /// A machine at the place where the durable state is.
    pub fn new(now: Instant, plan: Plan, durable: Durable, options: Options) -> Self {
        let back = durable.phase >= Phase::Swapped && copy_step(&plan).back.is_some();
        let cutover = match back {
            true => Cutover::new(plan.limits.clone(), options.old_snapshots).with_detector(),
            false => Cutover::new(plan.limits.clone(), options.old_snapshots),
        };
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
            detected: durable.detected,
            detector: None,
            differs: durable.equal == Some(false),
            phase: durable.phase,
            activity: Activity::Preparing,
            paused: durable.paused,
            pace: Pace::new(&plan.limits),
            due: None,
            interrupt: None,
            ranges: None,
            chunks: None,
            reference: durable.now.xmax(),
            proofs: Proofs::new(plan.limits.proof_wait()),
            invisible: None,
            fetch_pause: Duration::ZERO,
            inherited: (
                durable.aligned.clone(),
                durable.now.clone(),
                durable.committing.clone(),
            ),
            feed: None,
            acknowledged: Lsn(0),
            round: Round::default(),
            flush_at: Some(now + FLUSH_INTERVAL),
            stop_at,
            cutover,
            verification,
            must_verify: options.repair || must_verify(&durable, options.verify),
            must_repair: options.repair,
            catching_up: false,
            deferred_lock: None,
            deferred_fetch: None,
            fetch_open: false,
            applied_at_lock: 0,
            last_drain: 0,
            awaited: None,
            commands: VecDeque::new(),
            plan,
            options,
        };
        machine.enter(durable);
        machine.begin_due();
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

    /// Whoever hands the table over to another server writes this marker, whose content is that of no other, with all
    /// writers shut out.
    pub fn await_marker(&mut self, now: Instant, content: Bytes) {
        self.awaited = Some(content);
        self.go_on(now, false);
    }

    /// Everything up to the awaited marker is in the target, durably, and nothing is on its way there.
    pub fn has_passed_marker(&self) -> bool {
        let (Some(feed), Some(content)) = (&self.feed, &self.awaited) else {
            return false;
        };
        feed.is_at_boundary() && feed.passed_marker(content).is_some()
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

    /// Why nothing more is begun but what changes need; `None`: the gate for pace is open.
    fn closed(&self) -> Option<Closed> {
        let asks = match self.activity {
            Activity::OpeningSnapshot
            | Activity::Copying
            | Activity::RecordingChunk
            | Activity::BuildingKeyIndex
            | Activity::DrainingBacklog
            | Activity::BuildingIndexes
            | Activity::Draining
            | Activity::Analyzing
            | Activity::Verifying => true,
            // Nothing begins here, or what does is a cutover's.
            Activity::Preparing
            | Activity::Ready
            | Activity::PreparingBack
            | Activity::CuttingOver
            | Activity::Finishing
            | Activity::SeekingSwap
            | Activity::FollowingBack
            | Activity::BackClosed
            | Activity::Stopped => false,
        };
        let applying = self.feed.is_some() && self.due.is_none() && !self.is_copying_whole();
        self.pace.closed(applying).filter(|_| asks)
    }

    /// Why nothing more is begun but what changes need, but for the pauses between chunks, which are too short to tell.
    pub fn held_back_by(&self) -> Option<Closed> {
        self.closed().filter(|closed| *closed != Closed::Resting)
    }

    /// Nothing is begun that can wait: by an operator, or by the gate for pace.
    fn is_held_back(&self) -> bool {
        self.paused || self.closed().is_some()
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

    /// What the cutover waits for, in words.
    pub fn cutover_waits_for(&self) -> Option<&str> {
        self.cutover.waits_for()
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
            ledger: feed.map(|feed| feed.ledger().branches()).unwrap_or_default(),
            last_drain: self.last_drain,
            waiting: feed.map_or(0, Feed::waiting),
            // Nothing is before the copy's ledger row is there.
            applied: feed
                .filter(|_| !self.is_copying_whole())
                .map_or(Lsn(0), Feed::applied),
            received: feed.map_or(Lsn(0), Feed::received),
            attempts: self.cutover.attempt(),
            invisible: self.invisible,
            verify: self.verification.progress(),
            strays: self.seen().strays,
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
        let pace = self.pace.poll_timeout();
        let chunks = self.chunks.as_ref().and_then(Chunks::poll_timeout);
        let verification = self.verification.poll_timeout();
        let cutover = self.cutover.poll_timeout();
        [cutover, verification, pace, chunks, self.flush_at, self.stop_at]
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
        self.pace.handle_timeout(now);
        let flush = past(self.flush_at);
        if flush {
            self.flush_at = Some(now + FLUSH_INTERVAL);
        }
        self.cutover.handle_timeout(now);
        self.give_up_waiting(now);
        self.verification.handle_timeout(now);
        self.detector_on(flush);
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
            } => self.snapshot_opened(consistent_point, snapshot, ranges),
            Event::SlotOpened {
                consistent_point,
                snapshot,
            } => self.slot_opened(consistent_point, snapshot),
            Event::ChunkOpened(opened) => self.chunk_opened(opened),
            Event::ChunkCopied { id, rows } => self.chunk_copied(now, id, rows),
            Event::ChunkFailed { id } => self.chunk_failed(now, id),
            Event::RangeCopied { range: _, rows } => self.range_copied(now, rows),
            Event::ChunkRecorded => self.chunk_recorded(),
            Event::KeyIndexBuilt => self.key_index_built(),
            Event::IndexesBuilt => self.record(Phase::Following),
            Event::Analyzed => self.become_ready(),
            Event::InsertPosition(lsn) => self.round.position(now, lsn),
            Event::Stream(item) => self.receive(item),
            Event::Detected(item) => self.detector_received(&item),
            Event::SeenNoted => self.seen_noted(),
            Event::Routed(homes) => self.feed_step(|feed| feed.routed(homes)),
            Event::Classified(classes) => self.feed_step(|feed| feed.classified(classes)),
            Event::Fetched {
                snapshot,
                rows,
                reach,
            } => self.fetched(now, snapshot, rows, reach),
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
            Event::Reference(snapshot) => self.observe(now, &snapshot),
            Event::RetainedWal(retained) => self.retained(retained),
            Event::Observed(observation) => self.pace.observe(observation),
            Event::Copiers(copiers) => self.options.copiers = copiers,
        }
        self.detector_on(false);
        self.go_on(now, false);
    }

    fn begin_due(&mut self) {
        if !self.is_held_back() {
            self.commands.extend(self.due.take());
        }
    }

    fn observe(&mut self, now: Instant, snapshot: &Snapshot) {
        self.reference = snapshot.xmax();
        self.proofs.observe(snapshot);
        if let Some(feed) = &mut self.feed {
            feed.observe(snapshot);
            let unseen = feed.unproven().filter(|xid| !snapshot.sees(*xid));
            unseen.for_each(|xid| self.proofs.miss(now, xid));
        }
        self.detector_observes(snapshot);
    }

    fn retained(&mut self, retained: u64) {
        let max = self.plan.limits.retained_wal_max_bytes;
        if max.is_some_and(|max| retained > max) {
            self.interrupt.get_or_insert(Stop::WalBudget { retained });
        }
        self.pace.retained(retained);
    }

    fn asked(&mut self, ask: Ask) {
        match ask {
            Ask::Pause => self.paused = true,
            Ask::Continue => {
                self.paused = false;
                if self.activity == Activity::BackClosed {
                    self.stop(Stop::Again);
                }
            }
            Ask::Cutover => self.swap_asked |= self.direction() == Direction::Forward,
            Ask::Rollback => self.swap_asked |= self.direction() == Direction::Back,
            Ask::Verify => self.must_verify = true,
            Ask::Repair => (self.must_verify, self.must_repair) = (true, true),
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
            // Of the incremental copy; the snapshot copy records it with the ledger row. The builds may have to wait
            // for the gate, and changes never do.
            Phase::Copied => self.drain(Activity::DrainingBacklog),
            Phase::Following => self.drain(Activity::Draining),
            Phase::Ready => self.activity = Activity::Ready,
            // These are recorded in the transactions that make them true.
            Phase::Planned | Phase::Swapped | Phase::RolledBack | Phase::Completed | Phase::Aborted => {}
        }
    }

    /// An engine that starts again finds the key index, or builds it at once: changes come before the gate.
    fn follow(&mut self, ledger: Ledger, applied: Lsn) {
        self.follow_from(ledger, applied);
        self.commands.push_back(Command::BuildKeyIndex);
    }

    fn follow_from(&mut self, ledger: Ledger, applied: Lsn) {
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
    }

    fn drain(&mut self, activity: Activity) {
        self.activity = activity;
        self.round.begin(None);
        self.commands.push_back(Command::ReadInsertPosition);
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
        self.invisible = self.proofs.latest(now);
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
        self.copy_on();
        self.begin_due();
        self.chunks_on(now);
        self.drain_to_marker();
        self.look_up_to_the_lock();
        self.cutover_on();
    }

    fn build_indexes(&mut self) {
        self.activity = Activity::BuildingIndexes;
        self.commands.push_back(Command::BuildIndexes);
    }
}

/// Whether every row is to be compared before a swap. A difference once found is not forgotten because the next engine is
/// told not to look; and what a former one was told not to look at is looked at.
fn must_verify(durable: &Durable, wanted: bool) -> bool {
    match durable.equal {
        Some(true) => wanted && durable.phase < Phase::Ready,
        // After the swap the retired table goes on following; before a rollback it is compared again.
        Some(false) => durable.phase < Phase::Swapped,
        None => wanted && durable.phase < Phase::Swapped,
    }
}

/// The step that copies. A plan of this release has exactly one.
pub fn copy_step(plan: &Plan) -> &CopyStep {
    let Step::CopyIntoTables(step) = &plan.steps[0];
    step
}

#[cfg(test)]
mod tests;
