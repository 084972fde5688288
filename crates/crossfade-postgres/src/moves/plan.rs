//! The plan of a move, or everything that stands in its way.

use std::collections::BTreeSet;

use crossfade_core::code::{NoticeCode, RefusalCode};
use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{Destination, PLAN_VERSION, Plan, SchemaSource, ServerIdentity, Step};
use crossfade_core::refusal::{Notice, Refusal};

use super::relations::{self, Relation, Selection};
use super::{attachments, indexes, schema, sequences, tables};
use crate::change::ValuesRequest;
use crate::ident;
use crate::planner::{self, PlanError};
use crate::preflight::{self, refusal};
use crate::session::Session;

/// What is to be moved, and how.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// Which tables.
    pub selection: Selection,
    /// Where the target's come from.
    pub schema: SchemaSource,
    /// Bounds of the run.
    pub limits: Limits,
    /// What fills columns of the target in place of the source's own values.
    pub values: Option<ValuesRequest>,
    /// Nobody is handed over: the target gets a copy of one moment.
    pub copy_only: bool,
}

impl MoveRequest {
    /// In one form: asked for again under the same name, it is gone on with.
    pub fn canonical(&self) -> String {
        let schema = match self.schema {
            SchemaSource::Dump => "dump",
            SchemaSource::Existing => "existing",
        };
        let mut text = format!("move {}; schema from {schema}", self.selection.canonical());
        if self.copy_only {
            text.push_str("; copy only");
        }
        if let Some(values) = &self.values {
            text.push_str("; ");
            text.push_str(&values.canonical());
        }
        text
    }
}

/// One side of a move.
pub struct Side<'a> {
    /// A session there.
    pub session: &'a Session,
    /// Where that is, for people: `host:port/database`.
    pub place: String,
}

/// Plans a move. Changes nothing.
///
/// # Errors
/// [`PlanError::Refused`] with every reason that was found, or what went wrong on the way.
pub async fn plan(
    from: &Side<'_>,
    to: &Side<'_>,
    request: &MoveRequest,
    name: &MigrationName,
) -> Result<Plan, PlanError> {
    let (source, target) = (from.session, to.session);
    let servers = (identity(source).await?, identity(target).await?);
    let mut refusals = different_databases(&servers.0, &servers.1);
    refusals.extend(servers_refuse(source, "the source").await?);
    refusals.extend(servers_refuse(target, "the target").await?);
    refusals.extend(encodings(source, target).await?);
    refusals.extend(large_objects(source, &request.selection).await?);

    let (relations, unmatched) = relations::select(source, &request.selection).await?;
    refusals.extend(nothing_selected(&unmatched));
    refusals.extend(of_relations(source, &relations).await?);
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let attached = attachments::read(source, &oids, source.version_num().min(target.version_num())).await?;
    refusals.extend(attached.torn.iter().map(torn_key));

    let mut names: Vec<TableName> = leaves(&relations);
    let mut read = tables::read_all(source, &names).await?;
    // The largest is begun first: what is left at the end is small, and can be shared out.
    read.sort_by_key(|table| std::cmp::Reverse(table.step.estimate.bytes));
    names = read.iter().map(|table| table.step.source.name.clone()).collect();
    let mut notices = Vec::new();
    for table in &read {
        let Some(why) = &table.keyless else { continue };
        let name = &table.step.source.name;
        match changed(source, table.step.source.oid).await? {
            true => refusals.push(no_key(name, why)),
            false => notices.push(append_only(name, why)),
        }
    }
    if let Some(values) = &request.values {
        refusals.extend(fill(source, &relations, &mut read, values).await?);
    }
    refusals.extend(target_tables(source, target, request.schema, &names, &relations).await?);
    if request.schema == SchemaSource::Dump {
        refusals.extend(missing_roles(source, target, &oids).await?);
    }
    if !refusals.is_empty() {
        return Err(PlanError::Refused(refusals));
    }

    let all: Vec<TableName> = relations.iter().map(|relation| relation.name.clone()).collect();
    let there = indexes::names(target, &all).await?;
    read.iter_mut().for_each(|table| table.leave_out(&there));
    let steps = read
        .into_iter()
        .map(|table| Step::CopyIntoTables(Box::new(table.step)));
    let whole = request.selection == Selection::All;
    Ok(Plan {
        version: PLAN_VERSION,
        name: name.clone(),
        server: servers.0,
        search_path: String::new(),
        change: request.canonical(),
        steps: steps.collect(),
        limits: request.limits.clone(),
        notices,
        destination: Some(Box::new(Destination {
            server: servers.1,
            from_place: from.place.clone(),
            to_place: to.place.clone(),
            schema: request.schema,
            roots: roots(source, &relations, &there).await?,
            relations: all,
            attachments: attached.attachments,
            sequences: sequences::of_tables(source, &oids, whole).await?,
            copy_only: request.copy_only,
        })),
    })
}

