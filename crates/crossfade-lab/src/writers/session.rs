//! One application session: sends a statement and tells what its failure means for the transaction.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::operation::Operation;
use crate::server;

/// What a statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Rows affected.
    pub(super) rows: u64,
    /// The key it returned.
    pub(super) id: Option<i64>,
}

/// Why a statement did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server refused it: it has had no effect.
    Refused(String),
    /// The session has ended before the answer: it may have had an effect.
    Lost,
}

/// A session.
pub(super) struct Session {
    client: Client,
}

impl Session {
    /// Opens one.
    pub(super) async fn open(connection: &str) -> Result<Session, tokio_postgres::Error> {
        Ok(Session {
            client: server::open(connection).await?,
        })
    }

    /// Sends a statement that changes no row.
    pub(super) async fn command(&self, sql: &str) -> Result<(), Failure> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| Failure::of(sql, &error))
    }

    /// Sends an operation.
    pub(super) async fn send(&self, operation: &Operation) -> Result<Done, Failure> {
        let sql = operation.sql();
        let answer = self
            .client
            .simple_query(&sql)
            .await
            .map_err(|error| Failure::of(&sql, &error))?;
        let mut done = Done { rows: 0, id: None };
        for message in answer {
            match message {
                SimpleQueryMessage::Row(row) => done.id = row.get(0).and_then(|text| text.parse().ok()),
                SimpleQueryMessage::CommandComplete(rows) => done.rows = rows,
                // Foreign and non-exhaustive: the description of the columns, and what may come.
                _ => {}
            }
        }
        Ok(done)
    }
}

impl Failure {
    fn of(sql: &str, error: &tokio_postgres::Error) -> Failure {
        match error.as_db_error() {
            Some(refusal) if !ends_session(refusal.code()) => {
                let verb = sql.split(' ').next().unwrap_or_default();
                Failure::Refused(format!(
                    "{verb}: {} ({})",
                    refusal.message(),
                    refusal.code().code()
                ))
            }
            Some(_) | None => Failure::Lost,
        }
    }
}

/// Class 57P: shutdown, crash of another session, and their like.
fn ends_session(code: &SqlState) -> bool {
    code.code().starts_with("57P")
}
