//! Replication slots through SQL: ours, another's, gone.

use std::time::Duration;

use crossfade_core::position::Lsn;
use tokio::time::Instant;

use crate::session::{Session, SqlError};

const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A slot as `pg_replication_slots` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its output plugin.
    pub plugin: Option<String>,
    /// Its database.
    pub database: Option<String>,
    /// Who streams from it.
    pub active_pid: Option<i32>,
    /// Everything before it is acknowledged.
    pub confirmed_flush: Option<Lsn>,
    /// `lost`: the server has removed WAL that it needs.
    pub wal_status: Option<String>,
    /// WAL that it retains, in bytes.
    pub retained: u64,
}

impl Slot {
    /// Whether it is one that the engine makes: logical, `pgoutput`, in this database. That it bears a
    /// migration's name and that the state schema knows that migration is for the caller to see.
    pub fn is_of_our_kind(&self, database: &str) -> bool {
        self.plugin.as_deref() == Some("pgoutput") && self.database.as_deref() == Some(database)
    }

    /// Whether it can be streamed from no more.
    pub fn is_lost(&self) -> bool {
        self.wal_status.as_deref() == Some("lost")
    }
}

/// The slot of that name.
///
/// # Errors
/// As the server says.
pub async fn find(session: &Session, name: &str) -> Result<Option<Slot>, SqlError> {
    let select = "\
SELECT plugin::text, database::text, active_pid, confirmed_flush_lsn::text, wal_status,
       coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), restart_lsn), 0)::int8
  FROM pg_catalog.pg_replication_slots WHERE slot_name = $1::text";
    let row = session.query_opt(select, &[&name]).await?;
    Ok(row.map(|row| Slot {
        plugin: row.get(0),
        database: row.get(1),
        active_pid: row.get(2),
        confirmed_flush: row.get::<_, Option<&str>>(3).and_then(|text| text.parse().ok()),
        wal_status: row.get(4),
        retained: row.get::<_, i64>(5).try_into().unwrap_or(0),
    }))
}

/// Drops the slot if it is there: ends whoever streams from it, and waits for the slot within `max`.
///
/// # Errors
/// As the server says, also when the slot stays in use.
pub async fn drop_if_exists(session: &Session, name: &str, max: Duration) -> Result<(), SqlError> {
    let drop = "SELECT pg_catalog.pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots
                 WHERE slot_name = $1::text AND NOT active";
    let end = "SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
                WHERE slot_name = $1::text AND active";
    let deadline = Instant::now() + max;
    while find(session, name).await?.is_some() {
        session.query(end, &[&name]).await?;
        let dropped = session.query(drop, &[&name]).await;
        if Instant::now() >= deadline {
            // Whatever keeps it: the server says it.
            dropped?;
            session
                .query(
                    "SELECT pg_catalog.pg_drop_replication_slot($1::text::name)",
                    &[&name],
                )
                .await?;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}