/// Fills what the move changes on the way; of a partitioned table in all its parts.
async fn fill(
    source: &Session,
    relations: &[Relation],
    read: &mut [tables::Table],
    values: &ValuesRequest,
) -> Result<Vec<Refusal>, PlanError> {
    let mut refusals = Vec::new();
    for of_table in &values.tables {
        let named = |relation: &&Relation| relation.is_named(&of_table.table);
        let named: Vec<u32> = relations
            .iter()
            .filter(named)
            .map(|relation| relation.oid)
            .collect();
        if named.is_empty() {
            refusals.push(refusal(
                RefusalCode::NothingSelected,
                format!("{} ({})", of_table.table.quoted(), of_table.place),
                "It is none of the tables that are moved.".to_owned(),
                "Write `schema.table` as SQL takes it; names with capitals in double quotes.",
            ));
        }
        let leaves = relations::leaves_below(source, &named).await?;
        for table in read
            .iter_mut()
            .filter(|table| leaves.contains(&table.step.source.oid))
        {
            let path = &values.search_path;
            refusals.extend(planner::values::fill(source, path, &mut table.step, of_table).await?);
        }
    }
    Ok(refusals)
}

/// Indexes of partitioned tables, the deepest first: what is there the one above attaches.
async fn roots(
    source: &Session,
    relations: &[Relation],
    there: &BTreeSet<TableName>,
) -> Result<Vec<String>, PlanError> {
    let mut partitioned: Vec<&Relation> = relations.iter().filter(|relation| relation.partitioned).collect();
    partitioned.sort_by_key(|relation| std::cmp::Reverse(relation.depth));
    let mut roots = Vec::new();
    for relation in partitioned {
        roots.extend(indexes::of_root(source, relation.oid, &relation.name, there).await?);
    }
    Ok(roots)
}

fn leaves(relations: &[Relation]) -> Vec<TableName> {
    let leaves = relations.iter().filter(|relation| !relation.partitioned);
    leaves.map(|relation| relation.name.clone()).collect()
}

async fn identity(session: &Session) -> Result<ServerIdentity, PlanError> {
    let row = session.query_one("SELECT current_database()::text", &[]).await?;
    Ok(ServerIdentity {
        system_identifier: session.system_identifier().await?,
        version_num: session.version_num(),
        database: row.get(0),
    })
}

fn different_databases(source: &ServerIdentity, target: &ServerIdentity) -> Vec<Refusal> {
    let same = source.system_identifier == target.system_identifier && source.database == target.database;
    let refused = same.then(|| {
        refusal(
            RefusalCode::SameDatabase,
            format!("database {}", source.database),
            "Source and target are the same database.".to_owned(),
            "Name two; to change tables in their place use `crossfade run`.",
        )
    });
    refused.into_iter().collect()
}

/// What would stand in the way of any change there.
async fn servers_refuse(session: &Session, which: &str) -> Result<Vec<Refusal>, PlanError> {
    let found = preflight::server::look(session).await?;
    let named = found.refusals.into_iter().map(|refusal| Refusal {
        object: format!("{which}: {}", refusal.object),
        ..refusal
    });
    Ok(named.collect())
}

async fn encodings(source: &Session, target: &Session) -> Result<Option<Refusal>, PlanError> {
    let query = "SELECT getdatabaseencoding()::text";
    let of_source: String = source.query_one(query, &[]).await?.get(0);
    let of_target: String = target.query_one(query, &[]).await?.get(0);
    Ok((of_source != of_target).then(|| {
        refusal(
            RefusalCode::EncodingsDiffer,
            "the target's database",
            format!("It is in {of_target}, and the source's in {of_source}."),
            &format!("Create it with `CREATE DATABASE … ENCODING '{of_source}' TEMPLATE template0`."),
        )
    }))
}

