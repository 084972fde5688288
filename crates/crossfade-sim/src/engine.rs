//! An engine's life: a machine made from the durable state, its sessions, and what becomes of them.

use std::time::Instant;

use crossfade_core::cutover::OldSnapshots;
use crossfade_core::detector::{Seen, Strays};
use crossfade_core::ledger::ChunkId;
use crossfade_core::migration::{Command, Durable, Event, Migration, Options, Stop};
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;
use crossfade_core::verify::{Obstacle, VerifyCommand};
use crossfade_core::way_back::Direction;

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::fault::Zombie;
use crate::pace::Gate;
use crate::planted::Planted;
use crate::row::{SourceChange, Table};
use crate::scenario::Ending;
use crate::shell::Task;
use crate::simulation::{End, Simulation};
use crate::stream::Stream;
use crate::tally::{at, started};
use crate::target::Rows;
use crate::trace;
use crate::world::View;

/// A process with its machine and its sessions. All of it dies with the process.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The table that was in place when it started.
    pub(crate) source: Table,
    pub(crate) machine: Migration,
    /// When it notices that a connection is dead.
    pub(crate) dead_until: Option<Instant>,
    /// Nothing comes through the stream before.
    pub(crate) stream_slow_until: Instant,
    /// Commands that were sent and whose answer has not been delivered.
    pub(crate) tasks: Vec<Task>,
    pub(crate) stream: Option<Stream>,
    /// The session that exported the snapshot holds `ACCESS SHARE`.
    pub(crate) holds_snapshot: bool,
    /// That snapshot, for the copiers.
    pub(crate) snapshot: Option<View>,
    /// Sessions of chunks that are opened or copied.
    pub(crate) chunks: Vec<ChunkSession>,
    pub(crate) fetch: Option<FetchSession>,
    pub(crate) pair: Option<PairOfSnapshots>,
    /// What it was told of the standby.
    pub(crate) gate: Gate,
    /// The target transaction of the open batch.
    pub(crate) batch: Option<OpenBatch>,
}

/// What the verification reads.
#[derive(Debug)]
pub(crate) struct PairOfSnapshots {
    pub(crate) source: View,
    /// The durable insert position read after it.
    pub(crate) position: Lsn,
    /// It holds `ACCESS SHARE` on the source.
    pub(crate) locks: bool,
    /// The target as its snapshot sees it.
    pub(crate) target: Rows,
}

/// The transaction of a chunk.
#[derive(Debug)]
pub(crate) struct ChunkSession {
    pub(crate) id: ChunkId,
    pub(crate) view: View,
    /// It holds `ACCESS SHARE` on the source.
    pub(crate) locks: bool,
}

/// The transaction of the last fetch, kept for another one.
#[derive(Debug)]
pub(crate) struct FetchSession {
    pub(crate) snapshot: View,
    /// The durable insert position read after the snapshot.
    pub(crate) reach: Option<Lsn>,
    /// It holds `ACCESS SHARE` on the source.
    pub(crate) locks: bool,
}

/// Uncommitted pieces.
#[derive(Debug)]
pub(crate) struct OpenBatch {
    pub(crate) rows: Rows,
    pub(crate) pieces: Vec<Piece>,
    /// What the log will say of it.
    pub(crate) changes: Vec<SourceChange>,
    pub(crate) fetched: bool,
}

