//! An engine's life: a machine made from the durable state, its sessions, and what becomes of them.

use crossfade_core::cutover::OldSnapshots;
use crossfade_core::ledger::ChunkId;
use crossfade_core::migration::{Activity, Command, CopyState, Durable, Migration, Options, Stop};
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;
use crossfade_core::verify::{Obstacle, VerifyCommand};

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::planted::Planted;
use crate::shell::Task;
use crate::simulation::{End, Simulation};
use crate::stream::Stream;
use crate::target::Rows;
use crate::world::View;

/// A process with its machine and its sessions. All of it dies with the process.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) machine: Migration,
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
    /// The target transaction of the open batch.
    pub(crate) batch: Option<OpenBatch>,
}

/// What the verification reads; it holds `ACCESS SHARE` on the source.
#[derive(Debug)]
pub(crate) struct PairOfSnapshots {
    pub(crate) source: View,
    /// The durable insert position read after it.
    pub(crate) position: Lsn,
    /// The target as its snapshot sees it.
    pub(crate) target: Rows,
}

/// The transaction of a chunk; it holds `ACCESS SHARE` on the source.
#[derive(Debug)]
pub(crate) struct ChunkSession {
    pub(crate) id: ChunkId,
    pub(crate) view: View,
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
    pub(crate) fetched: bool,
}

impl Simulation {
    /// Raises the generation, reads the durable state, makes a machine.
    pub(crate) fn start_engine(&mut self) -> Result<(), Breach> {
        if let (Some(confirmed), Some((applied, _))) = (self.store.slot, &self.store.copied)
            && confirmed > *applied
        {
            return Err(Breach::AcknowledgedTooMuch {
                acknowledged: confirmed,
                applied: *applied,
            });
        }
        self.coverage.reach(started(self.store.phase));
        let durable = Durable {
            phase: self.store.phase,
            paused: self.store.paused,
            copy: match self.store.copied.clone() {
                Some((applied, slot)) if self.scenario.incremental => CopyState::Chunked {
                    applied,
                    slot,
                    chunks: self
                        .store
                        .chunks
                        .iter()
                        .map(|stored| stored.chunk.clone())
                        .collect(),
                    rows: 0,
                    unproven: self.store.unproven.iter().copied().collect(),
                },
                Some((applied, snapshot)) => CopyState::Whole { applied, snapshot },
                None => CopyState::Nothing,
            },
            back: None,
            aligned: self.store.aligned.clone(),
            equal: self.store.equal,
            now: self.world.snapshot().to_core(),
            back_closed: false,
        };
        if !self.store.chunks.is_empty() && self.store.phase == Phase::Copying {
            self.coverage.reach(Reached::StartedBetweenChunks);
        }
        let options = Options {
            copiers: self.scenario.copiers,
            cutover_when_ready: self.scenario.cutover_when_ready,
            roll_back: false,
            old_snapshots: if self.scenario.accepts_old_snapshots {
                OldSnapshots::Accept
            } else {
                OldSnapshots::Wait
            },
            verify: self.scenario.verifies,
            feed: self.scenario.feed,
        };
        self.reference_told = true;
        let phase = self.store.phase;
        self.note(|| format!("an engine starts at {phase:?}"));
        self.engine = Some(Engine {
            machine: Migration::new(self.now, self.plan(), durable, options),
            tasks: Vec::new(),
            stream: None,
            holds_snapshot: false,
            snapshot: None,
            chunks: Vec::new(),
            fetch: None,
            pair: None,
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
            let Some(command) = engine.machine.poll_command() else {
                return Ok(());
            };
            self.note(|| format!("  -> {command:?}"));
            self.take(command)?;
        }
    }

    fn take(&mut self, command: Command) -> Result<(), Breach> {
        match command {
            Command::CloseSnapshot => self.close_snapshot(),
            Command::EndFetch => self.end_fetch(),
            Command::ReleaseChunk { id, .. } => {
                self.coverage.reach(Reached::ChunkReleased);
                self.end_chunk(id);
            }
            Command::Follow { from } => {
                let confirmed = self.store.slot.unwrap_or(from);
                if let Some(engine) = &mut self.engine {
                    let stream = Stream::start(&self.world.wal, from, confirmed, self.planted);
                    engine.stream = Some(stream);
                }
            }
            Command::Verify(VerifyCommand::Release) => self.end_pair(),
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
        let applied = self.store.copied.as_ref().map_or(Lsn(0), |(applied, _)| *applied);
        if lsn > applied {
            return Err(Breach::AcknowledgedTooMuch {
                acknowledged: lsn,
                applied,
            });
        }
        self.store.slot = self.store.slot.map(|confirmed| confirmed.max(lsn));
        Ok(())
    }

    fn stopped(&mut self, stop: Stop) -> Result<(), Breach> {
        self.note_feed();
        match stop {
            Stop::Done => {
                self.coverage.reach(Reached::Done);
                self.end = Some(End::Done);
            }
            Stop::Again => {}
            Stop::Aborted => {
                self.coverage.reach(Reached::Aborted);
                self.end = Some(End::GivenUp);
            }
            Stop::WalBudget { .. } => {
                self.coverage.reach(Reached::WalBudget);
                self.end = Some(End::GivenUp);
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

    /// Counts what the feed did.
    pub(crate) fn note_feed(&mut self) {
        let Some(engine) = &self.engine else { return };
        let progress = engine.machine.progress();
        let reached = [
            (progress.feed.dropped > 0, Reached::ChangeDropped),
            (progress.feed.applied > 0, Reached::ChangeApplied),
            (progress.last_drain > 0, Reached::DrainedChanges),
        ];
        for (_, place) in reached.into_iter().filter(|(holds, _)| *holds) {
            self.coverage.reach(place);
        }
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
        if pair.is_some() {
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

fn started(phase: Phase) -> Reached {
    match phase {
        Phase::Planned => Reached::StartedPlanned,
        Phase::Prepared => Reached::StartedPrepared,
        Phase::Copying => Reached::StartedCopying,
        Phase::Copied => Reached::StartedCopied,
        Phase::Following => Reached::StartedFollowing,
        Phase::Ready => Reached::StartedReady,
        Phase::Swapped => Reached::StartedSwapped,
        // An aborted migration is not started: the run is over.
        Phase::RolledBack | Phase::Completed | Phase::Aborted => Reached::StartedCompleted,
    }
}

fn at(activity: Activity) -> Reached {
    match activity {
        Activity::Preparing => Reached::AtPreparing,
        Activity::OpeningSnapshot => Reached::AtOpeningSnapshot,
        Activity::Copying => Reached::AtCopying,
        Activity::RecordingChunk => Reached::AtRecordingChunk,
        Activity::BuildingKeyIndex => Reached::AtBuildingKeyIndex,
        Activity::DrainingBacklog => Reached::AtDrainingBacklog,
        Activity::BuildingIndexes => Reached::AtBuildingIndexes,
        Activity::Draining => Reached::AtDraining,
        Activity::Analyzing => Reached::AtAnalyzing,
        Activity::Verifying => Reached::AtVerifying,
        Activity::Ready | Activity::PreparingBack => Reached::AtReady,
        Activity::CuttingOver => Reached::AtCuttingOver,
        Activity::Finishing | Activity::SeekingSwap | Activity::FollowingBack | Activity::BackClosed => {
            Reached::AtFinishing
        }
        Activity::Stopped => Reached::AtStopped,
    }
}