async fn large_objects(source: &Session, selection: &Selection) -> Result<Option<Refusal>, PlanError> {
    if *selection != Selection::All {
        return Ok(None);
    }
    let query = "SELECT count(*) FROM pg_largeobject_metadata";
    let count: i64 = source.query_one(query, &[]).await?.get(0);
    Ok((count > 0).then(|| {
        refusal(
            RefusalCode::LargeObjects,
            "the source's database",
            format!("It holds {count} large objects, and logical decoding does not carry them."),
            "Move its tables with `--schema` or `--tables`, and copy the large objects by yourself at the cutover.",
        )
    }))
}

fn nothing_selected(unmatched: &[String]) -> Vec<Refusal> {
    let refused = unmatched.iter().map(|pattern| {
        refusal(
            RefusalCode::NothingSelected,
            pattern.clone(),
            "No table of the source matches it.".to_owned(),
            "Write `schema.table` as psql takes it, with `*` and `?`; names with capitals in double quotes.",
        )
    });
    refused.collect()
}

async fn of_relations(session: &Session, relations: &[Relation]) -> Result<Vec<Refusal>, PlanError> {
    let unlogged = relations
        .iter()
        .filter(|relation| relation.unlogged)
        .map(|relation| {
            refusal(
                RefusalCode::UnloggedTable,
                relation.name.to_string(),
                "It is unlogged: its changes are not in the WAL.".to_owned(),
                &format!(
                    "Run `ALTER TABLE {} SET LOGGED`, or leave it out.",
                    ident::table(&relation.name)
                ),
            )
        });
    let mut refusals: Vec<Refusal> = unlogged.collect();
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    refusals.extend(
        relations::torn(session, &oids)
            .await?
            .iter()
            .map(|(child, parent)| {
                refusal(
                    RefusalCode::PartsLeftBehind,
                    child.to_string(),
                    format!("It belongs to {parent}, and only one of them is to be moved."),
                    "Move them together.",
                )
            }),
    );
    let subscribed =
        "SELECT srrelid::regclass::text FROM pg_subscription_rel WHERE srrelid = ANY ($1::oid[]) ORDER BY 1";
    for row in session.query(subscribed, &[&oids]).await? {
        refusals.push(refusal(
            RefusalCode::Subscription,
            row.get::<_, String>(0),
            "A subscription writes to it, and would go on when another server leads.".to_owned(),
            "Take it out of what the subscription subscribes to.",
        ));
    }
    let owned =
        "SELECT relowner::regrole::text, string_agg(oid::regclass::text, ', ' ORDER BY oid) FROM pg_class
                  WHERE oid = ANY ($1::oid[]) AND NOT pg_has_role(relowner, 'MEMBER') GROUP BY 1 ORDER BY 1";
    for row in session.query(owned, &[&oids]).await? {
        let owner: String = row.get(0);
        refusals.push(refusal(
            RefusalCode::NotAMember,
            format!("role {owner}"),
            format!(
                "Our role is no member of it, and it owns {}.",
                row.get::<_, String>(1)
            ),
            &format!("Run `GRANT {owner} TO` our role."),
        ));
    }
    Ok(refusals)
}

fn torn_key((key, table, referenced): &(String, TableName, TableName)) -> Refusal {
    refusal(
        RefusalCode::ForeignKeyTorn,
        format!("foreign key {key} on {table}"),
        format!("It refers to {referenced}, and only one of the two tables is to be moved."),
        "Move both tables, or drop the foreign key first.",
    )
}

/// Rows of it were updated or deleted, by the server's statistics.
async fn changed(session: &Session, oid: u32) -> Result<bool, PlanError> {
    let query = "SELECT pg_stat_get_tuples_updated($1) + pg_stat_get_tuples_deleted($1) > 0";
    Ok(session.query_one(query, &[&oid]).await?.get(0))
}

fn no_key(table: &TableName, why: &str) -> Refusal {
    refusal(
        RefusalCode::NoUsableKey,
        table.to_string(),
        format!("Rows of it are updated or deleted, and nothing tells them apart: {why}."),
        &format!(
            "Run `ALTER TABLE {table} ADD PRIMARY KEY (…)`, or `ALTER TABLE {table} REPLICA IDENTITY USING INDEX …` with \
             a unique index over columns that are NOT NULL.",
            table = ident::table(table)
        ),
    )
}

fn append_only(table: &TableName, why: &str) -> Notice {
    Notice {
        code: NoticeCode::AppendOnly,
        object: table.to_string(),
        message: format!(
            "Nothing tells its rows apart ({why}), so it is followed only while rows are inserted; an UPDATE or a DELETE \
             ends the move."
        ),
        offer: None,
    }
}

