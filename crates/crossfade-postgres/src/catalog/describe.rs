//! One statement that reads a [`Definition`].

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Row};

use crate::catalog::definition::Definition;
use crate::session::{Session, SqlError};

/// Why a table could not be described.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The server refused or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// No relation has that OID (any more).
    #[error("find the table with OID {oid}")]
    Missing {
        /// The OID.
        oid: u32,
    },
    /// The document does not have the expected form.
    #[error("understand what the catalogs say about the table with OID {oid}")]
    Document {
        /// The OID.
        oid: u32,
        /// Where it went wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// What the query is called in errors: its text says nothing to whoever reads them.
const CALLED: &str = "the query that describes a table";

fn failed(error: &tokio_postgres::Error) -> SqlError {
    SqlError::new(CALLED, error)
}

const DESCRIBE: &str = include_str!("describe.sql");

/// Whether there is a relation of that `oid` now.
///
/// # Errors
/// As the server says.
pub async fn exists(session: &Session, oid: u32) -> Result<bool, SqlError> {
    let query = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid = $1)";
    Ok(session.query_one(query, &[&oid]).await?.get(0))
}

/// Describes the table with that OID, in one round trip and one statement. Changes no setting: works in a
/// transaction and outside of one, under any `search_path`. Constants in deparsed expressions follow the
/// session's `DateStyle`, `IntervalStyle` and `TimeZone`, which sessions of the engine pin.
///
/// # Errors
/// When the table is gone or the server refuses.
pub async fn describe<C: GenericClient + Sync>(client: &C, oid: u32) -> Result<Definition, CatalogError> {
    let row = client
        .query_typed_one(DESCRIBE, &[(&oid, Type::OID)])
        .await
        .map_err(|error| failed(&error))?;
    from_row(&row, oid)
}

/// [`describe`], planned beforehand: most of its time is the server's planning, which does not have to happen
/// under the cutover's lock. Run it once before the lock, and again under it, in the same session.
pub struct Describe {
    oid: u32,
    statement: tokio_postgres::Statement,
}

/// One plan for every table. A plan for one, with its OID as a constant in it, is thrown away by each statement that alters
/// the table: under the lock these are just those of the swap.
const PLAN_ONCE: &str = "SET plan_cache_mode = force_generic_plan";

impl Describe {
    /// Prepares the statement for the table with that OID. From then on the session plans each prepared statement once.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn prepare<C: GenericClient + Sync>(client: &C, oid: u32) -> Result<Describe, CatalogError> {
        client
            .batch_execute(PLAN_ONCE)
            .await
            .map_err(|error| failed(&error))?;
        let prepared = client.prepare_typed(DESCRIBE, &[Type::OID]).await;
        let statement = prepared.map_err(|error| failed(&error))?;
        Ok(Describe { oid, statement })
    }

    /// As [`describe`].
    ///
    /// # Errors
    /// As [`describe`].
    pub async fn run<C: GenericClient + Sync>(&self, client: &C) -> Result<Definition, CatalogError> {
        let row = client
            .query_one(&self.statement, &[&self.oid])
            .await
            .map_err(|error| failed(&error))?;
        from_row(&row, self.oid)
    }
}

fn from_row(row: &Row, oid: u32) -> Result<Definition, CatalogError> {
    let document: Option<serde_json::Value> = row.try_get(0).map_err(|error| failed(&error))?;
    let document = document.ok_or(CatalogError::Missing { oid })?;
    let mut definition: Definition =
        serde_json::from_value(document).map_err(|source| CatalogError::Document { oid, source })?;
    let (incoming, own) = definition
        .foreign_keys
        .drain(..)
        .partition(|key| key.referencing.is_some());
    definition.incoming = incoming;
    definition.foreign_keys = own;
    definition.sort();
    Ok(definition)
}
