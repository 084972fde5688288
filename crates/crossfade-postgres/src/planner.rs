//! From a change and the catalogs to a plan.
//!
//! Planning changes nothing: everything happens in one transaction that is always rolled back. What stands in
//! the way is returned all at once, so that it can be mended at once.

mod back;
mod carry;
mod checks;
pub(crate) mod copy_mode;
mod draft;
pub(crate) mod estimate;
mod expression;
mod foreign_keys;
pub(crate) mod grants;
mod inverse;
pub(crate) mod key;
mod node_tree;
mod notices;
mod nulls;
mod old_shape;
mod probe;
mod round_trip;
mod rule;
pub(crate) mod source;
mod statements;
mod tables;
mod target;
mod validity;
pub(crate) mod values;
mod written;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{Estimate, Plan};
use crossfade_core::refusal::Refusal;

use self::draft::Draft;
use crate::catalog::{self, CarriedItem, CatalogError, Definition};
use crate::change::{self, ChangeRequest, TypedName};
use crate::ident;
use crate::preflight::{self, Facts, FactsError, refusal};
use crate::session::{Session, SqlClass, SqlError};

pub use self::checks::{CheckError, CutoverChecks, in_words, table_oid};
pub use self::grants::{Grant, Grants, grants};
pub use self::validity::{ValidityError, as_planned, digest, still_valid};

/// A plan, and what is printed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What will run.
    pub plan: Plan,
    /// What the new table will have of the old one's.
    pub carried: Vec<CarriedItem>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The change will not be run as it is.
    #[error("plan the change: {} found in the way", .0.len())]
    Refused(Vec<Refusal>),
    /// The server refused a statement of ours, or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The table could not be described.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The server could not be described.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A definition could not be written down.
    #[error("write the definition of a table down")]
    Document(#[source] serde_json::Error),
}

/// Plans a change. Changes nothing, and holds no lock on the source but `ACCESS SHARE`, for moments.
///
/// # Errors
/// [`PlanError::Refused`] with every reason that was found, or what went wrong on the way.
///
/// # Cancel safety
/// None: a session whose planning was dropped is inside a transaction. Drop it too.
pub async fn plan(
    session: &Session,
    request: &ChangeRequest,
    name: &MigrationName,
) -> Result<Planned, PlanError> {
    session
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    let planned = draft(session, request, name).await;
    let ended = session.batch_execute("ROLLBACK").await;
    let planned = planned?;
    ended?;
    Ok(planned)
}

/// A change file to start from, for `crossfade init`.
///
/// # Errors
/// [`PlanError::Refused`] when there is no such table, or what went wrong on the way.
pub async fn template(session: &Session, table: &TypedName) -> Result<String, PlanError> {
    Ok(change::template(&describe(session, table, None).await?))
}

/// What of a table would be carried over, for a change that is refused: a plan has its own list.
///
/// # Errors
/// As [`template`].
pub async fn carried(session: &Session, request: &ChangeRequest) -> Result<Vec<CarriedItem>, PlanError> {
    let definition = describe(session, &request.table, request.search_path.as_deref()).await?;
    Ok(catalog::carried(&definition))
}

async fn describe(
    session: &Session,
    table: &TypedName,
    search_path: Option<&str>,
) -> Result<Definition, PlanError> {
    session.batch_execute("BEGIN").await?;
    let found = find(session, table, search_path).await;
    let ended = session.batch_execute("ROLLBACK").await;
    let definition = catalog::describe(session.client(), found?.oid).await?;
    ended?;
    Ok(definition)
}

/// The table as found.
struct Found {
    oid: u32,
    name: TableName,
    search_path: String,
}

/// What was read of the table and of what surrounds it.
struct Surroundings {
    definition: Definition,
    facts: Facts,
    estimate: Estimate,
}

async fn draft(
    session: &Session,
    request: &ChangeRequest,
    name: &MigrationName,
) -> Result<Planned, PlanError> {
    session
        .batch_execute(&format!(
            "SET LOCAL lock_timeout = {}",
            request.limits.lock_timeout_ms
        ))
        .await?;
    let found = find(session, &request.table, request.search_path.as_deref()).await?;
    let surroundings = look_around(session, &found, name).await?;
    let draft = Draft {
        session,
        request,
        name,
        found: &found,
        surroundings: &surroundings,
    };
    draft.finish().await
}

/// Run under the user's path, which may put anything in front of the catalog.
const FIND: &str = "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid";

const FOUND: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, has_table_privilege(c.oid, 'SELECT') AND c.relkind IN ('r', 'p')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1";

const USERS_SEARCH_PATH: &str = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'";

/// Finds the table as the user would, and locks it against being changed under our eyes.
async fn find(session: &Session, table: &TypedName, search_path: Option<&str>) -> Result<Found, PlanError> {
    let search_path = match search_path {
        Some(path) => path.to_owned(),
        None => session.query_one(USERS_SEARCH_PATH, &[]).await?.get(0),
    };
    probe::set_search_path(session, &search_path).await?;
    let oid: Option<u32> = match session.query_one(FIND, &[&table.quoted()]).await {
        Err(error) if error.class() == SqlClass::NotPermitted => {
            return Err(PlanError::Refused(vec![schema_not_visible(
                table,
                error.message(),
            )]));
        }
        answer => answer?.get(0),
    };
    probe::set_search_path(session, "pg_catalog").await?;
    let row = session.query_opt(FOUND, &[&oid]).await?;
    let row = row.ok_or_else(|| PlanError::Refused(vec![no_such_table(table, &search_path)]))?;
    let name = TableName::new(row.get::<_, String>(1), row.get::<_, String>(2));
    if row.get(3) {
        let lock = format!("LOCK TABLE ONLY {} IN ACCESS SHARE MODE", ident::table(&name));
        session.batch_execute(&lock).await?;
    }
    Ok(Found {
        oid: row.get(0),
        name,
        search_path,
    })
}

fn no_such_table(table: &TypedName, search_path: &str) -> Refusal {
    let place = match &table.schema {
        Some(_) => "in this database".to_owned(),
        None => format!("along the search_path {search_path}"),
    };
    refusal(
        RefusalCode::TableNotFound,
        table.to_string(),
        format!("There is no such table {place}."),
        "Write its name as in SQL, with its schema, and with double quotes where SQL wants them.",
    )
}

fn schema_not_visible(table: &TypedName, message: &str) -> Refusal {
    refusal(
        RefusalCode::TableNotVisible,
        table.to_string(),
        format!("The server says: {message}."),
        "Run `GRANT USAGE, CREATE ON SCHEMA …` to the role that runs the change.",
    )
}

async fn look_around(
    session: &Session,
    found: &Found,
    name: &MigrationName,
) -> Result<Surroundings, PlanError> {
    let definition = catalog::describe(session.client(), found.oid).await?;
    let facts = preflight::facts::read(session, found.oid, name).await?;
    let readable = facts.may_select && definition.table.kind == "r" && !facts.row_security_applies;
    let estimate = match readable {
        true => estimate::read(session, found.oid, &found.name).await?,
        false => Estimate::default(),
    };
    Ok(Surroundings {
        definition,
        facts,
        estimate,
    })
}
