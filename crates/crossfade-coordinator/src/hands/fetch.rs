//! The worker that asks the source on behalf of the feed: which keys are equal (R12), and rows that the stream did
//! not carry whole (R16).
//!
//! A fetching transaction stays open until its batch has ended, so that later rows of the batch can be read under
//! the same snapshot.

use std::sync::Arc;
use std::time::Duration;

use crossfade_core::migration::Event;
use crossfade_core::piece::{FetchKey, KeyCells};
use crossfade_core::position::Lsn;
use crossfade_postgres::apply::fetch::{FetchError, Fetcher};
use crossfade_postgres::causes::in_one_line;
use crossfade_postgres::session::Session;
use crossfade_postgres::{copy, wal};
use tokio::sync::mpsc;

use super::{Hands, send};
use crate::context::{Context, Message};
use crate::failure::Failure;

/// What the worker can be asked for.
pub(crate) enum FetchOrder {
    /// The homes of these keys.
    Route {
        /// Keys.
        keys: Vec<KeyCells>,
        /// The bounds of all chunks.
        bounds: Vec<KeyCells>,
    },
    /// The equivalence classes of these keys.
    Classify(Vec<KeyCells>),
    /// These rows.
    Fetch {
        /// Which.
        keys: Vec<FetchKey>,
        /// Under the snapshot of the transaction that is open.
        same_snapshot: bool,
        /// Before that.
        pause: Duration,
    },
    /// The batch has ended.
    End,
}

impl Hands {
    pub(super) fn order_fetch(&mut self, order: FetchOrder) {
        if self.fetches.is_none() {
            // Two, since the end of a batch may meet the first order of the next.
            let (orders, receiver) = mpsc::channel(2);
            let context = Arc::clone(&self.context);
            self.tasks.spawn(work(context, receiver));
            self.fetches = Some(orders);
        }
        send(self.fetches.as_ref(), order);
    }
}

async fn work(context: Arc<Context>, mut orders: mpsc::Receiver<FetchOrder>) {
    let mut worker: Option<Worker> = None;
    loop {
        // Of many tables each would keep its sessions.
        let idle = context.far.is_some() && worker.as_ref().is_some_and(|worker| worker.reach.is_none());
        let order = match idle {
            true => match tokio::time::timeout(IDLE_MAX, orders.recv()).await {
                Ok(order) => order,
                Err(_) => {
                    worker = None;
                    continue;
                }
            },
            false => orders.recv().await,
        };
        let Some(order) = order else { return };
        let answer = perform(&context, &mut worker, order).await;
        let failed = answer.is_err();
        if let Some(answer) = answer.transpose() {
            let _ = context.answers.send(answer);
        }
        if failed {
            return;
        }
    }
}

/// After so much silence the sessions are given back, where there are many tables.
const IDLE_MAX: Duration = Duration::from_secs(1);

struct Worker {
    /// Reads; its transaction keeps the snapshot.
    reader: Session,
    /// Makes the insert position durable, which a transaction that is open cannot.
    witness: Session,
    fetcher: Fetcher,
    /// The open transaction's position: its batch must reach it (R17).
    reach: Option<Lsn>,
}

async fn perform(
    context: &Context,
    worker: &mut Option<Worker>,
    order: FetchOrder,
) -> Result<Option<Message>, Failure> {
    if worker.is_none() {
        *worker = Some(Worker::open(context).await?);
    }
    let Some(worker) = worker.as_mut() else {
        return Ok(None);
    };
    let event = match order {
        FetchOrder::Route { keys, bounds } => Event::Routed(worker.route(&keys, &bounds).await?),
        FetchOrder::Classify(keys) => Event::Classified(worker.classify(&keys).await?),
        FetchOrder::Fetch {
            keys,
            same_snapshot,
            pause,
        } => {
            let keys: Vec<KeyCells> = keys.into_iter().map(|fetch| fetch.key).collect();
            if !same_snapshot {
                worker.end().await?;
            }
            tokio::time::sleep(pause).await;
            worker.fetch(context, &keys).await?
        }
        FetchOrder::End => {
            worker.end().await?;
            return Ok(None);
        }
    };
    Ok(Some(Message::Event(event)))
}

/// A row of a view that its query does not make closes the way back, and nothing else (R32). Ends the transaction.
pub(super) async fn not_fetched(
    context: &Context,
    (session, fetcher): (&Session, &Fetcher),
    keys: &[KeyCells],
    error: FetchError,
) -> Result<Event, Failure> {
    let of_view = !context.step().source.parts.is_empty();
    if !of_view || !error.lies_in_a_row() {
        return Err(error.into());
    }
    session.batch_execute("ROLLBACK").await?;
    let key = fetcher.find_unreadable(session, keys).await?;
    let key = key.map_or_else(String::new, |key| format!("the row {key}: "));
    Ok(Event::PieceRefused {
        reason: format!("{key}{}", in_one_line(&error)),
    })
}

impl Worker {
    async fn open(context: &Context) -> Result<Self, Failure> {
        let (reader, witness) = (context.session().await?, context.session().await?);
        let fetcher = Fetcher::prepare(&reader, &context.step().source).await?;
        Ok(Worker {
            reader,
            witness,
            fetcher,
            reach: None,
        })
    }

    async fn route(&self, keys: &[KeyCells], bounds: &[KeyCells]) -> Result<Vec<u32>, Failure> {
        if self.reach.is_some() {
            return Ok(self.fetcher.route_here(&self.reader, keys, bounds).await?);
        }
        Ok(self.fetcher.route(&self.reader, keys, bounds).await?)
    }

    async fn classify(&self, keys: &[KeyCells]) -> Result<Vec<u32>, Failure> {
        if self.reach.is_some() {
            return Ok(self.fetcher.classify_here(&self.reader, keys).await?);
        }
        Ok(self.fetcher.classify(&self.reader, keys).await?)
    }

    async fn fetch(&mut self, context: &Context, keys: &[KeyCells]) -> Result<Event, Failure> {
        if self.reach.is_none() {
            self.reader
                .batch_execute(&copy::begin_reading(&context.step().source))
                .await?;
        }
        let fetched = match self.fetcher.fetch_here(&self.reader, keys).await {
            Ok(fetched) => fetched,
            Err(error) => {
                self.reach = None;
                return not_fetched(context, (&self.reader, &self.fetcher), keys, error).await;
            }
        };
        let reach = match self.reach {
            Some(reach) => reach,
            None => {
                wal::make_durable(&self.witness).await?;
                *self.reach.insert(fetched.insert_lsn)
            }
        };
        Ok(Event::Fetched {
            snapshot: fetched.snapshot,
            rows: fetched.rows,
            reach,
        })
    }

    async fn end(&mut self) -> Result<(), Failure> {
        if self.reach.take().is_some() {
            self.reader.batch_execute("COMMIT").await?;
        }
        Ok(())
    }
}
