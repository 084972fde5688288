//! The stream and the applier: the two workers that carry changes.

use std::sync::Arc;
use std::time::Duration;

use crossfade_applier::{Applier, ApplyError, ApplyErrorClass, Outcome};
use crossfade_core::change::StreamItem;
use crossfade_core::code::FailureCode;
use crossfade_core::migration::{Event, copy_step};
use crossfade_core::name::TableName;
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_postgres::causes::in_one_line;
use crossfade_replication::reader::{
    History, ReadError, ReadErrorClass, Reader, ReaderHandle, ReaderLimits, ReaderOptions,
};
use crossfade_replication::shape::Shape;
use tokio::sync::mpsc;

use super::Hands;
use crate::context::{Answer, Context, Message};
use crate::failure::Failure;
use crate::run::check_slot;

impl Hands {
    /// Starts the reader and the applier.
    pub(super) fn follow(&mut self, from: Lsn) {
        let context = &self.context;
        let source = &context.step().source;
        let mut shapes = Shape::all(source, source.full_identity);
        if let Some(former) = self.former_name() {
            shapes.iter_mut().for_each(|shape| {
                shape.former_name.get_or_insert_with(|| former.clone());
            });
        }
        let (reader, items) = start_reader(context, context.direction, shapes, from);
        reader.acknowledge(from);
        self.reader = Some(reader);
        self.items = Some(items);
        self.start_applier();
    }

    /// Starts the applier alone, where the stream is read for many tables.
    pub(crate) fn start_applier(&mut self) {
        let (pieces, receiver) = mpsc::channel(1);
        let context = Arc::clone(&self.context);
        match context.far {
            None => self.tasks.spawn(apply(context, receiver)),
            Some(_) => self.tasks.spawn(apply_now_and_then(context, receiver)),
        };
        self.pieces = Some(pieces);
    }

    /// The reverse stream begins before the swap, when the new table was not in its place.
    fn former_name(&self) -> Option<TableName> {
        let context = &self.context;
        match context.direction {
            Direction::Forward => None,
            Direction::Back => Some(copy_step(&context.plan).targets[0].shadow.clone()),
        }
    }

    /// After the swap nothing more is wanted.
    pub(super) fn end_stream(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.stop();
        }
        self.items = None;
        self.pieces = None;
        self.fetches = None;
        self.cutovers = None;
        self.verifications = None;
    }

    /// Why the channel of items has ended.
    pub(super) async fn stream_ended(&mut self) -> Failure {
        self.items = None;
        let again = match self.context.direction {
            Direction::Forward => {
                "The source is untouched. `crossfade abort` removes what was made; then run the change again."
            }
            Direction::Back => {
                "There is no way back any more; the new table is in its place and complete. `crossfade complete` ends \
                 the migration."
            }
        };
        let failure = failure_of(self.reader.take(), again).await;
        match &failure {
            Failure::NeedsOperator {
                code: FailureCode::SlotMissing,
                ..
            } => told_by_slot(&self.context).await.unwrap_or(failure),
            _other => failure,
        }
    }
}

/// Why a slot cannot be read from, the slot itself says best: that it is gone, or was invalidated.
async fn told_by_slot(context: &Context) -> Option<Failure> {
    let session = context.session().await.ok()?;
    let told = check_slot(&session, context, Lsn(u64::MAX)).await.err();
    told.filter(|failure| matches!(failure, Failure::NeedsOperator { .. }))
}

/// Reads the stream of that direction, behind `start`.
pub(super) fn start_reader(
    context: &Context,
    stream: Direction,
    shapes: Vec<Shape>,
    start: Lsn,
) -> (ReaderHandle, mpsc::Receiver<Vec<StreamItem>>) {
    let name = &context.plan.name;
    let (slot, publication) = match stream {
        Direction::Forward => (name.slot(), name.publication()),
        Direction::Back => (name.back_slot(), name.back_publication()),
    };
    let step = copy_step(&context.plan);
    let binary = step.towards(stream).source.binary;
    Reader::start(ReaderOptions {
        connect: context.config.clone(),
        slot,
        publication,
        shapes,
        binary,
        start,
        history: Some(History {
            system_identifier: context.plan.server.system_identifier,
            timeline: context.timeline,
        }),
        limits: ReaderLimits::default(),
    })
}

