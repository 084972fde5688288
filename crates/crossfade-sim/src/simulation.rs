//! One run: what is in it, and the loop that chooses what happens next.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossfade_core::change::StreamItem;
use crossfade_core::migration::{Activity, Ask, Event};
use crossfade_core::phase::Phase;
use crossfade_core::plan::Plan;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;

use crate::breach::Breach;
use crate::coverage::{Coverage, Reached};
use crate::dice::Dice;
use crate::engine::Engine;
use crate::fault::Zombie;
use crate::history::History;
use crate::planted::Planted;
use crate::scenario::{Scenario, TOO_MUCH_WAL};
use crate::shell::chunks::StoredChunk;
use crate::target::Rows;
use crate::world::{Exclusive, World};

/// What came of one seed.
#[derive(Debug)]
pub struct Run {
    /// What a checker found, if one did.
    pub result: Result<(), Breach>,
    /// What was reached.
    pub coverage: Coverage,
    /// What happened, step by step, if it was asked for.
    pub trace: Vec<String>,
}

/// Quiet steps within which a migration must end.
const QUIET_STEPS: u64 = 30_000;
/// Steps of the writers after the end.
const STEPS_AFTER: u64 = 30;

/// What the state schema, the target and the slot hold: all that a new engine finds.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    /// The applied LSN and the copy's snapshot.
    pub(crate) copied: Option<(Lsn, Snapshot)>,
    /// What the target was last aligned with.
    pub(crate) aligned: Option<Snapshot>,
    /// The last verification found a difference.
    pub(crate) equal: Option<bool>,
    /// The ledger rows of the incremental copy, whose slot's snapshot is in `copied`.
    pub(crate) chunks: Vec<StoredChunk>,
    pub(crate) unproven: BTreeSet<Xid>,
    pub(crate) rows: Rows,
    pub(crate) unique_index: bool,
    /// The slot's `confirmed_flush_lsn`.
    pub(crate) slot: Option<Lsn>,
    /// Transactions that committed after the slot's consistent point and that the copy contains.
    pub(crate) copied_late: BTreeSet<Xid>,
    /// From here on the target is consistent at every boundary: the insert position after the copy's snapshot.
    pub(crate) consistent_from: Lsn,
    /// When rows were last applied, on the world's clock.
    pub(crate) last_apply: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The new table is in place.
    Done,
    /// Given up, by an operator or at the WAL budget.
    GivenUp,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) dice: Dice,
    pub(crate) scenario: Scenario,
    pub(crate) planted: Option<Planted>,
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) engine: Option<Engine>,
    pub(crate) zombies: Vec<Zombie>,
    pub(crate) history: History,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Option<Vec<String>>,
    pub(crate) start: Instant,
    pub(crate) now: Instant,
    pub(crate) steps: u64,
    pub(crate) end: Option<End>,
    /// Swaps that failed or whose answer was lost.
    pub(crate) swap_faults: u32,
    /// The machine was told an id since ids were burned.
    pub(crate) reference_told: bool,
    /// The target's rows at the moment of the swap.
    pub(crate) swapped_rows: Rows,
}

/// Runs one seed, with or without a planted bug.
pub fn run(seed: u64, planted: Option<Planted>, trace: bool) -> Run {
    let mut simulation = Simulation::new(seed, planted, trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| simulation.run()));
    let result = outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Breach::Panicked {
            message: text.unwrap_or("without a message").to_owned(),
        })
    });
    Run {
        result,
        coverage: simulation.coverage,
        trace: simulation.trace.unwrap_or_default(),
    }
}

impl Simulation {
    fn new(seed: u64, planted: Option<Planted>, trace: bool) -> Self {
        let mut dice = Dice::new(seed);
        let scenario = Scenario::roll(&mut dice);
        let mut world = World::new(&mut dice, &scenario);
        world.lock_is_shared = planted == Some(Planted::LockIsShared);
        let start = Instant::now();
        let mut simulation = Simulation {
            history: History::new(&world.base),
            store: Store {
                phase: Phase::Planned,
                paused: false,
                copied: None,
                aligned: None,
                equal: None,
                chunks: Vec::new(),
                unproven: BTreeSet::new(),
                rows: Rows::new(),
                unique_index: false,
                slot: None,
                copied_late: BTreeSet::new(),
                consistent_from: Lsn(0),
                last_apply: 0,
            },
            engine: None,
            zombies: Vec::new(),
            coverage: Coverage::default(),
            trace: trace.then(Vec::new),
            start,
            now: start,
            steps: 0,
            end: None,
            swap_faults: 0,
            reference_told: true,
            swapped_rows: Rows::new(),
            dice,
            scenario,
            planted,
            world,
        };
        let scenario = format!("{:?}", simulation.scenario);
        simulation.note(|| scenario);
        simulation
    }

