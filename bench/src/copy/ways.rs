//! The ways: each works through the ranges with so many sessions, one transaction a range.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossfade_postgres::copy::CtidRange;
use crossfade_postgres::session::{Session, SqlError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::statements::Statements;
use crate::BenchError;

/// A way to copy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The engine's statement, one backend a session.
    #[default]
    InsertSelect,
    /// Binary `COPY … TO STDOUT` in one session, `COPY … FROM STDIN` in another, the bytes passed through us
    /// untouched; the next range is read while one is written. Two backends a session.
    CopyPipe,
}

impl Way {
    /// All, the engine's first.
    pub const ALL: [Way; 2] = [Way::InsertSelect, Way::CopyPipe];

    /// Its name in a cell's.
    pub fn word(self) -> &'static str {
        match self {
            Way::InsertSelect => "insert_select",
            Way::CopyPipe => "copy_pipe",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Way::InsertSelect => "INSERT … SELECT",
            Way::CopyPipe => "COPY pipe",
        }
    }

    /// Connections that so many sessions of it need.
    pub(super) fn backends(self, sessions: u64) -> u64 {
        match self {
            Way::InsertSelect => sessions,
            Way::CopyPipe => sessions * 2,
        }
    }

    /// Copies all ranges.
    pub(super) async fn copy(
        self,
        sessions: Vec<Session>,
        ranges: &[CtidRange],
        statements: &Statements,
    ) -> Result<(), BenchError> {
        let queue = Queue::new(ranges);
        let mut tasks = JoinSet::new();
        let mut sessions = sessions.into_iter();
        while let Some(session) = sessions.next() {
            match self {
                Way::InsertSelect => {
                    tasks.spawn(insert_select(
                        session,
                        queue.clone(),
                        statements.insert_select.clone(),
                    ));
                }
                Way::CopyPipe => {
                    let outs = ranges.iter().map(|range| statements.copy_out(*range)).collect();
                    let (sender, receiver) = mpsc::channel(1);
                    tasks.spawn(read(session, queue.clone(), outs, sender));
                    if let Some(writer) = sessions.next() {
                        tasks.spawn(write(writer, statements.copy_in(), receiver));
                    }
                }
            }
        }
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Ranges still to do, by their number.
#[derive(Clone)]
struct Queue {
    ranges: Arc<[CtidRange]>,
    next: Arc<AtomicUsize>,
}

impl Queue {
    fn new(ranges: &[CtidRange]) -> Queue {
        Queue {
            ranges: ranges.into(),
            next: Arc::default(),
        }
    }

    fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.ranges.len()).then_some(number)
    }
}

async fn insert_select(session: Session, queue: Queue, sql: String) -> Result<(), SqlError> {
    let statement = session.prepare(&sql).await?;
    while let Some(number) = queue.take() {
        let range = queue.ranges[number];
        session
            .execute(&statement, &[&range.lower(), &range.upper()])
            .await?;
    }
    Ok(())
}

type Rows = Vec<bytes::Bytes>;

async fn read(
    session: Session,
    queue: Queue,
    outs: Vec<String>,
    sender: mpsc::Sender<Rows>,
) -> Result<(), SqlError> {
    while let Some(number) = queue.take() {
        let rows = session.copy_out(&outs[number]).await?;
        // A writer that is gone says itself why.
        if sender.send(rows).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn write(session: Session, sql: String, mut receiver: mpsc::Receiver<Rows>) -> Result<(), SqlError> {
    while let Some(rows) = receiver.recv().await {
        session.copy_in(&sql, rows).await?;
    }
    Ok(())
}
