//! Performs the machine's commands: each becomes a task, or an order to a worker that owns a session.
//!
//! Every answer comes back through one channel. Tasks are aborted when the hands are dropped: their sockets close
//! and the server rolls back what was open.

mod back;
mod chunks;
mod copy;
mod cutover;
mod detector;
mod fetch;
mod finish;
mod follow;
pub(crate) mod statements;
mod verify;

use std::future::Future;
use std::sync::Arc;

use crossfade_core::change::StreamItem;
use crossfade_core::migration::{Activity, Command, Event, Progress, Stop};
use crossfade_core::piece::Piece;
use crossfade_core::verify::VerifyCommand;
use crossfade_core::way_back::Direction;
use crossfade_replication::reader::ReaderHandle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::context::{Answer, Context, Message, Note};
use crate::failure::Failure;
use crate::report::{Report, Verification, now_ms};

use self::chunks::ChunkWorker;
pub(crate) use self::copy::{Opened, create_exporting};
use self::cutover::CutoverOrder;
pub(crate) use self::cutover::settle_swap;
pub(crate) use self::detector::{find_or_begin_anew, in_words};
use self::fetch::FetchOrder;
pub(crate) use self::finish::SLOT_RELEASE_MAX;
pub(crate) use self::follow::failure_of;
pub(crate) use self::statements::{run_in_order, run_patiently};

/// See the module.
pub(crate) struct Hands {
    context: Arc<Context>,
    answers: mpsc::UnboundedReceiver<Answer>,
    tasks: JoinSet<()>,
    /// What the copy reads; let go when its ledger row is committed.
    opened: Option<Arc<Opened>>,
    chunks: Vec<ChunkWorker>,
    pieces: Option<mpsc::Sender<Piece>>,
    fetches: Option<mpsc::Sender<FetchOrder>>,
    cutovers: Option<mpsc::Sender<CutoverOrder>>,
    verifications: Option<mpsc::Sender<VerifyCommand>>,
    reader: Option<ReaderHandle>,
    items: Option<mpsc::Receiver<Vec<StreamItem>>>,
    detector: Option<ReaderHandle>,
    detected: Option<mpsc::Receiver<Vec<StreamItem>>>,
    /// The last thing worth a line.
    note: watch::Sender<Option<String>>,
    report: Report,
}

impl Hands {
    pub(crate) fn new(
        context: Arc<Context>,
        answers: mpsc::UnboundedReceiver<Answer>,
        report: Report,
        note: watch::Sender<Option<String>>,
    ) -> Self {
        Hands {
            context,
            answers,
            tasks: JoinSet::new(),
            opened: None,
            chunks: Vec::new(),
            pieces: None,
            fetches: None,
            cutovers: None,
            verifications: None,
            reader: None,
            items: None,
            detector: None,
            detected: None,
            note,
            report,
        }
    }

    /// What its workers know.
    pub(crate) fn context(&self) -> Arc<Context> {
        Arc::clone(&self.context)
    }

    /// The report so far, with the machine's numbers of this engine added to those of earlier ones.
    pub(crate) fn report(&self, progress: &Progress) -> Report {
        let mut report = self.report.clone();
        match self.context.direction {
            Direction::Forward => {}
            Direction::Back => {
                report.changes_carried_back += progress.feed.applied;
                report.rollback_attempts += progress.attempts;
                report.strays = progress.strays.count;
                return report;
            }
        }
        report.rows_copied = report.rows_copied.max(progress.rows_copied);
        report.changes_delivered += progress.feed.delivered;
        report.changes_dropped += progress.feed.dropped;
        report.changes_applied += progress.feed.applied;
        report.rows_fetched += progress.feed.fetched;
        report.changes_last_drain = report.changes_last_drain.max(progress.last_drain);
        report.cutover_attempts += progress.attempts;
        report
    }

