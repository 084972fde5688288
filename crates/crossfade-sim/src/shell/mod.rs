//! The shell around the machine: what each command does to the world, when its answer arrives, and what may
//! happen in between. Tasks of different sessions overtake each other; those of one session do not.

mod apply;
mod back;
pub(crate) mod chunks;
mod copy;
mod cutover;
mod verify;

use std::time::Instant;

use crossfade_core::cutover::{CutoverCommand, CutoverEvent};
use crossfade_core::migration::{Command, Event};
use crossfade_core::phase::Phase;
use crossfade_core::piece::KeyCells;
use crossfade_core::position::{Lsn, Xid};

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::planted::Planted;
use crate::row::Key;
use crate::simulation::Simulation;
use crate::trace;

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) command: Command,
    /// How many of its steps were taken.
    pub(crate) stage: u8,
    /// When it was sent.
    pub(crate) sent: Instant,
    /// Its work is done; the answer is on its way.
    pub(crate) answer: Option<Event>,
    /// Transactions that it waits for.
    pub(crate) waits_for: Vec<Xid>,
    /// A position noted on the way.
    pub(crate) position: Lsn,
    /// Its connection is slow: nothing happens before.
    pub(crate) slow_until: Instant,
    /// The answer will never come: the engine finds its connection dead.
    pub(crate) lost: bool,
}

impl Task {
    /// In the session that holds the cutover's lock, where one thing happens after the other.
    pub(crate) fn in_cutover_session(&self) -> bool {
        match &self.command {
            Command::Cutover(command) => match command {
                CutoverCommand::Lock { .. } | CutoverCommand::Swap { .. } | CutoverCommand::Unlock => true,
                CutoverCommand::ListOldSnapshots { .. }
                | CutoverCommand::PlantMarker { .. }
                | CutoverCommand::Close
                | CutoverCommand::Resolve => false,
            },
            Command::Fetch { locked, .. } => *locked,
            Command::Prepare
            | Command::RecordPhase(_)
            | Command::OpenSnapshot
            | Command::CopyRange(_)
            | Command::RecordChunk { .. }
            | Command::CloseSnapshot
            | Command::OpenSlot
            | Command::OpenChunk(_)
            | Command::CopyChunk { .. }
            | Command::CancelChunk { .. }
            | Command::ReleaseChunk { .. }
            | Command::Follow { .. }
            | Command::Detect { .. }
            | Command::NoteSeen(_)
            | Command::AcknowledgeSeen(_)
            | Command::BuildKeyIndex
            | Command::BuildIndexes
            | Command::Analyze
            | Command::ReadInsertPosition
            | Command::Route { .. }
            | Command::Classify(_)
            | Command::EndFetch
            | Command::Apply(_)
            | Command::Acknowledge(_)
            | Command::PrepareBack
            | Command::BeginBack(_)
            | Command::CloseBack { .. }
            | Command::Verify(_)
            | Command::ReopenBack
            | Command::Finish
            | Command::Stop(_) => false,
        }
    }
}

impl Simulation {
    pub(crate) fn send(&mut self, command: Command) {
        if let Some(engine) = &mut self.engine {
            engine.tasks.push(Task {
                command,
                stage: 0,
                sent: self.now,
                answer: None,
                slow_until: self.now,
                waits_for: Vec::new(),
                position: Lsn(0),
                lost: false,
            });
        }
    }

