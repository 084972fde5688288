//! The applied and attempted LSN, the chunk ledger, and the unproven drops.

use crossfade_core::name::MigrationName;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;
use tokio_postgres::types::PgLsn;

use super::{StateError, StateStore};
use crate::ident::literal;

/// How far the target is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Everything committed at or before it is in the target.
    pub applied: Lsn,
    /// How far an unfinished batch may have reached.
    pub attempted: Lsn,
}

/// A chunk whose rows are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Position of its target in the step.
    pub target: u32,
    /// Its number.
    pub number: u32,
    /// What it covers, in words that the copy chose.
    pub bounds: String,
    /// What read it.
    pub snapshot: Snapshot,
    /// Rows copied.
    pub rows: u64,
    /// Bytes copied, by estimate.
    pub bytes: u64,
}

/// Moves both positions, in the transaction that wrote the rows; touches no row when that would be a step back.
pub fn advance_statement(name: &MigrationName, applied: Lsn) -> String {
    format!(
        "UPDATE crossfade.position SET applied_lsn = '{applied}', \
         attempted_lsn = GREATEST(attempted_lsn, '{applied}') \
         WHERE migration = {} AND applied_lsn <= '{applied}'",
        literal(name.as_str())
    )
}

impl StateStore<'_> {
    /// Sets where a target starts: at the slot's consistent point.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn start_position(&self, name: &MigrationName, start: Lsn) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.position (migration, applied_lsn, attempted_lsn) VALUES ($1, $2, $2) \
                      ON CONFLICT (migration) DO UPDATE \
                      SET applied_lsn = EXCLUDED.applied_lsn, attempted_lsn = EXCLUDED.attempted_lsn";
        self.session
            .execute(insert, &[&name.as_str(), &PgLsn::from(start.0)])
            .await?;
        Ok(())
    }

    /// Where a target is; `None` before its slot exists.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn position(&self, name: &MigrationName) -> Result<Option<Position>, StateError> {
        let query = "SELECT applied_lsn, attempted_lsn FROM crossfade.position WHERE migration = $1";
        let row = self.session.query_opt(query, &[&name.as_str()]).await?;
        Ok(row.map(|row| Position {
            applied: lsn(row.get(0)),
            attempted: lsn(row.get(1)),
        }))
    }

    /// Moves both positions, in the caller's transaction if there is one: on keepalives alone (R22), or with rows.
    ///
    /// # Errors
    /// When it would be a step back.
    pub async fn advance(&self, name: &MigrationName, applied: Lsn) -> Result<(), StateError> {
        match self
            .session
            .execute(&advance_statement(name, applied), &[])
            .await?
        {
            0 => Err(StateError::PositionNotMoved {
                name: name.to_string(),
                to: applied,
            }),
            _ => Ok(()),
        }
    }

    /// Records how far a batch may reach before it is started (R18).
    ///
    /// # Errors
    /// When there is no position yet.
    pub async fn attempt(&self, name: &MigrationName, attempted: Lsn) -> Result<(), StateError> {
        let update =
            "UPDATE crossfade.position SET attempted_lsn = GREATEST(attempted_lsn, $2) WHERE migration = $1";
        match self
            .session
            .execute(update, &[&name.as_str(), &PgLsn::from(attempted.0)])
            .await?
        {
            0 => Err(StateError::PositionNotMoved {
                name: name.to_string(),
                to: attempted,
            }),
            _ => Ok(()),
        }
    }

    /// Writes a chunk's ledger row, in the caller's transaction.
    ///
    /// # Errors
    /// When the chunk is already there.
    pub async fn record_chunk(&self, name: &MigrationName, chunk: &ChunkRecord) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.chunk (migration, target, number, bounds, snapshot, rows, bytes) \
                      VALUES ($1, $2, $3, $4, $5, $6, $7)";
        let (target, number) = (chunk.target.cast_signed(), chunk.number.cast_signed());
        let (rows, bytes) = (chunk.rows.cast_signed(), chunk.bytes.cast_signed());
        let (bounds, snapshot) = (&chunk.bounds, chunk.snapshot.to_string());
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
            [&name.as_str(), &target, &number, bounds, &snapshot, &rows, &bytes];
        self.session.execute(insert, &values).await?;
        Ok(())
    }

    /// The ledger.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn chunks(&self, name: &MigrationName) -> Result<Vec<ChunkRecord>, StateError> {
        let query = "SELECT target, number, bounds, snapshot, rows, bytes FROM crossfade.chunk \
                     WHERE migration = $1 ORDER BY target, number";
        let rows = self.session.query(query, &[&name.as_str()]).await?;
        let unreadable = || StateError::Unreadable {
            name: name.to_string(),
            what: "a chunk's snapshot",
        };
        rows.iter()
            .map(|row| {
                Ok(ChunkRecord {
                    target: row.get::<_, i32>(0).cast_unsigned(),
                    number: row.get::<_, i32>(1).cast_unsigned(),
                    bounds: row.get(2),
                    snapshot: row.get::<_, &str>(3).parse().map_err(|_| unreadable())?,
                    rows: row.get::<_, i64>(4).cast_unsigned(),
                    bytes: row.get::<_, i64>(5).cast_unsigned(),
                })
            })
            .collect()
    }

    /// Empties the ledger, the unproven drops and the position: the copy starts over.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn forget_copy(&self, name: &MigrationName) -> Result<(), StateError> {
        for table in ["chunk", "unproven_drop", "position"] {
            let delete = format!("DELETE FROM crossfade.{table} WHERE migration = $1");
            self.session.execute(&delete, &[&name.as_str()]).await?;
        }
        Ok(())
    }

    /// Adds unproven drops, in the transaction that advances the applied LSN past them (R6).
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn add_unproven(&self, name: &MigrationName, xids: &[Xid]) -> Result<(), StateError> {
        let insert = "INSERT INTO crossfade.unproven_drop (migration, xid) \
                      SELECT $1, xid::xid8 FROM pg_catalog.unnest($2::text[]) AS xid ON CONFLICT DO NOTHING";
        self.session
            .execute(insert, &[&name.as_str(), &texts(xids)])
            .await?;
        Ok(())
    }

    /// Takes out drops that a snapshot has seen.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn remove_unproven(&self, name: &MigrationName, xids: &[Xid]) -> Result<(), StateError> {
        let delete = "DELETE FROM crossfade.unproven_drop WHERE migration = $1 \
                      AND xid IN (SELECT xid::xid8 FROM pg_catalog.unnest($2::text[]) AS xid)";
        self.session
            .execute(delete, &[&name.as_str(), &texts(xids)])
            .await?;
        Ok(())
    }

    /// The unproven drops.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn unproven(&self, name: &MigrationName) -> Result<Vec<Xid>, StateError> {
        let query = "SELECT xid::text FROM crossfade.unproven_drop WHERE migration = $1 ORDER BY xid";
        let rows = self.session.query(query, &[&name.as_str()]).await?;
        let unreadable = || StateError::Unreadable {
            name: name.to_string(),
            what: "an unproven drop",
        };
        let xid =
            |row: &tokio_postgres::Row| row.get::<_, &str>(0).parse().map(Xid).map_err(|_| unreadable());
        rows.iter().map(xid).collect()
    }
}

fn lsn(lsn: PgLsn) -> Lsn {
    Lsn(lsn.into())
}

fn texts(xids: &[Xid]) -> Vec<String> {
    xids.iter().map(Xid::to_string).collect()
}
