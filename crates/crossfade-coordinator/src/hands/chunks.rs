//! The incremental copy: the slot, and the workers that copy chunks, each with a session of its own.

use std::sync::Arc;

use crossfade_copier::{ChunkCopier, CopyError, CopyErrorClass, Outcome};
use crossfade_core::ledger::{ChunkId, Opening, Span};
use crossfade_core::migration::Event;
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::{Canceler, Session};
use crossfade_postgres::{copy, slot, state, wal};
use tokio::sync::{mpsc, watch};

use super::copy::{begin_anew, exporting_slot};
use super::finish::SLOT_RELEASE_MAX;
use super::{Hands, send};
use crate::context::{Context, Message};
use crate::failure::Failure;

/// What a worker can be asked for.
enum ChunkOrder {
    Open(Opening),
    Copy { id: ChunkId, span: Span },
    Release,
}

/// A session that copies chunks, and the one that it is at.
pub(super) struct ChunkWorker {
    orders: mpsc::Sender<ChunkOrder>,
    chunk: Option<ChunkId>,
    /// Those of its sessions, once they are open.
    cancelers: watch::Receiver<Vec<Canceler>>,
}

/// Drops what an earlier copy left, then the slot. Its snapshot is not read under: it says what the slot will never
/// send, so that no chunk is read without it.
pub(super) async fn open_slot(context: &Context) -> Result<Event, Failure> {
    let session = context.session().await?;
    slot::drop(&session, &context.plan.name.slot(), SLOT_RELEASE_MAX).await?;
    begin_anew(context, &session).await?;
    let exporting = exporting_slot(context).await?;
    context.audit(&session, "created the slot", None).await?;
    let snapshot = wal::imported_snapshot(&session, exporting.snapshot_name()).await?;
    let consistent_point = exporting.slot().consistent_point;
    drop(exporting);
    context.begin(&session).await?;
    state::start_position(&session, context.name(), Direction::Forward, consistent_point).await?;
    // Every chunk is read later, and so is whatever this file holds by then.
    let file = copy::file(&session, &context.step().source).await?;
    state::trust_file(&session, context.name(), Direction::Forward, file).await?;
    state::record_slot_snapshot(&session, context.name(), &snapshot).await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::SlotOpened {
        consistent_point,
        snapshot,
    })
}

impl Hands {
    /// To a worker that is free, or to a new one: the machine opens no more chunks than there are copiers.
    pub(super) fn open_chunk(&mut self, opening: Opening) {
        let free = self.chunks.iter().position(|worker| worker.chunk.is_none());
        let position = free.unwrap_or_else(|| {
            // Two, since the release of a chunk may meet the opening of the next.
            let (orders, receiver) = mpsc::channel(2);
            let (told, cancelers) = watch::channel(Vec::new());
            self.tasks.spawn(work(Arc::clone(&self.context), receiver, told));
            self.chunks.push(ChunkWorker {
                orders,
                chunk: None,
                cancelers,
            });
            self.chunks.len() - 1
        });
        let worker = &mut self.chunks[position];
        worker.chunk = Some(opening.id);
        send(Some(&worker.orders), ChunkOrder::Open(opening));
    }

    pub(super) fn copy_chunk(&mut self, id: ChunkId, span: Span) {
        let worker = self.chunks.iter().find(|worker| worker.chunk == Some(id));
        send(worker.map(|worker| &worker.orders), ChunkOrder::Copy { id, span });
    }

    /// The statement's error, if it comes, is the answer.
    pub(super) fn cancel_chunk(&mut self, id: ChunkId) {
        let worker = self.chunks.iter().find(|worker| worker.chunk == Some(id));
        let Some(cancelers) = worker.map(|worker| worker.cancelers.borrow().clone()) else {
            return;
        };
        self.context
            .line("copying a chunk takes longer than chunk_time_max: it is canceled, and cut smaller");
        self.tasks.spawn(async move {
            for canceler in cancelers {
                if let Err(error) = canceler.cancel().await {
                    tracing::warn!(%error, "a chunk was not canceled");
                }
            }
        });
    }

    pub(super) fn release_chunk(&mut self, id: ChunkId) {
        if let Some(worker) = self.free_worker(id) {
            send(Some(&worker.orders), ChunkOrder::Release);
        }
    }

    /// The last one is copied: their sessions are closed.
    pub(crate) fn end_chunks(&mut self) {
        self.chunks.clear();
    }

    /// The chunk's worker has nothing to do any more.
    pub(super) fn free_worker(&mut self, id: ChunkId) -> Option<&ChunkWorker> {
        let worker = self.chunks.iter_mut().find(|worker| worker.chunk == Some(id))?;
        worker.chunk = None;
        Some(worker)
    }
}

async fn work(
    context: Arc<Context>,
    mut orders: mpsc::Receiver<ChunkOrder>,
    cancelers: watch::Sender<Vec<Canceler>>,
) {
    let mut copier = match open_copier(&context).await {
        Ok(copier) => {
            cancelers.send_replace(copier.sessions().map(Session::canceler).collect());
            copier
        }
        Err(failure) => {
            let _ = context.answers.send(Err(failure));
            return;
        }
    };
    while let Some(order) = orders.recv().await {
        let answer = match order {
            ChunkOrder::Open(opening) => match copier.open(&opening).await {
                Ok(opened) => Ok(Event::ChunkOpened(opened)),
                Err(error) => not_copied(&context, opening.id, error),
            },
            ChunkOrder::Copy { id, span } => copied(&context, &mut copier, id, &span).await,
            ChunkOrder::Release => {
                copier.release().await;
                continue;
            }
        };
        let failed = answer.is_err();
        let _ = context.answers.send(answer.map(Message::Event));
        if failed {
            return;
        }
    }
}

async fn open_copier(context: &Context) -> Result<ChunkCopier, Failure> {
    let session: Session = context.session().await?;
    let there = match &context.far {
        Some(_) => Some(context.target_session().await?),
        None => None,
    };
    let (step, name) = (context.step(), &context.plan.name);
    Ok(ChunkCopier::prepare((session, there), step, name, context.generation).await?)
}

async fn copied(
    context: &Context,
    copier: &mut ChunkCopier,
    id: ChunkId,
    span: &Span,
) -> Result<Event, Failure> {
    match copier.copy(id, span).await {
        Outcome::Done(copied) => Ok(Event::ChunkCopied {
            id,
            rows: copied.rows,
        }),
        Outcome::NotDone(error) => not_copied(context, id, error),
        // The ledger row tells, once an engine begins again and that backend is gone (R8).
        Outcome::Unknown(error) => Err(Failure::Lost {
            what: error.to_string(),
        }),
    }
}

/// Whatever may be tried again is: a chunk that did not commit is pending as before.
fn not_copied(context: &Context, id: ChunkId, error: CopyError) -> Result<Event, Failure> {
    match error.class() {
        CopyErrorClass::Canceled | CopyErrorClass::Again => {
            context.line(format!("a chunk is copied again: {error}"));
            Ok(Event::ChunkFailed { id })
        }
        CopyErrorClass::Lost | CopyErrorClass::Superseded | CopyErrorClass::Real => Err(error.into()),
    }
}
