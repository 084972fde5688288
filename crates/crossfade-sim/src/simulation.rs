//! One run: what is in it, and the loop that chooses what happens next.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crossfade_core::change::StreamItem;
use crossfade_core::migration::Event;
use crossfade_core::phase::Phase;
use crossfade_core::plan::Plan;
use crossfade_core::way_back::Direction;

use crate::breach::Breach;
use crate::coverage::{Coverage, Reached};
use crate::dice::Dice;
use crate::engine::Engine;
use crate::fault::Zombie;
use crate::history::History;
use crate::planted::Planted;
use crate::row::{Row, Table};
use crate::scenario::Scenario;
use crate::store::Store;
use crate::target::Rows;
use crate::trace;
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
const QUIET_STEPS: u64 = 120_000;
/// With pieces of one change and a fetch for each, some worlds write faster than any engine applies: after so many quiet
/// steps their writers tire.
const TIRELESS_STEPS: u64 = QUIET_STEPS / 2;
const TIRED_LOAD: u32 = 10;
/// Steps of the writers after the end, at least.
const STEPS_AFTER: u64 = 40;
/// What one seed holds, at least, where it gets to its end.
const TRANSACTIONS_MIN: u64 = 200;
pub(crate) const CHUNKS_MIN: u64 = 8;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The new table is in place.
    Swapped,
    /// The old table is in its place again.
    RolledBack,
    /// The new table is in place, and an operator has ended the way back.
    Completed,
    /// The new table is in place, and the slot of the way back was dropped at the WAL budget.
    WayBackLost,
    /// Given up before the swap, by an operator or at the WAL budget.
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
    /// Rows in the beginning.
    pub(crate) first_rows: Rows,
    /// Chunks or ranges whose rows were committed.
    pub(crate) chunks_copied: u64,
    /// Faults so far.
    pub(crate) faults: u64,
    /// Steps since the last swap.
    pub(crate) steps_after_swap: u64,
    /// How often operators tried to open the way back again.
    pub(crate) reopenings: u32,
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
            history: History::new(target_of(world.base()), 0, Table::Old, Table::New),
            store: Store::new(),
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
            first_rows: world.base().clone(),
            chunks_copied: 0,
            faults: 0,
            steps_after_swap: 0,
            reopenings: 0,
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

    /// Which way rows are carried now.
    pub(crate) fn direction(&self) -> Direction {
        Direction::at(self.store.phase, self.scenario.way_back)
    }

    /// The table that follows the one that applications use.
    pub(crate) fn target(&self) -> Table {
        match self.world.live {
            Table::Old => Table::New,
            Table::New => Table::Old,
        }
    }

    /// Faults are over and the end must come: before the swap, and again after it.
    pub(crate) fn is_calm(&self) -> bool {
        if self.world.live == Table::Old {
            self.steps > self.scenario.stormy_steps && self.store.phase < Phase::RolledBack
        } else {
            self.steps_after_swap > self.scenario.stormy_steps_back
        }
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
            if self.quiet_steps() > QUIET_STEPS {
                return Err(Breach::NoProgress {
                    steps: QUIET_STEPS,
                    activity: self.engine.as_ref().map(|engine| engine.machine.activity()),
                });
            }
        }
        self.start_once_more()?;
        let mut after = 0;
        while after < STEPS_AFTER || self.world.committed < TRANSACTIONS_MIN {
            self.world.step(&mut self.dice, &self.scenario, false);
            if self.steps.wrapping_add(after).is_multiple_of(8) {
                self.observe_world();
            }
            after += 1;
        }
        self.check_size()?;
        self.check_end()
    }

    /// Whoever continues what has ended finds nothing to do, or does it again.
    fn start_once_more(&mut self) -> Result<(), Breach> {
        let startable = match self.end {
            Some(End::Swapped | End::RolledBack | End::Completed) => true,
            Some(End::WayBackLost | End::GivenUp) | None => false,
        };
        if !startable || !self.dice.chance(30) {
            return Ok(());
        }
        let end = self.end.take();
        self.start_engine()?;
        while self.end.is_none() {
            if self.engine.is_none() {
                self.start_engine()?;
            }
            self.advance_task()?;
        }
        if self.end != end {
            return Err(Breach::EndedOtherwise);
        }
        Ok(())
    }

    /// A seed of a few transactions, or without a fault, would prove little.
    fn check_size(&self) -> Result<(), Breach> {
        let gave_up = self.end == Some(End::GivenUp);
        let emptied = self.scenario.truncates;
        if !gave_up && (self.faults == 0 || (self.chunks_copied < CHUNKS_MIN && !emptied)) {
            return Err(Breach::Small {
                chunks: self.chunks_copied,
                faults: self.faults,
            });
        }
        Ok(())
    }

    /// Since nothing fails any more.
    fn quiet_steps(&self) -> u64 {
        let stormy = self.scenario.stormy_steps + self.scenario.stormy_steps_back;
        self.steps.saturating_sub(stormy)
    }

    /// How often writers go on, in percent.
    fn load(&self) -> u32 {
        match self.quiet_steps() {
            ..=TIRELESS_STEPS => self.scenario.load,
            _tired => self.scenario.load.min(TIRED_LOAD),
        }
    }

    fn step(&mut self) -> Result<(), Breach> {
        self.steps += 1;
        self.steps_after_swap += u64::from(self.store.phase >= Phase::Swapped);
        self.now += Duration::from_millis(self.dice.below(3));
        let calm = self.is_calm();
        // What a writer still does while our request waits for it is what the drain must not miss (T22).
        let hurry = self.world.exclusive == Exclusive::Wanted;
        if hurry || self.dice.chance(self.load()) {
            for _ in 0..self.dice.below(4) {
                self.world.step(&mut self.dice, &self.scenario, calm && !hurry);
            }
        }
        if self.steps.is_multiple_of(8) {
            self.observe_world();
        }
        self.burn_xids();
        self.wake_zombies()?;
        self.notice_dead()?;
        self.fault()?;
        if self.engine.is_none() {
            return if self.dice.chance(20) {
                self.start_engine()
            } else {
                Ok(())
            };
        }
        self.operate()?;
        self.observe_standby()?;
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
        if engine.stream_slow_until > self.now {
            return Ok(());
        }
        if !engine.machine.wants_stream() {
            self.coverage.reach(Reached::BackPressure);
            return Ok(());
        }
        let Some(item) = stream.receive(&self.world.wal, &mut self.dice, &self.scenario) else {
            return Ok(());
        };
        let reached = match &item {
            StreamItem::Transaction(part) => part.commit_lsn,
            StreamItem::Keepalive { wal_end } => Some(*wal_end),
        };
        let event = Event::Stream(item);
        self.note(|| trace::event(&event));
        self.tell(event)?;
        // Nobody but the engine writes to the retired table in this world: its detector reads as far, and sees nothing.
        match reached {
            Some(wal_end) => self.tell(Event::Detected(StreamItem::Keepalive { wal_end })),
            None => Ok(()),
        }
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
}

/// The rows of the new table that come of these.
fn target_of(rows: &Rows) -> Rows {
    let own = Table::New.default_own();
    rows.iter()
        .map(|(key, row)| (*key, Row { own, ..*row }))
        .collect()
}
