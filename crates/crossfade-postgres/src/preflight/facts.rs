//! What the checks look at, read in one statement at one moment.

use crossfade_core::name::{MigrationName, TableName};
use serde::Deserialize;

use crate::session::{Session, SqlError};

const FACTS: &str = include_str!("facts.sql");

/// An expression: the part of the facts that no table is needed for.
const SERVER: &str = include_str!("server.sql");

/// The server, our role, and the table's surroundings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The server, and what our role may do there.
    pub server: ServerFacts,
    /// We own the table, or are a member of the role that does.
    pub owns_table: bool,
    /// The table's owner.
    pub owner: String,
    /// We may read the table.
    pub may_select: bool,
    /// We may put the new table into the table's schema.
    pub may_create_in_schema: bool,
    /// Row security would filter what we read.
    pub row_security_applies: bool,
    /// Prepared transactions that hold locks on the table.
    pub prepared: Vec<String>,
    /// Slot, publication or schemas of the migration's name that exist.
    pub taken: Vec<String>,
    /// Tables at the other end of foreign keys.
    pub related: Vec<Related>,
    /// Rows updated and deleted, by the server's statistics.
    pub changed_or_deleted: i64,
}

/// The server, and what our role may do there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFacts {
    /// `wal_level`.
    pub wal_level: String,
    /// `max_replication_slots`.
    pub slots_max: i64,
    /// Slots that exist.
    pub slots_used: i64,
    /// `max_wal_senders`.
    pub senders_max: i64,
    /// Walsenders that run.
    pub senders_used: i64,
    /// `synchronous_standby_names`, the setting itself: the view hides states from us.
    pub synchronous_standby_names: String,
    /// Slots that `synchronized_standby_slots` names and that nobody streams from.
    pub awaited_standbys: Vec<String>,
    /// `max_slot_wal_keep_size` in bytes; `None` is no bound.
    pub slot_keeps_bytes: Option<u64>,
    /// Standbys whose readers cannot be seen from here: no feedback and no slot.
    pub standbys_unseen: i64,
    /// Our role sees how far standbys are behind.
    pub may_see_lag: bool,
    /// Our role.
    pub role: String,
    /// It may create slots and stream.
    pub may_replicate: bool,
    /// The role whose members may, where nobody can give REPLICATION.
    pub replicates_by: Option<String>,
    /// It may create schemas and publications in the database.
    pub may_create_schemas: bool,
    /// The database.
    pub database: String,
    /// Publications `FOR ALL TABLES`.
    pub publications_of_all: Vec<String>,
    /// Prepared transactions, of any database.
    pub prepared: Vec<Prepared>,
    /// Transactions, of any database, that have been open for more than five minutes.
    pub long: Vec<LongTransaction>,
    /// Enabled event triggers.
    pub event_triggers: Vec<String>,
}

/// A prepared transaction.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// Its name.
    pub gid: String,
    /// For how long, in seconds.
    pub age_s: i64,
}

/// A transaction that has been open for long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LongTransaction {
    /// Its process.
    pub pid: i32,
    /// Its role.
    pub user: Option<String>,
    /// Its `application_name`.
    pub application: Option<String>,
    /// For how long, in seconds.
    pub age_s: i64,
}

/// A table at the other end of a foreign key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Related {
    /// Its name.
    pub table: TableName,
    /// We own it, or are a member of the role that does.
    pub owned: bool,
    /// It refers to our table; else ours refers to it.
    pub referencing: bool,
    /// We may lock it exclusively.
    pub lockable: bool,
    /// We may refer to it.
    pub may_reference: bool,
}

/// Why the facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// The server refused or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The document does not have the expected form.
    #[error("understand what the server says about itself")]
    Document(#[source] serde_json::Error),
}

/// Reads the facts for a migration of the table with that OID.
///
/// # Errors
/// When the server refuses, or the table is gone.
pub async fn read(session: &Session, table: u32, name: &MigrationName) -> Result<Facts, FactsError> {
    let facts = FACTS.replace("{server}", SERVER);
    let row = session
        .query_one(&facts, &[&table, &name.schema(), &name.retired_schema()])
        .await?;
    serde_json::from_value(row.get(0)).map_err(FactsError::Document)
}

/// Reads what no table is needed for.
///
/// # Errors
/// When the server refuses.
pub async fn read_server(session: &Session) -> Result<ServerFacts, FactsError> {
    let row = session.query_one(&format!("SELECT {SERVER}"), &[]).await?;
    serde_json::from_value(row.get(0)).map_err(FactsError::Document)
}

#[cfg(test)]
pub(super) fn fine() -> Facts {
    Facts {
        server: ServerFacts {
            wal_level: "logical".to_owned(),
            slots_max: 10,
            slots_used: 0,
            senders_max: 10,
            senders_used: 0,
            synchronous_standby_names: String::new(),
            awaited_standbys: Vec::new(),
            slot_keeps_bytes: None,
            standbys_unseen: 0,
            may_see_lag: true,
            role: "engine".to_owned(),
            may_replicate: true,
            replicates_by: None,
            may_create_schemas: true,
            database: "shop".to_owned(),
            publications_of_all: Vec::new(),
            prepared: Vec::new(),
            long: Vec::new(),
            event_triggers: Vec::new(),
        },
        owns_table: true,
        owner: "app".to_owned(),
        may_select: true,
        may_create_in_schema: true,
        row_security_applies: false,
        prepared: Vec::new(),
        taken: Vec::new(),
        related: Vec::new(),
        changed_or_deleted: 0,
    }
}
