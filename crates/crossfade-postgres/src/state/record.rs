//! Records for people and for the next engine: audit trail, heartbeat, progress, cutover attempts.

use crossfade_core::name::MigrationName;
use crossfade_core::position::{Lsn, Xid};
use tokio_postgres::types::PgLsn;

use super::{Generation, StateError, StateStore};

/// The process that last ran a migration.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineRecord {
    /// Its generation.
    pub generation: Generation,
    /// Its machine.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// When it started, in ISO format.
    pub started_at: String,
    /// Seconds since it was last heard of, by the server's clock.
    pub silent_s: f64,
}

/// An attempt at the swap.
#[derive(Clone, Debug, PartialEq)]
pub struct CutoverRecord {
    /// Its number, from 1.
    pub attempt: u32,
    /// The transaction that swaps, once it has one.
    pub xid: Option<Xid>,
    /// The fence.
    pub fence: Option<Lsn>,
    /// When it started, in ISO format.
    pub started_at: String,
    /// When its end was noted, in ISO format.
    pub ended_at: Option<String>,
    /// How long the exclusive lock was held, in milliseconds.
    pub lock_held_ms: Option<f64>,
    /// What came of it.
    pub outcome: Option<String>,
}

impl StateStore<'_> {
    /// Appends to the audit trail. `host` is the machine on which the engine runs.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn audit(
        &self,
        name: &MigrationName,
        host: &str,
        what: &str,
        statement: Option<&str>,
    ) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.audit (migration, application_host, what, statement) \
                      VALUES ($1, $2, $3, $4)";
        self.session
            .execute(insert, &[&name.as_str(), &host, &what, &statement])
            .await?;
        Ok(())
    }

    /// Notes that an engine has started.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn engine_started(
        &self,
        name: &MigrationName,
        generation: Generation,
        host: &str,
        pid: u32,
    ) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.engine (migration, generation, host, pid) VALUES ($1, $2, $3, $4) \
                      ON CONFLICT (migration) DO UPDATE SET generation = EXCLUDED.generation, host = EXCLUDED.host, \
                      pid = EXCLUDED.pid, started_at = EXCLUDED.started_at, heartbeat_at = EXCLUDED.heartbeat_at";
        self.session
            .execute(insert, &[&name.as_str(), &generation.0, &host, &i64::from(pid)])
            .await?;
        Ok(())
    }

    /// Notes that the engine is alive, and how far it is.
    ///
    /// # Errors
    /// [`StateError::Superseded`] when another engine has started since.
    pub async fn heartbeat(
        &self,
        name: &MigrationName,
        generation: Generation,
        progress: &serde_json::Value,
    ) -> Result<(), StateError> {
        let statement = "WITH alive AS (\
             UPDATE crossfade.engine SET heartbeat_at = pg_catalog.now() \
             WHERE migration = $1 AND generation = $2 RETURNING migration) \
             INSERT INTO crossfade.progress (migration, document) SELECT migration, $3 FROM alive \
             ON CONFLICT (migration) DO UPDATE SET document = EXCLUDED.document, at = EXCLUDED.at";
        let touched = self
            .session
            .execute(statement, &[&name.as_str(), &generation.0, progress])
            .await?;
        match touched {
            0 => Err(StateError::Superseded {
                name: name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The engine that last ran a migration.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn engine(&self, name: &MigrationName) -> Result<Option<EngineRecord>, StateError> {
        let query = "SELECT generation, host, pid, started_at::text, \
                     pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - heartbeat_at) \
                     FROM crossfade.engine WHERE migration = $1";
        let row = self.session.query_opt(query, &[&name.as_str()]).await?;
        Ok(row.map(|row| EngineRecord {
            generation: Generation(row.get(0)),
            host: row.get(1),
            pid: u32::try_from(row.get::<_, i64>(2)).unwrap_or_default(),
            started_at: row.get(3),
            silent_s: row.get(4),
        }))
    }

    /// The last progress document.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn progress(&self, name: &MigrationName) -> Result<Option<serde_json::Value>, StateError> {
        let query = "SELECT document FROM crossfade.progress WHERE migration = $1";
        let row = self.session.query_opt(query, &[&name.as_str()]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    /// Opens the next attempt at the swap; returns its number.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn begin_cutover(&self, name: &MigrationName) -> Result<u32, StateError> {
        let insert = "INSERT INTO crossfade.cutover (migration, attempt) \
                      SELECT $1, COALESCE(pg_catalog.max(attempt), 0) + 1 FROM crossfade.cutover \
                      WHERE migration = $1 RETURNING attempt";
        let row = self.session.query_one(insert, &[&name.as_str()]).await?;
        Ok(row.get::<_, i32>(0).cast_unsigned())
    }

    /// Writes down fence and transaction id before the COMMIT; from another session than the one that swaps, and
    /// made durable by its own commit (R29).
    ///
    /// # Errors
    /// When there is no such attempt.
    pub async fn note_swap(
        &self,
        name: &MigrationName,
        attempt: u32,
        xid: Xid,
        fence: Lsn,
    ) -> Result<(), StateError> {
        let update = "UPDATE crossfade.cutover SET xid = $3::text::xid8, fence_lsn = $4 \
                      WHERE migration = $1 AND attempt = $2";
        let (attempt, xid) = (attempt.cast_signed(), xid.to_string());
        let touched = self
            .session
            .execute(update, &[&name.as_str(), &attempt, &xid, &PgLsn::from(fence.0)])
            .await?;
        match touched {
            0 => Err(StateError::Unknown {
                name: name.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// Notes what came of an attempt.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn end_cutover(
        &self,
        name: &MigrationName,
        attempt: u32,
        lock_held_ms: Option<f64>,
        outcome: &str,
    ) -> Result<(), StateError> {
        let update = "UPDATE crossfade.cutover SET ended_at = pg_catalog.clock_timestamp(), lock_held_ms = $3, \
                      outcome = $4 WHERE migration = $1 AND attempt = $2";
        let attempt = attempt.cast_signed();
        self.session
            .execute(update, &[&name.as_str(), &attempt, &lock_held_ms, &outcome])
            .await?;
        Ok(())
    }

    /// All attempts, in order.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn cutovers(&self, name: &MigrationName) -> Result<Vec<CutoverRecord>, StateError> {
        let query = "SELECT attempt, xid::text, fence_lsn, started_at::text, ended_at::text, lock_held_ms, outcome \
                     FROM crossfade.cutover WHERE migration = $1 ORDER BY attempt";
        let rows = self.session.query(query, &[&name.as_str()]).await?;
        let record = |row: &tokio_postgres::Row| CutoverRecord {
            attempt: row.get::<_, i32>(0).cast_unsigned(),
            xid: row
                .get::<_, Option<&str>>(1)
                .and_then(|xid| xid.parse().ok())
                .map(Xid),
            fence: row.get::<_, Option<PgLsn>>(2).map(|lsn| Lsn(lsn.into())),
            started_at: row.get(3),
            ended_at: row.get(4),
            lock_held_ms: row.get(5),
            outcome: row.get(6),
        };
        Ok(rows.iter().map(record).collect())
    }
}