impl Simulation {
    /// Raises the generation, reads the durable state, makes a machine.
    pub(crate) fn start_engine(&mut self) -> Result<(), Breach> {
        self.check_slot()?;
        if self.store.phase < Phase::Swapped {
            // Of a cutover that was not achieved: nobody reads it.
            self.store.back_slot = None;
        }
        self.coverage.reach(started(self.store.phase));
        let reached = [
            (
                !self.store.chunks.is_empty() && self.store.phase == Phase::Copying,
                Reached::StartedBetweenChunks,
            ),
            (self.store.back.is_some(), Reached::StartedBack),
            (self.store.back_closed, Reached::StartedClosed),
        ];
        self.reach_all(reached);
        let now = self.world.snapshot().to_core();
        let durable = Durable {
            phase: self.store.phase,
            paused: self.store.paused,
            copy: self.store.copy_state(self.scenario.incremental),
            back: self.store.back,
            detected: Seen {
                upto: Some(Lsn(0)),
                strays: Strays::default(),
            },
            aligned: self.store.aligned.clone(),
            equal: self.store.equal,
            committing: now.in_progress().collect(),
            now,
            back_closed: self.store.back_closed,
        };
        let options = Options {
            copiers: self.scenario.copiers,
            cutover_when_ready: self.scenario.cutover_when_ready,
            roll_back: self.scenario.rolls_back_unasked && self.scenario.ending == Ending::RollBack,
            old_snapshots: if self.scenario.accepts_old_snapshots {
                OldSnapshots::Accept
            } else {
                OldSnapshots::Wait
            },
            verify: self.scenario.verifies,
            repair: false,
            feed: self.scenario.feed,
        };
        self.reference_told = true;
        let phase = self.store.phase;
        self.note(|| format!("an engine starts at {phase:?}"));
        self.engine = Some(Engine {
            source: self.world.live,
            machine: Migration::new(self.now, self.plan(), durable, options),
            dead_until: None,
            stream_slow_until: self.now,
            tasks: Vec::new(),
            stream: None,
            holds_snapshot: false,
            snapshot: None,
            chunks: Vec::new(),
            fetch: None,
            pair: None,
            gate: Gate::new(self.scenario.limits.replica_lag_bytes_max.is_some()),
            batch: None,
        });
        self.collect()
    }

    /// Takes the machine's commands: those without an answer are performed at once, the others become tasks.
    pub(crate) fn collect(&mut self) -> Result<(), Breach> {
        loop {
            let Some(engine) = &mut self.engine else {
                return Ok(());
            };
            self.coverage.reach(at(engine.machine.activity()));
            match engine.machine.progress().verify.obstacle {
                Some(Obstacle::Invisible(_)) => self.coverage.reach(Reached::PairInvisible),
                Some(Obstacle::Crowded | Obstacle::Late) => self.coverage.reach(Reached::PairGivenUp),
                None => {}
            }
            if engine.machine.progress().invisible.is_some() {
                self.coverage.reach(Reached::ProofLate);
            }
            let Some(command) = engine.machine.poll_command() else {
                return Ok(());
            };
            self.note(|| format!("  -> {}", trace::command(&command)));
            self.check_pace(&command)?;
            self.take(command)?;
        }
    }

    fn take(&mut self, command: Command) -> Result<(), Breach> {
        match command {
            Command::CloseSnapshot => self.close_snapshot(),
            Command::EndFetch => self.end_fetch(),
            Command::CancelChunk { id } => self.cancel_chunk(id),
            Command::ReleaseChunk { id } => {
                self.coverage.reach(Reached::ChunkReleased);
                self.end_chunk(id);
            }
            Command::Follow { from } => {
                let confirmed = self.store.slot_of(self.direction()).unwrap_or(from);
                let (world, planted) = (&self.world, self.planted);
                if let Some(engine) = &mut self.engine {
                    let stream = Stream::start(&world.wal, world.live, from, confirmed, planted);
                    engine.stream = Some(stream);
                }
            }
            Command::Verify(VerifyCommand::Release) => self.end_pair(),
            // What the detector notes is not modelled: nobody but the engine writes to the retired table here.
            Command::Detect { .. } | Command::AcknowledgeSeen(_) => {}
            Command::NoteSeen(_) => return self.tell(Event::SeenNoted),
            Command::Acknowledge(lsn) => return self.acknowledge(lsn),
            Command::Stop(stop) => return self.stopped(stop),
            other => self.send(other),
        }
        Ok(())
    }

