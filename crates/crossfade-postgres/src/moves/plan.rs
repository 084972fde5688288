//! The plan of a move, or everything that stands in its way.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crossfade_core::code::{NoticeCode, RefusalCode};
use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{Destination, PLAN_VERSION, Plan, SchemaSource, ServerIdentity, Step};
use crossfade_core::refusal::{Notice, Refusal};

use super::privileges::{self, Moved};
use super::relations::{self, Relation, Selection};
use super::{attachments, indexes, schema, sequences, tables};
use crate::causes::in_one_line;
use crate::change::{CopyRequest, ValuesRequest};
use crate::ident;
use crate::planner::{self, PlanError};
use crate::preflight::server::{Findings, Purpose};
use crate::preflight::{self, refusal};
use crate::session::Session;

/// What is to be moved, and how.
#[derive(Clone, Debug)]
pub struct MoveRequest {
    /// Which tables.
    pub selection: Selection,
    /// Where the target's come from.
    pub schema: SchemaSource,
    /// The program that dumps them.
    pub pg_dump: PathBuf,
    /// Bounds of the run.
    pub limits: Limits,
    /// What fills columns of the target in place of the source's own values.
    pub values: Option<ValuesRequest>,
    /// Nobody is handed over: the target gets a copy of one moment.
    pub copy_only: bool,
    /// How rows get there.
    pub copy: CopyRequest,
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
        if self.copy != CopyRequest::Auto {
            text.push_str("; copy ");
            text.push_str(self.copy.as_str());
        }
        if let Some(values) = &self.values {
            text.push_str("; ");
            text.push_str(&values.canonical());
        }
        text
    }

    /// The program that dumps, if one has to.
    fn program(&self) -> Option<&Path> {
        (self.schema == SchemaSource::Dump).then_some(self.pg_dump.as_path())
    }
}

/// One side of a move.
pub struct Side<'a> {
    /// A session there.
    pub session: &'a Session,
    /// Where that is, for people: `host:port/database`.
    pub place: String,
}

/// What was found of two servers, whatever moves between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Of the source; each object says so.
    pub source: Findings,
    /// Of the target; each object says so.
    pub target: Findings,
    /// What is refused of the two together, and of the program that dumps.
    pub both: Vec<Refusal>,
}

/// Looks at two servers, and at the program that dumps the schema, if one shall. Changes nothing.
///
/// # Errors
/// What went wrong on the way.
pub async fn look(source: &Session, target: &Session, pg_dump: Option<&Path>) -> Result<Looked, PlanError> {
    let mut both = different_databases(&identity(source).await?, &identity(target).await?);
    both.extend(encodings(source, target).await?);
    if let Some(program) = pg_dump {
        both.extend(cannot_dump(program, source.version_num()).await);
    }
    Ok(Looked {
        source: look_at(source, "the source").await?,
        target: look_at(target, "the target").await?,
        both,
    })
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
    let looked = look(source, target, request.program()).await?;
    let mut refusals = [looked.both, looked.source.refusals, looked.target.refusals].concat();
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
    let moved = Moved {
        relations: &relations,
        whole: request.selection == Selection::All,
        schema: request.schema,
    };
    refusals.extend(privileges::refusals(source, target, &moved).await?);
    if !refusals.is_empty() {
        return Err(PlanError::Refused(refusals));
    }

    let all: Vec<TableName> = relations.iter().map(|relation| relation.name.clone()).collect();
    let there = indexes::names(target, &all).await?;
    let kept = slot_keeps_bytes(source).await?;
    let unique = indexes::unique(target, &names).await?;
    tables::choose_copy_modes(&mut read, (request.copy, &request.limits), kept, &unique);
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
        system_identifier: session.system_identifier(),
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

/// `max_slot_wal_keep_size`, if it bounds.
async fn slot_keeps_bytes(session: &Session) -> Result<Option<u64>, PlanError> {
    let query = "\
SELECT setting::int8 * 1048576 FROM pg_catalog.pg_settings WHERE name = 'max_slot_wal_keep_size' AND setting::int8 >= 0";
    let row = session.query_opt(query, &[]).await?;
    Ok(row.map(|row| row.get::<_, i64>(0).cast_unsigned()))
}

/// What is found of one of them. The server says where, in each object.
async fn look_at(session: &Session, which: &str) -> Result<Findings, PlanError> {
    let mut found = preflight::server::look(session, Purpose::Move).await?;
    let named = |object: &mut String| *object = format!("{which}: {object}");
    found
        .refusals
        .iter_mut()
        .for_each(|refusal| named(&mut refusal.object));
    found
        .notices
        .iter_mut()
        .for_each(|notice| named(&mut notice.object));
    Ok(found)
}

/// `pg_dump` refuses a server that is newer than itself.
async fn cannot_dump(program: &Path, version_num: u32) -> Option<Refusal> {
    let needed = version_num / 10_000;
    let message = match schema::version(program).await {
        Ok(Some(found)) if found < needed => format!("It is of version {found}, and the source of {needed}."),
        Ok(Some(_) | None) => return None,
        Err(error) => format!("It does not run: {}.", in_one_line(&error)),
    };
    Some(refusal(
        RefusalCode::NoPgDump,
        format!("the program {}", program.display()),
        message,
        "Give one that is at least as new as the source with --pg-dump; or make the tables on the target by yourself and \
         say `--schema-from existing`.",
    ))
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
                if has_rows(target, table).await? {
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

/// Not asked where we may not read: that is refused for itself.
async fn has_rows(session: &Session, table: &TableName) -> Result<bool, PlanError> {
    let may_read =
        "SELECT has_schema_privilege(c.relnamespace, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                           AND NOT row_security_active(c.oid)
                      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                     WHERE n.nspname = $1::text AND c.relname = $2::text";
    let may_read = session.query_opt(may_read, &[&table.schema, &table.name]).await?;
    if !may_read.is_some_and(|row| row.get(0)) {
        return Ok(false);
    }
    let rows = format!("SELECT EXISTS (SELECT FROM ONLY {})", ident::table(table));
    Ok(session.query_one(&rows, &[]).await?.get(0))
}

/// What acts by itself there would act on rows that are still to be changed (R21).
async fn attached_there(target: &Session, tables: &[TableName]) -> Result<Vec<Refusal>, PlanError> {
    let oids = relations::oids(target, tables).await?;
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