    /// Starts one command. `Some` when the machine has ended.
    pub(crate) fn perform(&mut self, command: Command) -> Result<Option<Stop>, Failure> {
        let context = Arc::clone(&self.context);
        match command {
            Command::Prepare => self.answer(async move { statements::prepare(&context).await }),
            Command::RecordPhase(phase) => {
                self.answer(async move { statements::record_phase(&context, phase).await });
            }
            Command::OpenSnapshot => self.spawn(async move {
                let opened = copy::open_snapshot(&context).await?;
                Ok(Message::Opened(Box::new(opened)))
            }),
            Command::CopyRange(range) => {
                if let Some(opened) = self.opened.clone() {
                    self.answer(async move { copy::copy_range(&context, &opened, range).await });
                }
            }
            Command::RecordChunk {
                consistent_point,
                snapshot,
                rows,
            } => {
                self.answer(
                    async move { copy::record_chunk(&context, consistent_point, snapshot, rows).await },
                );
            }
            Command::CloseSnapshot => self.opened = None,
            Command::OpenSlot => self.answer(async move { chunks::open_slot(&context).await }),
            Command::OpenChunk(opening) => self.open_chunk(opening),
            Command::CopyChunk { id, span } => self.copy_chunk(id, span),
            Command::CancelChunk { id } => self.cancel_chunk(id),
            Command::ReleaseChunk { id } => self.release_chunk(id),
            Command::Follow { from } => self.follow(from),
            Command::BuildKeyIndex => {
                self.answer(async move { statements::build_key_index(&context).await });
            }
            Command::BuildIndexes => self.answer(async move { statements::build_indexes(&context).await }),
            Command::Analyze => self.answer(async move { statements::analyze(&context).await }),
            Command::ReadInsertPosition => {
                self.answer(async move { statements::read_insert_position(&context).await });
            }
            Command::Route { keys, bounds } => self.order_fetch(FetchOrder::Route { keys, bounds }),
            Command::Classify(keys) => self.order_fetch(FetchOrder::Classify(keys)),
            Command::Fetch {
                keys,
                same_snapshot,
                locked,
                pause,
            } => match locked {
                true => self.order_cutover(CutoverOrder::Fetch(keys)),
                false => self.order_fetch(FetchOrder::Fetch {
                    keys,
                    same_snapshot,
                    pause,
                }),
            },
            Command::EndFetch => self.order_fetch(FetchOrder::End),
            Command::Apply(piece) => send(self.pieces.as_ref(), piece),
            Command::Acknowledge(lsn) => {
                if let Some(reader) = &self.reader {
                    reader.acknowledge(lsn);
                }
            }
            Command::Detect { from } => self.detect(from),
            Command::NoteSeen(seen) => self.answer(async move { detector::note(&context, seen).await }),
            Command::AcknowledgeSeen(lsn) => {
                if let Some(detector) = &self.detector {
                    detector.acknowledge(lsn);
                }
            }
            Command::Cutover(command) => self.order_cutover(CutoverOrder::Command(command)),
            Command::PrepareBack => self.answer(async move { back::prepare(&context).await }),
            Command::BeginBack(at) => self.answer(async move { back::begin(&context, at).await }),
            Command::ReopenBack => self.answer(async move { back::reopen(&context).await }),
            Command::CloseBack { since, reason } => {
                self.end_stream();
                self.answer(async move { back::close(&context, since, reason).await });
            }
            Command::Verify(command) => self.order_verify(command),
            Command::Finish => {
                self.end_stream();
                self.end_detector();
                self.answer(async move { finish::finish(&context).await });
            }
            Command::Stop(stop) => return Ok(Some(stop)),
        }
        Ok(None)
    }

    /// The next answer that is the machine's business (the others are kept here), or the next items of the stream, or
    /// of the detector's, if they are wanted.
    ///
    /// # Cancel safety
    /// Nothing is lost: receiving from a channel is cancel safe.
    pub(crate) async fn next(&mut self, wants_items: bool, wants_detected: bool) -> Result<Next, Failure> {
        loop {
            let (items, detected) = (self.items.as_mut(), self.detected.as_mut());
            tokio::select! {
                // The context holds a sender as long as we are: there is always somebody to wait for.
                Some(answer) = self.answers.recv() => match answer? {
                    Message::Event(event) => return Ok(Next::Event(event)),
                    Message::Opened(opened) => return Ok(Next::Event(self.opened(*opened))),
                    Message::Note(note) => self.note(note),
                },
                items = receive(items), if wants_items => match items {
                    Some(items) => return Ok(Next::Items(items)),
                    None => return Err(self.stream_ended().await),
                },
                items = receive(detected), if wants_detected => match items {
                    Some(items) => return Ok(Next::Detected(items)),
                    None => return Err(self.detector_ended().await),
                },
                Some(ended) = self.tasks.join_next() => {
                    if let Err(error) = ended && error.is_panic() {
                        std::panic::resume_unwind(error.into_panic());
                    }
                }
            }
        }
    }

