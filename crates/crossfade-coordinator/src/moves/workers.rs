//! Workers that many tables share: one session each, and one transaction or one question for all that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossfade_applier::{ApplyError, ApplyErrorClass, Batch, Lane, LaneOutcome};
use crossfade_core::ledger::Span;
use crossfade_core::migration::{Event, copy_step};
use crossfade_core::phase::Phase;
use crossfade_core::piece::Piece;
use crossfade_core::plan::Plan;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::Session;
use crossfade_postgres::{state, wal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::engine::{Heard, Heeded};
use super::shared::Shared;
use crate::context::Message;
use crate::failure::Failure;

/// Sessions that apply whole batches. Each has the tables of every so many numbers, and one commit for all that wait.
const LANES: usize = 4;

/// A small batch costs nearly as much as a large one: so long from one transaction to the next more is let come together,
/// unless somebody waits for it.
const APART: Duration = Duration::from_millis(25);

/// The ends that orders go into; each is answered by the loop's own channel, with the table's number.
pub(crate) struct Workers {
    notes: mpsc::UnboundedSender<(usize, Note)>,
    positions: mpsc::UnboundedSender<usize>,
    lanes: Vec<mpsc::UnboundedSender<(usize, Piece)>>,
    hurry: watch::Sender<bool>,
}

impl Workers {
    /// Starts them.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        plans: &Arc<Vec<Plan>>,
        tell: &mpsc::UnboundedSender<Heard>,
        tasks: &mut JoinSet<()>,
    ) -> Self {
        let both = || (Arc::clone(shared), Arc::clone(plans));
        let (notes, notes_seen) = mpsc::unbounded_channel();
        let (positions, positions_seen) = mpsc::unbounded_channel();
        tasks.spawn(write_down(both(), notes_seen, tell.clone()));
        tasks.spawn(read_positions(Arc::clone(shared), positions_seen, tell.clone()));
        let hurry = watch::Sender::new(false);
        let lanes = (0..LANES).map(|_| {
            let (lane, batches) = mpsc::unbounded_channel();
            tasks.spawn(apply_together(both(), batches, tell.clone(), hurry.subscribe()));
            lane
        });
        Workers {
            notes,
            positions,
            lanes: lanes.collect(),
            hurry,
        }
    }

    /// Writers wait, or may have to at any moment: nothing is let come together.
    pub(crate) fn hurry(&self, whether: bool) {
        self.hurry.send_replace(whether);
    }

    // Whoever is gone has sent its failure, which ends the engine.

    pub(crate) fn write_down(&self, table: usize, note: Note) {
        let _ = self.notes.send((table, note));
    }

    pub(crate) fn read_position(&self, table: usize) {
        let _ = self.positions.send(table);
    }

    pub(crate) fn apply(&self, table: usize, batch: Piece) {
        let _ = self.lanes[table % LANES].send((table, batch));
    }
}

/// What is to be written down for a table.
#[derive(Debug)]
pub(crate) enum Note {
    /// It has come so far.
    Phase(Phase),
    /// It was copied whole (R11).
    Copied {
        consistent_point: Lsn,
        snapshot: Snapshot,
        rows: u64,
        file: Option<u32>,
    },
    /// A position up to which nothing of it was changed.
    Position(Box<Piece>),
}

/// Writes notes down on the server that follows, all that wait in one transaction.
async fn write_down(
    (shared, plans): (Arc<Shared>, Arc<Vec<Plan>>),
    mut notes: mpsc::UnboundedReceiver<(usize, Note)>,
    heard: mpsc::UnboundedSender<Heard>,
) {
    let mut session = None;
    let mut waiting = Vec::new();
    while notes.recv_many(&mut waiting, 1_000).await > 0 {
        match write_all(&shared, &plans, &mut session, &waiting).await {
            Ok(()) => {
                for (table, note) in waiting.drain(..) {
                    let event = match note {
                        Note::Phase(_) => Event::PhaseRecorded,
                        Note::Copied { .. } => Event::ChunkRecorded,
                        Note::Position(_) => Event::PieceApplied,
                    };
                    let _ = heard.send((Some(table), Ok(Heeded::Message(Message::Event(event)))));
                }
            }
            Err(failure) => {
                let _ = heard.send((None, Err(failure)));
                return;
            }
        }
    }
}

async fn write_all(
    shared: &Shared,
    plans: &[Plan],
    kept: &mut Option<Session>,
    notes: &[(usize, Note)],
) -> Result<(), Failure> {
    let side = shared.follower();
    let session = match kept {
        Some(session) => session,
        None => kept.insert(side.session(shared.name()).await?),
    };
    side.begin(session, shared.name()).await?;
    for (table, note) in notes {
        write_one(session, &plans[*table], note).await?;
    }
    Ok(session.batch_execute("COMMIT").await?)
}