/// From a dump they are made, and must not be there; else they must be there, empty and alike.
async fn target_tables(
    source: &Session,
    target: &Session,
    from: SchemaSource,
    tables: &[TableName],
    relations: &[Relation],
) -> Result<Vec<Refusal>, PlanError> {
    let there = schema::columns(target, tables).await?;
    if from == SchemaSource::Dump {
        let all: Vec<TableName> = relations.iter().map(|relation| relation.name.clone()).collect();
        let there = schema::columns(target, &all).await?;
        let refused = there.keys().map(|table| {
            refusal(
                RefusalCode::TableInTheWay,
                table.to_string(),
                "The target has a table of that name.".to_owned(),
                "Drop it there; or, if it is the one to be filled, say `--schema-from existing`.",
            )
        });
        return Ok(refused.collect());
    }
    let expected = schema::columns(source, tables).await?;
    let mut refusals = Vec::new();
    let remedy = "Create it as on the source, empty; or leave that to `--schema-from dump`.";
    for (table, columns) in &expected {
        let unlike = |message: String| refusal(RefusalCode::TableUnlike, table.to_string(), message, remedy);
        match there.get(table) {
            None => refusals.push(unlike("The target has no such table.".to_owned())),
            Some(found) if found != columns => refusals.push(unlike(difference(columns, found))),
            Some(_) => {
                let rows = format!("SELECT EXISTS (SELECT FROM ONLY {})", ident::table(table));
                if target.query_one(&rows, &[]).await?.get(0) {
                    refusals.push(unlike("The target's has rows.".to_owned()));
                }
            }
        }
    }
    refusals.extend(attached_there(target, tables).await?);
    Ok(refusals)
}

fn difference(expected: &[(String, String)], found: &[(String, String)]) -> String {
    let shown = |(name, type_name): &(String, String)| format!("{name} {type_name}");
    let missing = expected.iter().find(|column| !found.contains(column)).map(shown);
    let extra = found.iter().find(|column| !expected.contains(column)).map(shown);
    match (missing, extra) {
        (Some(missing), Some(extra)) => {
            format!("The source's has the column {missing}, and the target's {extra}.")
        }
        (Some(missing), None) => format!("The target's lacks the column {missing}."),
        (None, extra) => format!(
            "The target's has the column {} besides.",
            extra.unwrap_or_default()
        ),
    }
}

/// What acts by itself there would act on rows that are still to be changed (R21).
async fn attached_there(target: &Session, tables: &[TableName]) -> Result<Vec<Refusal>, PlanError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query =
        "SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL";
    let rows = target.query(query, &[&names]).await?;
    let oids: Vec<u32> = rows.iter().map(|row| row.get(0)).collect();
    let attached = attachments::read(target, &oids, target.version_num()).await?;
    let act = |what: &str| !what.starts_with("identity") && !what.starts_with("check");
    let refused = attached
        .attachments
        .iter()
        .filter(|attachment| act(&attachment.what));
    let refused = refused.map(|attachment| {
        refusal(
            RefusalCode::TableUnlike,
            attachment.table.to_string(),
            format!(
                "The target's has the {} already, which would act while rows are copied.",
                attachment.what
            ),
            "Drop it there: the move makes it when the target leads.",
        )
    });
    Ok(refused.collect())
}

/// Owners and grantees that the target does not know.
async fn missing_roles(source: &Session, target: &Session, oids: &[u32]) -> Result<Vec<Refusal>, PlanError> {
    let query = "\
SELECT DISTINCT r.rolname::text
  FROM pg_class c
 CROSS JOIN LATERAL (SELECT c.relowner UNION SELECT a.grantee FROM aclexplode(c.relacl) a) AS of_table (role)
  JOIN pg_roles r ON r.oid = of_table.role WHERE c.oid = ANY ($1::oid[]) ORDER BY 1";
    let rows = source.query(query, &[&oids]).await?;
    let wanted: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let query = "SELECT name FROM unnest($1::text[]) AS name
                  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) ORDER BY name";
    let missing = target.query(query, &[&wanted]).await?;
    let refused = missing.iter().map(|row| {
        let role: String = row.get(0);
        refusal(
            RefusalCode::RoleNotFound,
            format!("role {role} on the target"),
            "Tables of the source are its own, or it may use them, and the target has no such role."
                .to_owned(),
            "Create it there (`pg_dumpall --roles-only` writes all of them).",
        )
    });
    Ok(refused.collect())
}
