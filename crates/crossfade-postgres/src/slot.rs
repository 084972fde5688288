//! Replication slots through SQL: found, dropped. (Their creation belongs to the replication connection, which
//! alone can export the snapshot.)

use std::time::Duration;

use crossfade_core::position::Lsn;
use tokio::time::Instant;
use tokio_postgres::types::PgLsn;

use crate::session::{Session, SqlError};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
const LET_GO_MAX: Duration = Duration::from_secs(2);
const END_OURS: &str = "\
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE pid = $1 AND usename = current_user AND application_name = pg_catalog.current_setting('application_name')";

/// A logical or physical slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Its output plugin; `None` for a physical slot.
    pub plugin: Option<String>,
    /// Its database; `None` for a physical slot.
    pub database: Option<String>,
    /// The process that reads it.
    pub active_pid: Option<i32>,
    /// The oldest WAL it retains.
    pub restart_lsn: Option<Lsn>,
    /// What its reader has acknowledged.
    pub confirmed_flush_lsn: Option<Lsn>,
    /// Whether that WAL is still there.
    pub wal_status: Option<WalStatus>,
    /// Bytes between the oldest WAL it retains and the insert position.
    pub retained_bytes: Option<u64>,
}

/// `pg_replication_slots.wal_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalStatus {
    /// Within `max_wal_size`.
    Reserved,
    /// Beyond it, but kept.
    Extended,
    /// Will be removed at the next checkpoint.
    Unreserved,
    /// Removed: the slot is of no use.
    Lost,
}

impl WalStatus {
    fn from_word(word: &str) -> Option<Self> {
        match word {
            "reserved" => Some(WalStatus::Reserved),
            "extended" => Some(WalStatus::Extended),
            "unreserved" => Some(WalStatus::Unreserved),
            "lost" => Some(WalStatus::Lost),
            _ => None,
        }
    }
}

/// Why a slot could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum DropSlotError {
    /// The server refused.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// Somebody keeps reading it.
    #[error("drop the slot {name}: process {pid} is still reading it")]
    InUse {
        /// The slot.
        name: String,
        /// Its reader.
        pid: i32,
    },
}

const FIND: &str = "\
SELECT slot_name::text, plugin::text, database::text, active_pid, restart_lsn, confirmed_flush_lsn, wal_status,
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), restart_lsn)::int8
  FROM pg_catalog.pg_replication_slots
 WHERE slot_name = $1::text AND (database IS NULL OR database = pg_catalog.current_database())";

/// The slot of that name, unless it is another database's: names are the cluster's, and a migration may have the same
/// name there.
///
/// # Errors
/// As the server says.
pub async fn find(session: &Session, name: &str) -> Result<Option<Slot>, SqlError> {
    let row = session.query_opt(FIND, &[&name]).await?;
    let lsn = |lsn: PgLsn| Lsn(lsn.into());
    Ok(row.map(|row| Slot {
        name: row.get(0),
        plugin: row.get(1),
        database: row.get(2),
        active_pid: row.get(3),
        restart_lsn: row.get::<_, Option<PgLsn>>(4).map(lsn),
        confirmed_flush_lsn: row.get::<_, Option<PgLsn>>(5).map(lsn),
        wal_status: row.get::<_, Option<&str>>(6).and_then(WalStatus::from_word),
        retained_bytes: row
            .get::<_, Option<i64>>(7)
            .and_then(|bytes| u64::try_from(bytes).ok()),
    }))
}

/// Drops a slot once its reader is gone; does nothing when there is none. Whose slot it is, the caller knows. A reader of
/// our own that has not let go for a while is ended: one that still waits for its slot to be made does not notice that
/// nobody waits for it.
///
/// # Errors
/// When it is still being read after `patience`, or the server refuses.
pub async fn drop(session: &Session, name: &str, patience: Duration) -> Result<(), DropSlotError> {
    let began = Instant::now();
    let deadline = began + patience;
    loop {
        let Some(slot) = find(session, name).await? else {
            return Ok(());
        };
        match slot.active_pid {
            Some(pid) if Instant::now() >= deadline => {
                let name = name.to_owned();
                return Err(DropSlotError::InUse { name, pid });
            }
            Some(pid) => {
                if began.elapsed() > LET_GO_MAX {
                    session.query(END_OURS, &[&pid]).await?;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            None => {
                let statement = "SELECT pg_catalog.pg_drop_replication_slot($1::text::name)";
                match session.query_one(statement, &[&name]).await {
                    Ok(_) => return Ok(()),
                    // Somebody was faster, with reading or with dropping it: look again.
                    Err(error) if changed_meanwhile(&error) && Instant::now() < deadline => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
}

/// `object_in_use` and `undefined_object`.
fn changed_meanwhile(error: &SqlError) -> bool {
    error
        .code()
        .is_some_and(|code| matches!(code.code(), "55006" | "42704"))
}
