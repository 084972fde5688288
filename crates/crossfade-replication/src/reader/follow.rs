//! The reader's loop: listen, hand out, tell the server, connect again.

use std::convert::Infallible;
use std::sync::Arc;

use crossfade_core::change::StreamItem;
use crossfade_core::position::Lsn;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::error::{ReadError, ReadErrorClass};
use super::options::{History, ReaderOptions};
use super::retry::Retry;
use super::session::Session;
use crate::assemble::{Assembler, Batch};

/// The state of the reader's task.
#[derive(Debug)]
pub(super) struct Follower {
    options: ReaderOptions,
    assembler: Assembler,
    batch: Batch,
    items: mpsc::Sender<Vec<StreamItem>>,
    acknowledged: watch::Receiver<Lsn>,
    urgent: Arc<Notify>,
    history: Option<History>,
    retry: Retry,
}

impl Follower {
    pub(super) fn new(
        options: ReaderOptions,
        items: mpsc::Sender<Vec<StreamItem>>,
        acknowledged: watch::Receiver<Lsn>,
        urgent: Arc<Notify>,
    ) -> Self {
        let assembler = Assembler::new(options.shape.clone(), options.limits.part, options.start);
        Follower {
            assembler,
            batch: Batch::default(),
            items,
            acknowledged,
            urgent,
            history: options.history,
            retry: Retry::new(&options.limits),
            options,
        }
    }

    /// Follows until it cannot go on.
    pub(super) async fn run(mut self) -> ReadError {
        loop {
            let error = match self.stream().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            // Whole transactions that were read need not be read again.
            if self.hand_out_rest().await.is_err() {
                return ReadError::Stopped;
            }
            if error.class() != ReadErrorClass::Lost {
                return error;
            }
            if !self.assembler.restart() {
                return ReadError::LostInsideTransaction {
                    source: Box::new(error),
                };
            }
            let Some(wait) = self.retry.next_wait() else {
                return error;
            };
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                slot = self.options.slot,
                position = %self.assembler.position(),
                wait_ms = wait.as_millis() as u64,
                "replication connection lost"
            );
            sleep(wait).await;
        }
    }

    /// Connects and follows until it cannot go on.
    async fn stream(&mut self) -> Result<Infallible, ReadError> {
        let from = self.assembler.position();
        let (mut session, history) = Session::open(&self.options, self.history, from).await?;
        self.history = Some(history);
        tracing::debug!(slot = self.options.slot, %from, "replication stream started");
        let opened = Instant::now();
        let error = match self.listen(&mut session).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if self.assembler.position() > from || opened.elapsed() >= self.options.limits.retry_max {
            self.retry.begin_anew();
        }
        Err(error)
    }

    async fn listen(&mut self, session: &mut Session) -> Result<Infallible, ReadError> {
        loop {
            while self.has_room()
                && let Some(frame) = session.wire.buffered()?
            {
                session.receive(frame, &mut self.assembler, &mut self.batch)?;
            }
            self.wait(session).await?;
        }
    }

    /// Waits for whatever comes first. While the batch has no room the socket is left unread.
    async fn wait(&mut self, session: &mut Session) -> Result<(), ReadError> {
        let listening = self.has_room();
        if !listening {
            session.heard();
        }
        let (status_due, silence_due) = (session.status_due(), session.silence_due());
        // None of these loses anything when another one is taken; sending happens only afterwards.
        tokio::select! {
            biased;
            () = sleep_until(status_due) => session.send_status(self.confirmed()).await,
            () = self.urgent.notified() => session.send_status(self.confirmed()).await,
            permit = self.items.reserve(), if !self.batch.is_empty() => {
                permit.map_err(|_| ReadError::Stopped)?.send(self.batch.take());
                Ok(())
            }
            filled = session.wire.fill(), if listening => {
                filled?;
                session.heard();
                Ok(())
            }
            () = sleep_until(silence_due), if listening => session.break_silence(self.confirmed()).await,
            () = self.items.closed() => Err(ReadError::Stopped),
        }
    }

    fn has_room(&self) -> bool {
        self.batch.bytes() < self.options.limits.batch_bytes_max
    }

    /// What the server may be told: nothing before the owner has acknowledged anything at or after the start,
    /// since older servers let a slot's position go back.
    fn confirmed(&self) -> Lsn {
        let acknowledged = *self.acknowledged.borrow();
        if acknowledged >= self.options.start {
            acknowledged
        } else {
            Lsn::default()
        }
    }

    async fn hand_out_rest(&mut self) -> Result<(), mpsc::error::SendError<Vec<StreamItem>>> {
        match self.batch.is_empty() {
            true => Ok(()),
            false => self.items.send(self.batch.take()).await,
        }
    }
}
