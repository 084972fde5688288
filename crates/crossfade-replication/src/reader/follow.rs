//! The reader's loop: listen, hand out, tell the server, connect again.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use crossfade_core::change::StreamItem;
use crossfade_core::position::Lsn;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

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
        let assembler = Assembler::new(options.shapes.clone(), options.limits.part, options.start);
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
        let error = loop {
            let Err(error) = self.stream().await;
            match self.retry_after(error).await {
                ControlFlow::Continue(()) => {}
                ControlFlow::Break(error) => break error,
            }
        };
        // Whole transactions that were read before the error are the owner's.
        match self.hand_out().await {
            Ok(()) => error,
            Err(stopped) => stopped,
        }
    }

    /// Waits before the next connection, if there is to be one. What is whole goes to the owner meanwhile; if
    /// the owner does not take it, it stays and goes first after the reconnection.
    async fn retry_after(&mut self, error: ReadError) -> ControlFlow<ReadError> {
        if error.class() != ReadErrorClass::Lost {
            return ControlFlow::Break(error);
        }
        if !self.assembler.restart() {
            return ControlFlow::Break(ReadError::LostInsideTransaction {
                source: Box::new(error),
            });
        }
        let Some(wait) = self.retry.next_wait() else {
            return ControlFlow::Break(error);
        };
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            slot = self.options.slot,
            position = %self.assembler.position(),
            wait_ms = wait.as_millis() as u64,
            "replication connection lost"
        );
        let until = Instant::now() + wait;
        if let Ok(Err(stopped)) = timeout_at(until, self.hand_out()).await {
            return ControlFlow::Break(stopped);
        }
        sleep_until(until).await;
        ControlFlow::Continue(())
    }

    /// Connects and follows until it cannot go on.
    async fn stream(&mut self) -> Result<Infallible, ReadError> {
        let from = self.assembler.position();
        let (mut session, history) = Session::open(&self.options, self.history, from).await?;
        self.history = Some(history);
        tracing::debug!(slot = self.options.slot, %from, "replication stream started");
        let opened = Instant::now();
        let Err(error) = self.listen(&mut session).await;
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

    /// Sends the batch, if there is anything in it. Cancel safe: what was not sent is still there.
    async fn hand_out(&mut self) -> Result<(), ReadError> {
        if !self.batch.is_empty() {
            let permit = self.items.reserve().await.map_err(|_| ReadError::Stopped)?;
            permit.send(self.batch.take());
        }
        Ok(())
    }
}