    fn acknowledge(&mut self, lsn: Lsn) -> Result<(), Breach> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let lsn = if self.is_planted(Planted::AcknowledgesReceived) {
            lsn.max(engine.machine.progress().received)
        } else {
            lsn
        };
        let applied = self.store.applied(self.direction()).unwrap_or(Lsn(0));
        if lsn > applied {
            return Err(Breach::AcknowledgedTooMuch {
                acknowledged: lsn,
                applied,
            });
        }
        let slot = self.store.slot_of(self.direction());
        *slot = slot.map(|confirmed| confirmed.max(lsn));
        Ok(())
    }

    /// What was acknowledged is never sent again (R22).
    fn check_slot(&mut self) -> Result<(), Breach> {
        let direction = self.direction();
        let applied = self.store.applied(direction);
        let confirmed = *self.store.slot_of(direction);
        match (confirmed, applied) {
            (Some(acknowledged), Some(applied)) if acknowledged > applied => {
                Err(Breach::AcknowledgedTooMuch {
                    acknowledged,
                    applied,
                })
            }
            (None, _) if self.store.phase == Phase::Swapped && direction == Direction::Back => {
                Err(Breach::NoWayBack)
            }
            _ => Ok(()),
        }
    }

    fn stopped(&mut self, stop: Stop) -> Result<(), Breach> {
        self.note_feed();
        if self.direction() == Direction::Forward && stop != Stop::Again {
            self.store.back_slot = None;
        }
        match stop {
            Stop::Done => {
                self.coverage.reach(Reached::Done);
                self.end = Some(end_of(self.store.phase));
            }
            Stop::Again => {
                if self.is_planted(Planted::Echoes) && self.world.live == Table::New {
                    self.zombies.push(Zombie::Echo(self.world.wal.commits().len()));
                }
            }
            Stop::Aborted => {
                self.coverage.reach(Reached::Aborted);
                self.end = Some(End::GivenUp);
            }
            Stop::WalBudget { .. } => {
                self.slot_dropped();
            }
            Stop::Interrupted => self.coverage.reach(Reached::Interrupted),
            Stop::OutOfTime => self.coverage.reach(Reached::OutOfTime),
            Stop::CutoverNotAchieved { .. } => self.coverage.reach(Reached::GaveUp),
            Stop::NotEqual(_) | Stop::CannotFollow(_) | Stop::SourceRewritten => {
                return Err(Breach::Stopped { stop });
            }
        }
        self.end_engine()
    }

    /// At the WAL budget our slot goes.
    fn slot_dropped(&mut self) {
        let (place, end) = match self.direction() {
            Direction::Forward => (Reached::WalBudget, End::GivenUp),
            Direction::Back => (Reached::BackWalBudget, End::WayBackLost),
        };
        self.coverage.reach(place);
        *self.store.slot_of(self.direction()) = None;
        self.end = Some(end);
    }

    /// The process is gone. What it sent may still run until the next engine raises the generation, which waits
    /// for it; whatever did not commit by then never will (R24).
    pub(crate) fn end_engine(&mut self) -> Result<(), Breach> {
        self.note_feed();
        let tasks = self
            .engine
            .as_mut()
            .map(|engine| std::mem::take(&mut engine.tasks));
        let mut cutover_goes_on = true;
        for mut task in tasks.unwrap_or_default() {
            if task.answer.is_some() {
                continue;
            }
            let in_turn = cutover_goes_on || !task.in_cutover_session();
            if in_turn && self.dice.chance(50) {
                self.perform(&mut task)?;
                cutover_goes_on &= task.answer.is_some() || !task.in_cutover_session();
                if task.answer.is_some() {
                    self.coverage.reach(Reached::DeadEngineCommitted);
                    self.note(|| "  (committed by the dead engine)".into());
                }
            } else {
                cutover_goes_on &= !task.in_cutover_session();
                if self.is_planted(Planted::NoGuard) {
                    self.leave_zombie(task.command);
                }
            }
        }
        self.close_sessions();
        Ok(())
    }

    /// The server ends the sessions of a process that is gone.
    pub(crate) fn close_sessions(&mut self) {
        self.note_ledger();
        self.close_snapshot();
        self.end_chunks();
        self.end_fetch();
        self.end_pair();
        self.world.release();
        self.engine = None;
    }

    pub(crate) fn close_snapshot(&mut self) {
        if let Some(engine) = &mut self.engine
            && std::mem::take(&mut engine.holds_snapshot)
        {
            self.world.shares -= 1;
        }
    }

    /// The snapshots are let go.
    pub(crate) fn end_pair(&mut self) {
        let pair = self.engine.as_mut().and_then(|engine| engine.pair.take());
        if pair.is_some_and(|pair| pair.locks) {
            self.world.shares -= 1;
        }
    }

    pub(crate) fn end_fetch(&mut self) {
        let fetch = self.engine.as_mut().and_then(|engine| engine.fetch.take());
        if fetch.is_some_and(|fetch| fetch.locks) {
            self.world.shares -= 1;
        }
    }
}

fn end_of(phase: Phase) -> End {
    match phase {
        Phase::RolledBack => End::RolledBack,
        Phase::Completed => End::Completed,
        Phase::Swapped => End::Swapped,
        Phase::Planned
        | Phase::Prepared
        | Phase::Copying
        | Phase::Copied
        | Phase::Following
        | Phase::Ready
        | Phase::Aborted => End::GivenUp,
    }
}