    /// Takes one task a step further, or delivers its answer.
    pub(crate) fn advance_task(&mut self) -> Result<(), Breach> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        if engine.tasks.is_empty() {
            return Ok(());
        }
        let mut position = self.dice.index(engine.tasks.len());
        if engine.tasks[position].in_cutover_session() {
            let first = engine.tasks.iter().position(Task::in_cutover_session);
            position = first.unwrap_or(position);
        }
        if engine.tasks[position].slow_until > self.now {
            return Ok(());
        }
        let mut task = engine.tasks.remove(position);
        if let Some(event) = task.answer.take() {
            self.note(|| format!("<- {}", trace::event(&event)));
            return self.tell(event);
        }
        self.perform(&mut task)?;
        if task.lost {
            self.note(|| "the answer is lost; the engine begins at the durable state".into());
            self.end_engine()?;
            return self.start_engine();
        }
        if let Some(engine) = &mut self.engine {
            engine.tasks.insert(position, task);
        }
        Ok(())
    }

    /// Does a step of a task's work; sets its answer when that was the last.
    pub(crate) fn perform(&mut self, task: &mut Task) -> Result<(), Breach> {
        match task.command.clone() {
            Command::Prepare => {
                self.world.engine_commit(&mut self.dice, None);
                task.answer = Some(Event::Prepared);
            }
            Command::RecordPhase(phase) => {
                self.world.engine_commit(&mut self.dice, None);
                self.store.phase = phase;
                task.answer = Some(Event::PhaseRecorded);
            }
            Command::OpenSnapshot => self.open_snapshot(task),
            Command::CopyRange(range) => self.copy_range(task, range)?,
            Command::RecordChunk {
                consistent_point,
                snapshot,
                rows: _,
            } => self.record_chunk(task, consistent_point, snapshot),
            Command::BuildKeyIndex => task.answer = Some(Event::KeyIndexBuilt),
            Command::BuildIndexes => self.build_indexes(task)?,
            Command::Analyze => task.answer = Some(Event::Analyzed),
            Command::ReadInsertPosition => {
                let lsn = self.world.engine_commit(&mut self.dice, None);
                task.answer = Some(Event::InsertPosition(lsn));
            }
            Command::Classify(keys) => self.classify(task, &keys)?,
            Command::Fetch {
                keys,
                same_snapshot,
                locked,
                pause: _,
            } => self.fetch(task, &keys, same_snapshot, locked)?,
            Command::Apply(piece) => self.apply(task, piece)?,
            Command::Cutover(command) => self.cutover(task, command)?,
            Command::PrepareBack => self.prepare_back(task),
            Command::BeginBack(at) => self.begin_back(task, at)?,
            Command::ReopenBack => self.reopen_back(task),
            Command::CloseBack { since, .. } => self.close_back(task, since)?,
            Command::Verify(command) => self.verify(task, command)?,
            Command::Finish => self.finish(task),
            Command::OpenSlot => self.open_slot(task),
            Command::OpenChunk(opening) => self.open_chunk(task, &opening),
            Command::CopyChunk { id, span } => self.copy_chunk(task, id, &span)?,
            Command::Route { keys, bounds } => self.route(task, &keys, &bounds)?,
            // Performed when they were taken.
            Command::CloseSnapshot
            | Command::CancelChunk { .. }
            | Command::ReleaseChunk { .. }
            | Command::Follow { .. }
            | Command::Detect { .. }
            | Command::NoteSeen(_)
            | Command::AcknowledgeSeen(_)
            | Command::EndFetch
            | Command::Acknowledge(_)
            | Command::Stop(_) => {}
        }
        Ok(())
    }

    /// Numbers equal keys alike, whatever their bytes.
    fn classify(&mut self, task: &mut Task, keys: &[KeyCells]) -> Result<(), Breach> {
        self.coverage.reach(Reached::KeysClassified);
        let exact = !self.is_planted(Planted::ClassifiesByBytes);
        let class = |key: Key| {
            let zeros = if exact { 0 } else { u32::from(key.zeros) };
            u32::from(key.number) + 100 * zeros
        };
        let keys = keys.iter().map(Key::from_cells);
        let classes: Option<Vec<u32>> = keys.map(|key| key.map(class)).collect();
        task.answer = Some(Event::Classified(classes.ok_or(Breach::Unreadable)?));
        Ok(())
    }

    fn finish(&mut self, task: &mut Task) {
        self.world.engine_commit(&mut self.dice, None);
        self.store.slot = None;
        if self.store.phase == Phase::RolledBack {
            self.store.back_slot = None;
        }
        if let Some(engine) = &mut self.engine {
            engine.stream = None;
        }
        task.answer = Some(Event::Finished);
    }
}

/// An answer of the cutover's.
fn answer(event: CutoverEvent) -> Option<Event> {
    Some(Event::Cutover(event))
}