    /// Where nobody calls [`Hands::next`]: a worker that has panicked is heard of.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
    }

    /// Writes moments down.
    pub(crate) fn observe(&mut self, event: &Event) {
        let timeline = &mut self.report.timeline;
        match event {
            Event::SnapshotOpened { .. } | Event::SlotOpened { .. } => {
                timeline.copy_started = Some(now_ms());
            }
            Event::ChunkRecorded => timeline.copy_ended = Some(now_ms()),
            Event::ChunkCopied { id, .. } | Event::ChunkFailed { id } => {
                timeline.copy_ended = Some(now_ms());
                self.free_worker(*id);
            }
            Event::IndexesBuilt => timeline.indexed = Some(now_ms()),
            Event::Finished => timeline.ended = Some(now_ms()),
            _other => {}
        }
    }

    /// As [`Hands::observe`].
    pub(crate) fn activity_changed(&mut self, activity: Activity) {
        if matches!(activity, Activity::Ready | Activity::CuttingOver) {
            self.report.timeline.ready.get_or_insert_with(now_ms);
        }
    }

    fn opened(&mut self, opened: Opened) -> Event {
        let event = opened.event();
        self.opened = Some(Arc::new(opened));
        event
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::LockQueue(queue) => {
                let ms = queue.as_secs_f64() * 1e3;
                self.report.lock_queue_ms_max = self.report.lock_queue_ms_max.max(ms);
            }
            Note::Swapped { held, waiting: _ } if self.context.direction == Direction::Back => {
                self.report.rollback_lock_held_ms = held.as_secs_f64() * 1e3;
                self.report.timeline.rolled_back = Some(now_ms());
            }
            Note::Swapped { held, waiting } => {
                let now = now_ms();
                self.report.lock_held_ms = held.as_secs_f64() * 1e3;
                self.report.sessions_waiting_at_swap = waiting;
                self.report.timeline.swapped = Some(now);
                self.report.timeline.locked = Some(now.saturating_sub(held.as_millis() as u64));
            }
            Note::Verified { found, unverified } => {
                self.report.verification =
                    Some(Verification::new(self.context.direction, &found, unverified));
            }
            Note::Line(line) => {
                tracing::info!("{line}");
                self.note.send_replace(Some(line));
            }
        }
    }

    /// Runs a command whose answer is an event.
    fn answer(&mut self, task: impl Future<Output = Result<Event, Failure>> + Send + 'static) {
        self.spawn(async move { task.await.map(Message::Event) });
    }

    fn spawn(&mut self, task: impl Future<Output = Answer> + Send + 'static) {
        let answers = self.context.answers.clone();
        self.tasks.spawn(async move {
            // The receiver is gone only when the hands are, and this task with them.
            let _ = answers.send(task.await);
        });
    }
}

/// What the hands wake the loop for.
pub(crate) enum Next {
    /// An answer.
    Event(Event),
    /// What the reader delivered.
    Items(Vec<StreamItem>),
    /// What the detector's reader delivered.
    Detected(Vec<StreamItem>),
}

/// Never, if there is no stream.
pub(crate) async fn receive(items: Option<&mut mpsc::Receiver<Vec<StreamItem>>>) -> Option<Vec<StreamItem>> {
    match items {
        Some(items) => items.recv().await,
        None => std::future::pending().await,
    }
}

/// Workers take orders one at a time and the machine gives one at a time: there is always room. A worker that is
/// gone has sent its failure, which ends the engine.
fn send<T>(worker: Option<&mpsc::Sender<T>>, order: T) {
    if let Some(worker) = worker {
        let _ = worker.try_send(order);
    }
}
