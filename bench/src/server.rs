//! The server that is measured on, and the settings that move figures.

use std::collections::BTreeMap;

use crossfade_postgres::session::{Session, SqlError};
use serde::{Deserialize, Serialize};

/// The settings that are written down.
const SETTINGS: [&str; 16] = [
    "autovacuum",
    "checkpoint_timeout",
    "data_checksums",
    "effective_io_concurrency",
    "fsync",
    "full_page_writes",
    "logical_decoding_work_mem",
    "maintenance_work_mem",
    "max_wal_size",
    "shared_buffers",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_buffers",
    "wal_compression",
    "wal_level",
    "work_mem",
];

/// Our sessions pin some: of these the value that any other session has.
const READ: &str = "\
SELECT name, CASE WHEN source = 'session' THEN reset_val ELSE pg_catalog.current_setting(name) END
  FROM pg_catalog.pg_settings WHERE name = ANY ($1)";

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// `server_version`, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// By name, in the server's own units.
    pub settings: BTreeMap<String, String>,
}

impl ServerFacts {
    /// Of this session's server.
    ///
    /// # Errors
    /// As the server says.
    pub async fn read(session: &Session) -> Result<ServerFacts, SqlError> {
        let version = session
            .query_one("SELECT pg_catalog.current_setting('server_version')", &[])
            .await?;
        let rows = session.query(READ, &[&SETTINGS.as_slice()]).await?;
        Ok(ServerFacts {
            version: version.get(0),
            settings: rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        })
    }
}