    /// One line of the trace.
    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            let milliseconds = self.now.duration_since(self.start).as_millis();
            trace.push(format!("{:>6} {milliseconds:>6} ms  {}", self.steps, line()));
        }
    }

    pub(crate) fn is_planted(&self, bug: Planted) -> bool {
        self.planted == Some(bug)
    }

    /// Faults are over and the end must come.
    pub(crate) fn is_calm(&self) -> bool {
        self.steps > self.scenario.stormy_steps
    }

    /// The plan, with limits that are generous once faults are over: so an operator would resume it.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = self.scenario.plan();
        if self.is_calm() {
            plan.limits.execution_max_ms = None;
            plan.limits.cutover_max_ms = 600_000;
            plan.limits.hold_budget_ms = 5_000;
        }
        plan
    }

    fn run(&mut self) -> Result<(), Breach> {
        for _ in 0..self.dice.below(40) {
            self.world.step(&mut self.dice, &self.scenario, false);
        }
        while self.end.is_none() {
            self.step()?;
            if self.steps > self.scenario.stormy_steps + QUIET_STEPS {
                return Err(Breach::NoProgress {
                    steps: QUIET_STEPS,
                    activity: self.engine.as_ref().map(|engine| engine.machine.activity()),
                });
            }
        }
        for _ in 0..STEPS_AFTER {
            self.world.step(&mut self.dice, &self.scenario, false);
        }
        self.check_end()
    }

    fn step(&mut self) -> Result<(), Breach> {
        self.steps += 1;
        self.now += Duration::from_millis(self.dice.below(3));
        let calm = self.is_calm();
        // What a writer still does while our request waits for it is what the drain must not miss (T22).
        let hurry = self.world.exclusive == Exclusive::Wanted;
        if hurry || self.dice.chance(self.scenario.load) {
            for _ in 0..self.dice.below(4) {
                self.world.step(&mut self.dice, &self.scenario, calm && !hurry);
            }
        }
        if self.steps.is_multiple_of(8) {
            self.observe_world();
        }
        self.burn_xids();
        self.wake_zombies()?;
        self.fault()?;
        if self.engine.is_none() {
            return if self.dice.chance(20) {
                self.start_engine()
            } else {
                Ok(())
            };
        }
        self.operate()?;
        match self.dice.below(100) {
            0..50 => self.advance_task(),
            50..80 => self.deliver(),
            80..95 => self.pass_time(false),
            _ => self.pass_time(true),
        }
    }

    /// Hands an event to the machine and performs or queues what it wants.
    pub(crate) fn tell(&mut self, event: Event) -> Result<(), Breach> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        engine.machine.handle_event(self.now, event);
        self.collect()
    }

    /// The next item of the stream, if the machine reads on.
    fn deliver(&mut self) -> Result<(), Breach> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let Some(stream) = &mut engine.stream else {
            return Ok(());
        };
        if !engine.machine.wants_stream() {
            self.coverage.reach(Reached::BackPressure);
            return Ok(());
        }
        let Some(item) = stream.receive(&self.world.wal, &mut self.dice, &self.scenario) else {
            return Ok(());
        };
        self.note(|| describe(&item));
        self.tell(Event::Stream(item))
    }

    /// Lets the machine see the time, or, when nothing else can happen, brings its next moment.
    fn pass_time(&mut self, jump: bool) -> Result<(), Breach> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let Some(due) = engine.machine.poll_timeout() else {
            return Ok(());
        };
        if jump && engine.tasks.is_empty() {
            self.now = self.now.max(due);
        }
        if due > self.now {
            return Ok(());
        }
        engine.machine.handle_timeout(self.now);
        self.collect()
    }

    /// What operators do.
    fn operate(&mut self) -> Result<(), Breach> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let ready = engine.machine.activity() == Activity::Ready;
        let paused = engine.machine.is_paused();
        if self.scenario.abort_at.is_some_and(|step| self.steps >= step) {
            return self.tell(Event::Asked(Ask::Abort));
        }
        if self.scenario.wal_budget_at == Some(self.steps) {
            return self.tell(Event::RetainedWal(TOO_MUCH_WAL));
        }
        if self.scenario.burns_xids && self.dice.once_in(20) {
            self.reference_told = true;
            return self.tell(Event::Reference(self.world.snapshot().to_core()));
        }
        if paused && (self.is_calm() || self.dice.once_in(60)) {
            self.coverage.reach(Reached::Continued);
            self.store.paused = false;
            return self.tell(Event::Asked(Ask::Continue));
        }
        if ready && self.dice.once_in(self.scenario.verify_asked_interval) {
            self.coverage.reach(Reached::VerifyAsked);
            return self.tell(Event::Asked(Ask::Verify));
        }
        if ready && !self.scenario.cutover_when_ready && self.dice.once_in(10) {
            self.coverage.reach(Reached::CutoverAsked);
            return self.tell(Event::Asked(Ask::Cutover));
        }
        if self.is_calm() || !self.dice.once_in(300) {
            return Ok(());
        }
        if self.dice.chance(50) {
            self.coverage.reach(Reached::Paused);
            self.store.paused = true;
            self.tell(Event::Asked(Ask::Pause))
        } else {
            self.tell(Event::Asked(Ask::Interrupt))
        }
    }

    /// Other applications use up ids, never so many that the oldest one the slot may still send is ambiguous.
    fn burn_xids(&mut self) {
        const BURN: u64 = 1 << 29;
        if !self.scenario.burns_xids || !self.reference_told || !self.dice.once_in(60) {
            return;
        }
        let next = self.world.next_xid().0;
        let commits = self.world.wal.commits();
        let slot = self.store.slot.unwrap_or(self.world.wal.insert_position());
        let pending = &commits[commits.partition_point(|commit| commit.start < slot)..];
        let pending = pending.iter().map(|commit| commit.xid);
        let active = self.world.active.keys().copied();
        let unsent = pending.chain(active).min().map_or(next, |xid| xid.0);
        if next + BURN - unsent < (1 << 31) - (1 << 20) {
            self.coverage.reach(Reached::XidsBurned);
            self.world.burn_xids(BURN);
            self.reference_told = false;
        }
    }

    fn observe_world(&mut self) {
        let flushed = self.world.wal.flushed();
        for transaction in self.world.active.values() {
            if transaction.committed.is_some_and(|end| end <= flushed) {
                self.coverage.reach(Reached::DecodedInvisible);
            }
            if transaction.is_truncate() {
                self.coverage.reach(Reached::Truncated);
            }
        }
        let commits = self.world.wal.commits();
        if let [.., before, last] = commits {
            let reached = [
                (last.start == before.end, Reached::CommitAdjoins),
                (last.xid < before.xid, Reached::CommitsOutOfOrder),
                (last.xid.0 >> 32 != before.xid.0 >> 32, Reached::EpochCrossed),
                (
                    last.end > flushed && !self.world.active.contains_key(&last.xid),
                    Reached::VisibleUnflushed,
                ),
                (
                    last.after_swap && !last.changes.is_empty(),
                    Reached::WrittenAfterSwap,
                ),
            ];
            for (_, place) in reached.into_iter().filter(|(holds, _)| *holds) {
                self.coverage.reach(place);
            }
        }
        if self.world.readers.iter().any(|reader| reader.waits) {
            self.coverage.reach(Reached::ReaderQueued);
        }
    }
}

fn describe(item: &StreamItem) -> String {
    match item {
        StreamItem::Transaction(part) => format!(
            "stream: xid {} {}{} changes{}",
            part.xid,
            if part.first { "" } else { "… " },
            part.changes.len(),
            part.commit_lsn
                .map_or(String::new(), |lsn| format!(", committed at {lsn}")),
        ),
        StreamItem::Keepalive { wal_end } => format!("stream: nothing up to {wal_end}"),
    }
}
