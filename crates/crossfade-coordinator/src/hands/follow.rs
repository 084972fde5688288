//! The stream and the applier: the two workers that carry changes.

use std::sync::Arc;

use crossfade_applier::{Applier, Outcome};
use crossfade_core::migration::Event;
use crossfade_core::piece::Piece;
use crossfade_core::position::Lsn;
use crossfade_replication::reader::{History, ReadErrorClass, Reader, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::Shape;
use tokio::sync::mpsc;

use super::Hands;
use crate::context::{Context, Message};
use crate::failure::{Failure, chain};

impl Hands {
    /// Starts the reader and the applier.
    pub(super) fn follow(&mut self, from: Lsn) {
        let context = &self.context;
        let source = &context.step().source;
        let (reader, items) = Reader::start(ReaderOptions {
            connect: context.config.clone(),
            slot: context.plan.name.slot(),
            publication: context.plan.name.publication(),
            shape: Shape::of(source, source.full_identity),
            binary: source.binary,
            start: from,
            history: Some(History {
                system_identifier: context.plan.server.system_identifier,
                timeline: context.timeline,
            }),
            limits: ReaderLimits::default(),
        });
        reader.acknowledge(from);
        self.reader = Some(reader);
        self.items = Some(items);
        let (pieces, receiver) = mpsc::channel(1);
        self.tasks.spawn(apply(Arc::clone(context), receiver));
        self.pieces = Some(pieces);
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
    }

    /// Why the channel of items has ended.
    pub(super) async fn stream_ended(&mut self) -> Failure {
        self.items = None;
        let Some(reader) = self.reader.take() else {
            return Failure::Lost {
                what: "the stream has ended".to_owned(),
            };
        };
        let Err(error) = reader.join().await else {
            return Failure::Lost {
                what: "the stream was stopped".to_owned(),
            };
        };
        let again =
            "The source is untouched. `crossfade abort` removes what was made; then run the change again.";
        match error.class() {
            ReadErrorClass::Lost => Failure::Lost {
                what: error.to_string(),
            },
            ReadErrorClass::NotPermitted => Failure::NoAccess {
                reason: error.to_string(),
            },
            ReadErrorClass::SlotGone | ReadErrorClass::SourceChanged | ReadErrorClass::Protocol => {
                Failure::needs_operator(chain(&error), again)
            }
            ReadErrorClass::Stopped => Failure::Lost {
                what: error.to_string(),
            },
        }
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
        let began = std::time::Instant::now();
        let outcome = applier.apply(&piece).await;
        tracing::debug!(puts = piece.puts.len(), deletes = piece.deletes.len(), took = ?began.elapsed(), "piece");
        let answer = match outcome {
            Outcome::Pending | Outcome::Applied { .. } => Ok(Message::Event(Event::PieceApplied)),
            Outcome::NotApplied(error) => Err(error.into()),
            // The position that commits with the rows tells, once an engine begins again.
            Outcome::Unknown(error) => Err(Failure::Lost {
                what: error.to_string(),
            }),
        };
        let failed = answer.is_err();
        let _ = context.answers.send(answer);
        if failed {
            return;
        }
    }
}

async fn open_applier(context: &Context) -> Result<Applier, Failure> {
    let session = context.session().await?;
    Ok(Applier::prepare(session, context.step(), &context.plan.name, context.generation).await?)
}
