//! From a change and the catalogs to a plan.
//!
//! Planning changes nothing: everything happens in one transaction that is always rolled back. What stands in
//! the way is returned all at once, so that it can be mended at once.

mod carry;
mod estimate;
mod expression;
mod key;
mod node_tree;
mod notices;
mod probe;
mod source;
mod statements;
mod target;
mod validity;

use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{
    CopyMode, CopyStep, Estimate, Key, PLAN_VERSION, Plan, ReplicaIdentity, ServerIdentity, Source, Step,
    Target,
};
use crossfade_core::refusal::{Notice, Refusal};

use self::key::{KeyChoice, NoKey};
use self::probe::{ProbeOptions, Probed};
use crate::catalog::{self, CarriedItem, CatalogError, Definition};
use crate::change::limits::show_bytes;
use crate::change::{self, Alteration, ChangeRequest, TypedName};
use crate::ident;
use crate::preflight::{self, Context, Facts, FactsError, refusal};
use crate::session::{Session, SqlClass, SqlError};

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
    session.batch_execute("BEGIN").await?;
    let found = find(session, table, None).await;
    let ended = session.batch_execute("ROLLBACK").await;
    let definition = catalog::describe(session.client(), found?.oid).await?;
    ended?;
    Ok(change::template(&definition))
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

const FIND: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, has_table_privilege(c.oid, 'SELECT') AND c.relkind IN ('r', 'p')
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)";

const USERS_SEARCH_PATH: &str = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'";

/// Finds the table as the user would, and locks it against being changed under our eyes.
async fn find(session: &Session, table: &TypedName, search_path: Option<&str>) -> Result<Found, PlanError> {
    let search_path = match search_path {
        Some(path) => path.to_owned(),
        None => session.query_one(USERS_SEARCH_PATH, &[]).await?.get(0),
    };
    probe::set_search_path(session, &search_path).await?;
    let row = match session.query_opt(FIND, &[&table.quoted()]).await {
        Err(error) if error.class() == SqlClass::NotPermitted => {
            return Err(PlanError::Refused(vec![schema_not_visible(
                table,
                error.message(),
            )]));
        }
        answer => answer?,
    };
    probe::set_search_path(session, "pg_catalog").await?;
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
        "table_not_found",
        table.to_string(),
        format!("There is no such table {place}."),
        "Write its name as in SQL, with its schema, and with double quotes where SQL wants them.",
    )
}

