//! Generations (R24): a statement that a dead engine has sent may still run, so every writing transaction locks the
//! generation it belongs to, and a starting engine raises it before it reads anything.

use std::time::Duration;

use crossfade_core::name::MigrationName;
use tokio::time::Instant;

use super::{StateError, StateStore};
use crate::ident::literal;
use crate::session::SqlClass;

/// How often sessions and locks are looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Which engine's turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub i64);

/// The statement with which every writing transaction of the engine begins. No row: another engine has taken
/// over. In a transaction with an older snapshot the same shows as a serialization failure: the row is updated by
/// nobody but a starting engine, so that says it too.
pub fn guard_statement(name: &MigrationName, generation: Generation) -> String {
    format!(
        "SELECT FROM crossfade.generation WHERE migration = {} AND generation = {} FOR SHARE",
        literal(name.as_str()),
        generation.0
    )
}

const RAISE: &str = "UPDATE crossfade.generation SET generation = generation + 1 \
                     WHERE migration = $1 RETURNING generation";

/// Sessions under the engine's name in this database, or recorded as the former's; never `$3`, our own.
const FORMER: &str = "\
SELECT a.pid FROM pg_catalog.pg_stat_activity a
 WHERE a.pid <> ALL ($3::int4[]) AND a.pid <> pg_catalog.pg_backend_pid()
   AND (a.datname = pg_catalog.current_database() AND a.application_name = $2
        OR EXISTS (SELECT FROM crossfade.backend b
                    WHERE b.migration = $1 AND b.pid = a.pid AND b.started = a.backend_start::text))";

impl StateStore<'_> {
    /// Locks the generation in the caller's transaction.
    ///
    /// # Errors
    /// [`StateError::Superseded`] when another engine has taken over.
    pub async fn guard(&self, name: &MigrationName, generation: Generation) -> Result<(), StateError> {
        let superseded = || StateError::Superseded {
            name: name.to_string(),
        };
        match self
            .session
            .query_opt(&guard_statement(name, generation), &[])
            .await
        {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(superseded()),
            Err(error) if error.class() == SqlClass::SerializationOrDeadlock => Err(superseded()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes over: raises the generation, which waits for the former engine's open transactions, and then waits
    /// until its sessions are gone. Sessions that are still there after `grace` are ended. `own` are sessions
    /// already opened by this engine. Run in autocommit, before anything else is read.
    ///
    /// # Errors
    /// When the former's sessions do not end within `budget`.
    pub async fn raise_generation(
        &self,
        name: &MigrationName,
        own: &[i32],
        grace: Duration,
        budget: Duration,
    ) -> Result<Generation, StateError> {
        let start = Instant::now();
        let generation = loop {
            if let Some(generation) = self.try_raise(name).await? {
                break generation;
            }
            self.press(name, own, start, grace, budget).await?;
        };
        while self.press(name, own, start, grace, budget).await? {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let forget = "DELETE FROM crossfade.backend WHERE migration = $1";
        self.session.execute(forget, &[&name.as_str()]).await?;
        Ok(generation)
    }

    /// `None` while a transaction of the former engine holds the row.
    async fn try_raise(&self, name: &MigrationName) -> Result<Option<Generation>, StateError> {
        let patience = format!("BEGIN; SET LOCAL lock_timeout = {}", LOOK_AGAIN.as_millis());
        self.session.batch_execute(&patience).await?;
        match self.session.query_opt(RAISE, &[&name.as_str()]).await {
            Ok(row) => {
                self.session.batch_execute("COMMIT").await?;
                let unknown = || StateError::Unknown {
                    name: name.to_string(),
                };
                Ok(Some(Generation(row.ok_or_else(unknown)?.get(0))))
            }
            Err(error) => {
                self.session.batch_execute("ROLLBACK").await?;
                match error.class() {
                    SqlClass::LockTimeout => Ok(None),
                    SqlClass::Lost
                    | SqlClass::UniqueViolation
                    | SqlClass::ExclusionViolation
                    | SqlClass::SerializationOrDeadlock
                    | SqlClass::NotPermitted
                    | SqlClass::Canceled
                    | SqlClass::Other => Err(error.into()),
                }
            }
        }
    }

    /// Whether the former's sessions are still there; ends them when it is time.
    async fn press(
        &self,
        name: &MigrationName,
        own: &[i32],
        start: Instant,
        grace: Duration,
        budget: Duration,
    ) -> Result<bool, StateError> {
        let application_name = name.application_name();
        let former = self
            .session
            .query(FORMER, &[&name.as_str(), &application_name, &own])
            .await?;
        let pids: Vec<i32> = former.iter().map(|row| row.get(0)).collect();
        if start.elapsed() >= budget && !pids.is_empty() {
            let name = name.to_string();
            return Err(StateError::FormerStillThere { name, pids });
        }
        if start.elapsed() >= grace && !pids.is_empty() {
            let end = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest($1::int4[]) AS pid";
            self.session.query(end, &[&pids]).await?;
        }
        Ok(!pids.is_empty())
    }

    /// Records a session of the running engine, so that a successor can wait for it by pid and start time.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn record_backend(
        &self,
        name: &MigrationName,
        pid: i32,
        started: &str,
    ) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.backend (migration, pid, started) VALUES ($1, $2, $3) \
                      ON CONFLICT DO NOTHING";
        self.session
            .execute(insert, &[&name.as_str(), &pid, &started])
            .await?;
        Ok(())
    }
}