/// Why a reader has ended; `again`: what to do where it cannot go on by itself.
pub(crate) async fn failure_of(reader: Option<ReaderHandle>, again: &'static str) -> Failure {
    let Some(reader) = reader else {
        return Failure::Lost {
            what: "the stream has ended".to_owned(),
        };
    };
    let Err(error) = reader.join().await else {
        return Failure::Lost {
            what: "the stream was stopped".to_owned(),
        };
    };
    match error.class() {
        ReadErrorClass::Lost => Failure::Lost {
            what: error.to_string(),
        },
        ReadErrorClass::NotPermitted => match error {
            ReadError::Transport(error) => error.into(),
            error => Failure::no_access(FailureCode::NotPermitted, error),
        },
        ReadErrorClass::SlotGone => match error {
            ReadError::OtherHistory { .. } => Failure::needs_operator(FailureCode::OtherServer, error, again),
            error => Failure::needs_operator(FailureCode::SlotMissing, in_one_line(&error), again),
        },
        ReadErrorClass::SourceChanged => {
            Failure::needs_operator(FailureCode::SourceChanged, in_one_line(&error), again)
        }
        ReadErrorClass::Protocol => {
            Failure::needs_operator(FailureCode::StreamNotUnderstood, in_one_line(&error), again)
        }
        ReadErrorClass::Promoted | ReadErrorClass::Stopped => Failure::Lost {
            what: error.to_string(),
        },
    }
}

/// The applier's worker: one piece at a time, in one session.
async fn apply(context: Arc<Context>, mut pieces: mpsc::Receiver<Piece>) {
    let mut applier = match open_applier(&context).await {
        Ok(applier) => applier,
        Err(failure) => {
            let _ = context.answers.send(Err(failure));
            return;
        }
    };
    while let Some(piece) = pieces.recv().await {
        if !apply_one(&context, &mut applier, &piece).await {
            return;
        }
    }
}

/// Applies a piece and answers; `false` if that was the last one.
async fn apply_one(context: &Context, applier: &mut Applier, piece: &Piece) -> bool {
    let began = std::time::Instant::now();
    let outcome = applier.apply(piece).await;
    tracing::debug!(puts = piece.puts.len(), deletes = piece.deletes.len(), took = ?began.elapsed(), "piece");
    let answer = match outcome {
        Outcome::Pending | Outcome::Applied { .. } => Ok(Message::Event(Event::PieceApplied)),
        Outcome::NotApplied(error) => not_applied(context, applier, piece, error).await,
        // The position that commits with the rows tells, once an engine begins again.
        Outcome::Unknown(error) => Err(Failure::Lost {
            what: error.to_string(),
        }),
    };
    let go_on = answer.is_ok();
    let _ = context.answers.send(answer);
    go_on
}

/// After so much silence an applier that is one of many gives its session back.
const IDLE_MAX: Duration = Duration::from_secs(5);

/// The applier's worker of a table that is one of many: it has a session while there is something to apply.
async fn apply_now_and_then(context: Arc<Context>, mut pieces: mpsc::Receiver<Piece>) {
    let mut open = None;
    let mut inside = false;
    loop {
        let piece = match (&open, inside) {
            (Some(_), false) => match tokio::time::timeout(IDLE_MAX, pieces.recv()).await {
                Ok(piece) => piece,
                Err(_) => {
                    open = None;
                    continue;
                }
            },
            _busy_or_without => pieces.recv().await,
        };
        let Some(piece) = piece else { return };
        let applier = match &mut open {
            Some(applier) => applier,
            None => match open_applier(&context).await {
                Ok(applier) => open.insert(applier),
                Err(failure) => {
                    let _ = context.answers.send(Err(failure));
                    return;
                }
            },
        };
        inside = piece.applied.is_none();
        if !apply_one(&context, applier, &piece).await {
            return;
        }
    }
}

async fn open_applier(context: &Context) -> Result<Applier, Failure> {
    let session = context.target_session().await?;
    let (name, direction) = (&context.plan.name, context.direction);
    Ok(Applier::prepare(session, context.step(), name, direction, context.generation).await?)
}

/// On the way there a row that is not taken ends the engine, and the source is untouched. On the way back it ends the
/// way back and nothing else (R32).
async fn not_applied(context: &Context, applier: &mut Applier, piece: &Piece, error: ApplyError) -> Answer {
    if error.class() != ApplyErrorClass::Real {
        return Err(error.into());
    }
    let row = match error.lies_in_a_row() {
        true => applier.find_refused(piece).await?,
        false => None,
    };
    let row = row.map_or_else(String::new, |key| format!("the row {key}: "));
    match context.direction {
        Direction::Forward => Err(Failure::from(error).about(&row)),
        Direction::Back => {
            let reason = format!("{row}{}", in_one_line(&error));
            Ok(Message::Event(Event::PieceRefused { reason }))
        }
    }
}