async fn write_one(session: &Session, plan: &Plan, note: &Note) -> Result<(), Failure> {
    let table = plan.name.as_str();
    match note {
        Note::Phase(phase) => state::set_table_phase(session, table, *phase).await?,
        Note::Copied {
            consistent_point,
            snapshot,
            rows,
            file,
        } => {
            let chunk = state::Chunk {
                number: 0,
                span: Span::default(),
                snapshot: snapshot.clone(),
                rows: *rows,
            };
            state::record_chunk(session, table, &chunk).await?;
            state::start_position(session, table, Direction::Forward, *consistent_point).await?;
            state::trust_file(session, table, Direction::Forward, *file).await?;
            state::set_table_phase(session, table, Phase::Copied).await?;
        }
        Note::Position(piece) => {
            let mut statements = state::note_statements(&plan.name, &piece.ledger);
            let to = piece.applied.unwrap_or_default();
            let aligned = piece.aligned.as_ref();
            statements.push(state::advance_statement(
                &plan.name,
                Direction::Forward,
                to,
                aligned,
            ));
            let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
            if session.run_script(&statements).await?.last() != Some(&1) {
                let error = ApplyError::PositionNotMoved { to };
                return Err(error.into());
            }
        }
    }
    Ok(())
}

/// Reads the leader's insert position, once for all tables that wait for one, and makes it durable.
async fn read_positions(
    shared: Arc<Shared>,
    mut asked: mpsc::UnboundedReceiver<usize>,
    heard: mpsc::UnboundedSender<Heard>,
) {
    let mut session = None;
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, 1_000).await > 0 {
        match read_position(&shared, &mut session).await {
            Ok(position) => {
                for table in waiting.drain(..) {
                    let event = Event::InsertPosition(position);
                    let _ = heard.send((Some(table), Ok(Heeded::Message(Message::Event(event)))));
                }
            }
            Err(failure) => {
                let _ = heard.send((None, Err(failure)));
                return;
            }
        }
    }
}

async fn read_position(shared: &Shared, kept: &mut Option<Session>) -> Result<Lsn, Failure> {
    let session = match kept {
        Some(session) => session,
        None => kept.insert(shared.leader().session(shared.name()).await?),
    };
    Ok(wal::durable_insert_position(session).await?)
}

/// Batches that are applied in one transaction, at most.
const TOGETHER_MAX: usize = 32;

/// Applies whole batches of its tables, all that wait in one transaction. What the server refuses together is tried table
/// by table, by each table's own applier, which says which row it was.
async fn apply_together(
    (shared, plans): (Arc<Shared>, Arc<Vec<Plan>>),
    mut batches: mpsc::UnboundedReceiver<(usize, Piece)>,
    heard: mpsc::UnboundedSender<Heard>,
    mut hurry: watch::Receiver<bool>,
) {
    let mut lane = None;
    let mut waiting = Vec::new();
    while batches.recv_many(&mut waiting, TOGETHER_MAX).await > 0 {
        let next = Instant::now() + APART;
        match apply_all(&shared, &plans, &mut lane, &waiting).await {
            Ok(true) => {
                for (table, _) in waiting.drain(..) {
                    let event = Message::Event(Event::PieceApplied);
                    let _ = heard.send((Some(table), Ok(Heeded::Message(event))));
                }
            }
            Ok(false) => {
                for (table, piece) in waiting.drain(..) {
                    let _ = heard.send((Some(table), Ok(Heeded::ApplyAlone(piece))));
                }
            }
            Err(failure) => {
                let _ = heard.send((None, Err(failure)));
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            _ = hurry.wait_for(|whether| *whether) => {}
        }
    }
}

/// Whether all were applied; else none was.
async fn apply_all(
    shared: &Shared,
    plans: &[Plan],
    kept: &mut Option<Lane>,
    waiting: &[(usize, Piece)],
) -> Result<bool, Failure> {
    let side = shared.follower();
    let lane = match kept {
        Some(lane) => lane,
        None => {
            let session = side.session(shared.name()).await?;
            kept.insert(Lane::prepare(session, shared.name(), side.generation).await?)
        }
    };
    let batches = waiting.iter().map(|(table, piece)| Batch {
        table: *table,
        name: &plans[*table].name,
        step: copy_step(&plans[*table]),
        piece,
    });
    let began = Instant::now();
    let outcome = lane.apply(&batches.collect::<Vec<_>>()).await;
    tracing::debug!(batches = waiting.len(), took = ?began.elapsed(), "applied together");
    match outcome {
        LaneOutcome::Applied => Ok(true),
        LaneOutcome::NotApplied(error) if error.class() == ApplyErrorClass::Real => Ok(false),
        LaneOutcome::NotApplied(error) => Err(error.into()),
        LaneOutcome::Unknown(error) => Err(Failure::Lost {
            what: error.to_string(),
        }),
    }
}
