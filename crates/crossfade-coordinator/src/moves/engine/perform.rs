//! What the machines of the tables want: of shared workers, or of each table's own.

use std::sync::Arc;
use std::time::Instant;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::{Command, RangeId, Stop};
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;

use super::{Engine, Heeded, Outcome};
use crate::context::Message;
use crate::failure::{DEFECT, Failure};
use crate::hands::statements;
use crate::moves::workers::Note;

impl Engine {
    pub(super) fn perform_all(&mut self, number: usize) -> Result<Option<Outcome>, Failure> {
        while let Some(command) = self.members[number].machine.poll_command() {
            if let Some(stop) = self.perform(number, command)? {
                return Ok(Some(Outcome::Stopped(stop, Some(number))));
            }
        }
        Ok(None)
    }

    pub(super) fn perform(&mut self, number: usize, command: Command) -> Result<Option<Stop>, Failure> {
        match command {
            Command::RecordPhase(phase) => {
                if phase == Phase::Copied {
                    self.members[number].hands.end_chunks();
                }
                self.workers.write_down(number, Note::Phase(phase));
            }
            Command::OpenSnapshot => {
                let opened = self.copying.as_ref().and_then(|copying| copying.opened(number));
                let Some(event) = opened else {
                    return Err(defect("a table that is copied wants to be copied again"));
                };
                self.members[number].machine.handle_event(Instant::now(), event);
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
                self.workers.write_down(number, note);
            }
            Command::CloseSnapshot => self.table_copied(),
            Command::Follow { from } => {
                self.members[number].applied = from;
                self.members[number].hands.start_applier();
            }
            Command::ReadInsertPosition => {
                self.workers.read_position(number);
            }
            Command::Apply(piece) if is_position(&piece) => {
                self.workers.write_down(number, Note::Position(Box::new(piece)));
            }
            Command::Apply(piece) if piece.first && piece.applied.is_some() => {
                self.workers.apply(number, piece);
            }
            Command::Acknowledge(lsn) => self.acknowledge(number, lsn),
            Command::BuildKeyIndex => self.build(number, statements::Build::KeyIndex),
            Command::BuildIndexes => self.build(number, statements::Build::Indexes),
            Command::Stop(stop) => return Ok(Some(stop)),
            command @ (Command::Apply(_)
            | Command::OpenChunk(_)
            | Command::CopyChunk { .. }
            | Command::CancelChunk { .. }
            | Command::ReleaseChunk { .. }
            | Command::Route { .. }
            | Command::Classify(_)
            | Command::Fetch { .. }
            | Command::EndFetch
            | Command::Analyze
            | Command::Verify(_)) => return self.members[number].hands.perform(command),
            other => return Err(defect(format!("a table of a move asked for {other:?}"))),
        }
        Ok(None)
    }

    pub(super) fn copy_range(&mut self, number: usize, range: RangeId) {
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
    pub(super) fn table_copied(&mut self) {
        self.under_snapshot = self.under_snapshot.saturating_sub(1);
        if self.under_snapshot == 0 {
            self.copying = None;
        }
    }

    pub(super) fn build(&mut self, number: usize, build: statements::Build) {
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
    pub(super) fn acknowledge(&mut self, number: usize, lsn: Lsn) {
        self.members[number].applied = lsn;
        let least = self.members.iter().map(|member| member.applied).min();
        if let (Some(reader), Some(least)) = (&self.reader, least) {
            reader.acknowledge(least);
        }
    }
}

fn defect(reason: impl std::fmt::Display) -> Failure {
    Failure::stopped(FailureCode::Defect, reason, DEFECT)
}

/// Nothing but a position: many of them are written down at once.
fn is_position(piece: &Piece) -> bool {
    let empty = piece.puts.is_empty() && piece.deletes.is_empty() && piece.removes.is_empty();
    empty && !piece.truncate && piece.first && piece.applied.is_some()
}
