//! The lockout: on a server that does not lead nobody writes to a table of the move but the move's own sessions.
//!
//! A trigger for each statement, which is also there for owners, superusers and `session_replication_role`; the error is
//! that of a read-only transaction, at which drivers and poolers connect anew. Its making waits for whoever is writing,
//! and is undone by a rollback: so a hand-over is one open transaction until it is decided.

use crossfade_core::name::{MigrationName, TableName};

use crate::ident::{self, literal};
use crate::session::settings::WRITES_FOR;

const NAME: &str = "crossfade_lockout";

/// What shuts writers out of these tables, which are locked. `place`: where they lead.
pub fn shut(tables: &[TableName], name: &MigrationName, place: &str) -> String {
    let one = |table: &TableName| {
        let table = ident::table(table);
        format!(
            "CREATE OR REPLACE TRIGGER {NAME} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT\n\
             WHEN (pg_catalog.current_setting('{WRITES_FOR}', true) IS DISTINCT FROM {name})\n\
             EXECUTE FUNCTION crossfade.lockout({name}, {place});\n\
             ALTER TABLE ONLY {table} ENABLE ALWAYS TRIGGER {NAME}",
            name = literal(name.as_str()),
            place = literal(place),
        )
    };
    tables.iter().map(one).collect::<Vec<_>>().join(";\n")
}

/// What lets them in again, without waiting for readers: the trigger stays, and does not fire.
pub fn open(tables: &[TableName]) -> String {
    let one = |table: &TableName| format!("ALTER TABLE ONLY {} DISABLE TRIGGER {NAME}", ident::table(table));
    tables.iter().map(one).collect::<Vec<_>>().join(";\n")
}

/// What removes it from a table; waits for its readers, too.
pub fn remove(table: &TableName) -> String {
    format!("DROP TRIGGER IF EXISTS {NAME} ON {}", ident::table(table))
}