fn schema_not_visible(table: &TypedName, message: &str) -> Refusal {
    refusal(
        "table_not_visible",
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

/// A plan in the making.
struct Draft<'a> {
    session: &'a Session,
    request: &'a ChangeRequest,
    name: &'a MigrationName,
    found: &'a Found,
    surroundings: &'a Surroundings,
}

/// Both sides of the copy.
struct Sides {
    source: Source,
    target: Target,
    desired: Definition,
    probed: Probed,
}

impl Draft<'_> {
    async fn finish(&self) -> Result<Planned, PlanError> {
        let mut refusals = self.preflight();
        let alteration = match self.alteration() {
            Ok(alteration) => alteration,
            Err(refusal) => {
                refusals.push(refusal);
                return Err(refused(refusals));
            }
        };
        refusals.extend(alteration.refusals.iter().cloned());
        let (source, more) = self.source().await?;
        refusals.extend(more);
        if self.can_probe(alteration) {
            match self.sides(alteration, source).await? {
                Ok(sides) if refusals.is_empty() => return self.plan(alteration, sides).await,
                Ok(_) => {}
                Err(more) => refusals.extend(more),
            }
        }
        Err(refused(refusals))
    }

    fn context(&self) -> Context<'_> {
        Context {
            facts: &self.surroundings.facts,
            table: &self.found.name,
            name: self.name,
            limits: &self.request.limits,
            estimate: &self.surroundings.estimate,
        }
    }

    fn preflight(&self) -> Vec<Refusal> {
        let mut refusals = preflight::check(&self.context());
        refusals.extend(catalog::refuse(&self.surroundings.definition, &[]));
        refusals
    }

    fn alteration(&self) -> Result<&Alteration, Refusal> {
        match self.request.targets.as_slice() {
            [target] => Ok(&target.alteration),
            _ => Err(refusal(
                "split_not_served",
                self.found.name.to_string(),
                "Splitting a table into several is not served yet.".to_owned(),
                "Plan a change of one table.",
            )),
        }
    }

    fn can_probe(&self, alteration: &Alteration) -> bool {
        let served = alteration.refusals.is_empty();
        let table = self.surroundings.definition.table.kind == "r";
        served && table && self.surroundings.facts.may_create_schemas
    }

    async fn source(&self) -> Result<(Source, Vec<Refusal>), PlanError> {
        let columns = source::columns(self.session, self.found.oid).await?;
        let columns: Vec<source::TableColumn> =
            columns.into_iter().filter(|column| !column.generated).collect();
        let definition = &self.surroundings.definition;
        let choice = key::choose(definition);
        let mut refusals = Vec::new();
        let position = |name: &String| columns.iter().position(|column| column.column.name == *name);
        let (key, identity_to_restore) = match &choice {
            KeyChoice::Columns(names) => {
                let positions = names.iter().filter_map(position).collect();
                (Some(Key { columns: positions }), None)
            }
            KeyChoice::Keyless(why) => {
                refusals.extend(self.not_append_only(why));
                let today = &definition.table.replica_identity;
                (None, (*today != ReplicaIdentity::Full).then(|| today.clone()))
            }
        };
        let source = Source {
            name: self.found.name.clone(),
            oid: self.found.oid,
            key,
            full_identity: identity_to_restore.is_some()
                || definition.table.replica_identity == ReplicaIdentity::Full,
            identity_to_restore,
            binary: columns.iter().all(|column| column.binary),
            columns: columns.into_iter().map(|column| column.column).collect(),
            definition: document(definition)?,
        };
        Ok((source, refusals))
    }

    /// A keyless table is served where nothing but inserts has ever been seen in it.
    fn not_append_only(&self, why: &NoKey) -> Option<Refusal> {
        if self.surroundings.facts.changed_or_deleted == 0 {
            return None;
        }
        let table = ident::table(&self.found.name);
        Some(refusal(
            "no_usable_key",
            self.found.name.to_string(),
            format!(
                "Rows of it are updated or deleted, and nothing tells them apart: {}.",
                why.words()
            ),
            &format!(
                "Run `ALTER TABLE {table} ADD PRIMARY KEY (…)`, or `ALTER TABLE {table} REPLICA IDENTITY USING \
                 INDEX …` with a unique index over columns that are NOT NULL."
            ),
        ))
    }

    async fn sides(
        &self,
        alteration: &Alteration,
        source: Source,
    ) -> Result<Result<Sides, Vec<Refusal>>, PlanError> {
        let today = &self.surroundings.definition;
        let options = ProbeOptions {
            source: today,
            search_path: &self.found.search_path,
        };
        let probed = match probe::probe(self.session, &options, alteration).await? {
            Ok(probed) => probed,
            Err(refusals) => return Ok(Err(refusals)),
        };
        let mut refusals = carry::not_carried(today, &probed);
        let desired = match catalog::desired(today, &probed.definition) {
            Ok(desired) => desired,
            Err(more) => {
                refusals.extend(more);
                return Ok(Err(refusals));
            }
        };
        let built = target::build(&target::Pieces {
            name: self.name,
            source: &source,
            today,
            desired: &desired,
            probed: &probed,
        });
        let mut target = match built {
            Ok(target) if refusals.is_empty() => target,
            Ok(_) => return Ok(Err(refusals)),
            Err(more) => {
                refusals.extend(more);
                return Ok(Err(refusals));
            }
        };
        target.definition = document(&desired)?;
        Ok(Ok(Sides {
            source,
            target,
            desired,
            probed,
        }))
    }

    async fn plan(&self, alteration: &Alteration, sides: Sides) -> Result<Planned, PlanError> {
        let today = &self.surroundings.definition;
        let statements = statements::list(&statements::Pieces {
            name: self.name,
            source: &sides.source,
            today,
            target: &sides.target,
            desired: &sides.desired,
            role: &self.surroundings.facts.role,
            limits: &self.request.limits,
        });
        let notices = self.notices(alteration, &sides);
        let carried = catalog::carried(&sides.desired);
        let step = CopyStep {
            copy_mode: CopyMode::Snapshot,
            copy_mode_reason: self.copy_mode_reason(),
            estimate: self.surroundings.estimate,
            source: sides.source,
            targets: vec![sides.target],
            statements,
        };
        let plan = Plan {
            version: PLAN_VERSION,
            name: self.name.clone(),
            server: self.server().await?,
            search_path: self.found.search_path.clone(),
            steps: vec![Step::CopyIntoTables(Box::new(step))],
            limits: self.request.limits.clone(),
            notices,
        };
        Ok(Planned { plan, carried })
    }

    fn notices(&self, alteration: &Alteration, sides: &Sides) -> Vec<Notice> {
        let pieces = notices::Pieces {
            today: &self.surroundings.definition,
            desired: &sides.desired,
            probed: &sides.probed,
            alteration,
            keyless: sides.source.key.is_none(),
        };
        let mut notices = notices::all(&pieces);
        notices.extend(preflight::notices(&self.context()));
        notices.extend(catalog::notices(&self.surroundings.definition));
        notices
    }

    fn copy_mode_reason(&self) -> String {
        let bounds = [
            self.request
                .limits
                .retained_wal_max_bytes
                .map(|bytes| ("retained_wal_max", bytes)),
            self.surroundings
                .facts
                .slot_keeps_bytes
                .map(|bytes| ("max_slot_wal_keep_size", bytes)),
        ];
        let bound = bounds.into_iter().flatten().min_by_key(|(_, bytes)| *bytes);
        let kept = match bound {
            Some((name, bytes)) => format!("up to {name} ({})", show_bytes(bytes)),
            None => "without bound: set retained_wal_max to have one".to_owned(),
        };
        format!(
            "one snapshot, by several copiers at once: the fastest way for about {}; meanwhile the server keeps \
             all WAL for our slot, {kept}",
            preflight::about(self.surroundings.estimate.bytes)
        )
    }

    async fn server(&self) -> Result<ServerIdentity, SqlError> {
        Ok(ServerIdentity {
            system_identifier: self.session.system_identifier().await?,
            version_num: self.session.version_num(),
            database: self.surroundings.facts.database.clone(),
        })
    }
}

/// Each refusal once: a check and the catalogs may have found the same thing.
fn refused(mut refusals: Vec<Refusal>) -> PlanError {
    let mut seen = std::collections::BTreeSet::new();
    refusals.retain(|refusal| seen.insert((refusal.code.clone(), refusal.object.clone())));
    PlanError::Refused(refusals)
}

fn document(definition: &Definition) -> Result<String, PlanError> {
    serde_json::to_string(definition).map_err(PlanError::Document)
}
