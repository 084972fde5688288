//! The worker of the verification: a reader of the source, a reader of the target, each with one snapshot at a time,
//! and a witness that is never in a transaction.
//!
//! Invariants: each reader has its lock before its snapshot (R4), the target's is taken no sooner than it is asked for,
//! and both are let go together.

use std::sync::Arc;

use crossfade_core::migration::Event;
use crossfade_core::piece::{FetchKey, KeyCells};
use crossfade_core::position::Lsn;
use crossfade_core::verify::{Repair, Slice, Suspects, Verified, VerifyCommand, VerifyEvent};
use crossfade_postgres::apply::fetch::{FetchError, Fetcher};
use crossfade_postgres::session::Session;
use crossfade_postgres::verify::Verifier;
use crossfade_postgres::{copy, state, wal};
use tokio::sync::mpsc;

use super::{Hands, send};
use crate::context::{Context, Message, Note};
use crate::failure::Failure;

impl Hands {
    pub(super) fn order_verify(&mut self, order: VerifyCommand) {
        if self.verifications.is_none() {
            // The end of a pair, which is not answered, and what follows it.
            let (orders, receiver) = mpsc::channel(4);
            self.tasks.spawn(work(Arc::clone(&self.context), receiver));
            self.verifications = Some(orders);
        }
        send(self.verifications.as_ref(), order);
    }
}

async fn work(context: Arc<Context>, mut orders: mpsc::Receiver<VerifyCommand>) {
    let mut worker = None;
    while let Some(order) = orders.recv().await {
        let is_last = matches!(order, VerifyCommand::Record(_));
        let answer = perform(&context, &mut worker, order).await;
        let failed = answer.is_err();
        if is_last && context.far.is_some() {
            // Of many tables each would keep its sessions.
            worker = None;
        }
        if let Some(answer) = answer.transpose() {
            let _ = context.answers.send(answer);
        }
        if failed {
            return;
        }
    }
}

struct Worker {
    context: Arc<Context>,
    source: Session,
    target: Session,
    /// On the source's server.
    witness: Session,
    /// On the target's, which has the state.
    recorder: Session,
    verifier: Verifier,
    /// Prepared on the source's reader; none for a table without a key, of which nothing is fetched.
    fetcher: Option<Fetcher>,
    /// When the verification's first pair was asked for, by the server's clock.
    began_at: Option<String>,
    /// Rows of the slice that was compared last.
    rows: u64,
}

async fn perform(
    context: &Arc<Context>,
    worker: &mut Option<Worker>,
    order: VerifyCommand,
) -> Result<Option<Message>, Failure> {
    if worker.is_none() {
        *worker = Some(Worker::open(Arc::clone(context)).await?);
    }
    let Some(worker) = worker.as_mut() else {
        return Ok(None);
    };
    let event = match order {
        VerifyCommand::Open { suspects } => Event::Verify(worker.open_pair(&suspects).await?),
        VerifyCommand::Fetch { keys } => worker.fetch(keys).await?,
        VerifyCommand::Pin => Event::Verify(worker.pin().await?),
        VerifyCommand::Compare { lower, rows } => {
            let (source, target) = (&worker.source, &worker.target);
            let compared = worker.verifier.compare(source, target, lower, rows).await?;
            worker.rows = compared.source.rows.max(compared.target.rows);
            Event::Verify(VerifyEvent::Compared(compared))
        }
        VerifyCommand::Drill { slice, limit } => Event::Verify(worker.drill(&slice, limit).await?),
        VerifyCommand::Release => {
            worker.release().await?;
            return Ok(None);
        }
        VerifyCommand::Record(found) => Event::Verify(worker.record(&found).await?),
    };
    Ok(Some(Message::Event(event)))
}

impl Worker {
    async fn open(context: Arc<Context>) -> Result<Self, Failure> {
        let (source, target, witness, recorder) = tokio::try_join!(
            context.session(),
            context.target_session(),
            context.session(),
            context.target_session()
        )?;
        let step = context.step();
        let fetcher = match step.source.key {
            Some(_) => Some(Fetcher::prepare(&source, &step.source).await?),
            None => None,
        };
        let verifier = Verifier::prepare((&witness, &recorder), &step.source, &step.targets).await?;
        Ok(Worker {
            source,
            target,
            witness,
            recorder,
            verifier,
            fetcher,
            began_at: None,
            rows: 0,
            context,
        })
    }

    async fn open_pair(&mut self, suspects: &[Suspects]) -> Result<VerifyEvent, Failure> {
        if self.began_at.is_none() {
            self.began_at = Some(state::server_time(&self.recorder).await?);
        }
        let begin = copy::begin_reading(&self.context.step().source);
        self.source.batch_execute(&begin).await?;
        let snapshot = wal::snapshot(&self.source).await?;
        let repair = match (&self.fetcher, suspects) {
            (_, []) | (None, _) => Repair::default(),
            (Some(fetcher), suspects) => self.verifier.reread(&self.source, fetcher, suspects).await?,
        };
        let file = copy::file(&self.source, &self.context.step().source).await?;
        let position = wal::durable_insert_position(&self.witness).await?;
        Ok(VerifyEvent::Opened {
            snapshot,
            position,
            file,
            repair,
        })
    }

    async fn fetch(&self, keys: Vec<FetchKey>) -> Result<Event, Failure> {
        let keys: Vec<KeyCells> = keys.into_iter().map(|fetch| fetch.key).collect();
        let fetcher = self.fetcher.as_ref().ok_or(FetchError::NoKey)?;
        let fetched = fetcher.fetch_here(&self.source, &keys).await?;
        Ok(Event::Fetched {
            snapshot: fetched.snapshot,
            rows: fetched.rows,
            // Read under the snapshot that the alignment ends at: not from the future (R17).
            reach: Lsn(0),
        })
    }

    async fn pin(&self) -> Result<VerifyEvent, Failure> {
        self.target
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        self.verifier.lock_targets(&self.target).await?;
        // The first query takes the snapshot, and the applier goes on with the answer.
        wal::snapshot(&self.target).await?;
        Ok(VerifyEvent::Pinned)
    }

    async fn drill(&self, slice: &Slice, limit: usize) -> Result<VerifyEvent, Failure> {
        let (source, target) = (&self.source, &self.target);
        let drilled = self
            .verifier
            .drill(source, target, slice, self.rows, limit)
            .await?;
        Ok(VerifyEvent::Drilled {
            differences: drilled.differences,
            suspects: drilled.suspects,
            more: drilled.more,
        })
    }

    async fn release(&self) -> Result<(), Failure> {
        self.source.batch_execute("ROLLBACK").await?;
        Ok(self.target.batch_execute("ROLLBACK").await?)
    }

    async fn record(&mut self, found: &Verified) -> Result<VerifyEvent, Failure> {
        let (context, recorder) = (&self.context, &self.recorder);
        let began_at = match self.began_at.take() {
            Some(began_at) => began_at,
            None => state::server_time(recorder).await?,
        };
        let unverified = self.verifier.unverified();
        context.begin(recorder).await?;
        state::record_verification(
            recorder,
            context.name(),
            context.direction,
            &began_at,
            found,
            unverified,
        )
        .await?;
        let what = match (found.is_equal(), found.repaired, found.repair_follows) {
            (true, 0, _) => "verified: every row is equal",
            (true, ..) => "verified: every row is equal after a repair",
            (false, _, true) => "verified: rows differ, and are repaired",
            (false, _, false) => "verified: rows differ",
        };
        if found.is_equal() {
            state::settle_strays(recorder, context.name(), found.strays).await?;
            state::trust_file(recorder, context.name(), context.direction, found.file).await?;
        }
        context.audit(recorder, what, None).await?;
        recorder.batch_execute("COMMIT").await?;
        context.note(Note::Verified {
            found: found.clone(),
            unverified: unverified.to_vec(),
        });
        Ok(VerifyEvent::Recorded)
    }
}
