//! A further table of a split: made empty, asked what it is, and thrown away, like everything that is planned.
//!
//! Three tables stand for it, in schemas of their own, in the transaction that is rolled back. The **row** has the
//! source's columns under the source's name: the set-returning call is tried beside it, in a view. The **input** has
//! also the columns of that call: expressions are written down over it. The **probe** is the new table itself.

mod partitions;

use std::collections::BTreeSet;

use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{Derived, Expression, Rows, Source, Target, TargetColumn};
use crossfade_core::refusal::Refusal;
use tokio_postgres::types::ToSql;

use super::expression;
use super::node_tree;
use super::probe::{create_image, set_search_path};
use super::written::{Paper, Unwritten, Wanted, Written};
use super::{PlanError, Surroundings};
use crate::catalog::{self, Definition, Grant, Owned};
use crate::change::{ColumnRequest, Placed, RowsRequest, TableRequest};
use crate::copy;
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::{Session, SqlError};
use crate::verify;

/// What a further table is planned from.
pub(super) struct Pieces<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a MigrationName,
    pub(super) search_path: &'a str,
    pub(super) source: &'a Source,
    pub(super) surroundings: &'a Surroundings,
    pub(super) request: &'a TableRequest,
    /// Its place among the further tables.
    pub(super) number: usize,
    /// The source stays where it is, altered.
    pub(super) source_stays: bool,
}

/// A further table, planned.
pub(super) struct Planned {
    /// Without its definition.
    pub(super) target: Target,
    pub(super) desired: Definition,
    /// Columns whose value depends on settings that our sessions pin.
    pub(super) by_settings: Vec<String>,
}

type Found<T> = Result<Result<T, Vec<Refusal>>, PlanError>;

/// Plans it, in the open transaction.
pub(super) async fn plan(pieces: &Pieces<'_>) -> Found<Planned> {
    let mut planning = Planning::begin(pieces).await?;
    let rows = planning.rows().await?;
    if rows.is_none() && pieces.request.rows.is_some() {
        // Without its columns nothing else can be understood.
        return Ok(Err(planning.refusals));
    }
    planning.input(rows.as_ref()).await?;
    let filter = planning.filter().await?;
    let columns = planning.columns().await?;
    if !planning.refusals.is_empty() {
        return Ok(Err(planning.refusals));
    }
    let Some(probe) = planning.probe(&columns).await? else {
        return Ok(Err(planning.refusals));
    };
    planning.taken_names().await?;
    let target = planning.target(rows, filter, columns, &probe);
    match target {
        Some(target) if planning.refusals.is_empty() => Ok(Ok(Planned {
            desired: planning.desired(probe),
            target,
            by_settings: planning.by_settings,
        })),
        _ => Ok(Err(planning.refusals)),
    }
}

const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// So many rows are tried.
const ROWS_MAX: u32 = 10_000;

/// A row that is not in exactly one of the tables, where each is to be, among the first ones.
pub(super) async fn without_one_home(
    session: &Session,
    source: &Source,
    tables: &[Planned],
) -> Result<Option<Refusal>, SqlError> {
    if !source.each_row_once {
        return Ok(None);
    }
    let targets: Vec<Target> = tables.iter().map(|table| table.target.clone()).collect();
    let alias = Ident(&source.name.name);
    let homes = verify::homes(&targets);
    let sql = format!(
        "SELECT {homes}, {}\n  FROM (SELECT ctid, * FROM ONLY {} LIMIT {ROWS_MAX}) AS {alias}\n WHERE {homes} <> 1 LIMIT 1",
        copy::shown_key(source),
        ident::table(&source.name),
    );
    let row = session.query_opt(&sql, &[]).await?;
    Ok(row.map(|row| {
        let (homes, key): (i32, String) = (row.get(0), row.get(1));
        refusal(
            "row_without_one_home",
            format!("row {key} of {}", source.name),
            format!("It would be in {homes} of the {} new tables.", targets.len()),
            "Change the filters so that each row is in exactly one, or write `each_row = \"any\"`.",
        )
    }))
}

struct Planning<'a> {
    pieces: &'a Pieces<'a>,
    /// Has the source's columns.
    row: TableName,
    /// Has also those of the call.
    input: TableName,
    /// The new table.
    probe: TableName,
    /// Where it will be.
    place: TableName,
    by_settings: Vec<String>,
    refusals: Vec<Refusal>,
}

/// The call, with the types of what it returns.
struct Call {
    rows: Rows,
    types: Vec<String>,
}

/// A column and what fills it.
struct Filled<'a> {
    request: &'a ColumnRequest,
    value: Option<Expression>,
    type_name: String,
    not_null: bool,
}

/// Nodes of a query that do nothing but hold its parts together.
const QUERY_TAGS: &[&str] = &[
    "ALIAS",
    "COLDEF",
    "FROMEXPR",
    "JOINEXPR",
    "QUERY",
    "RANGETBLENTRY",
    "RANGETBLFUNCTION",
    "RANGETBLREF",
    "RTE",
    "RTEPERMISSIONINFO",
    "TARGETENTRY",
];

const VIEW: &str = "\
SELECT r.oid, r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = $1::text::regclass";

/// The columns of the table `$2` that the rule `$1` reads.
const READS: &str = "\
SELECT DISTINCT refobjsubid - 1 FROM pg_depend
 WHERE classid = 'pg_rewrite'::regclass AND objid = $1 AND refclassid = 'pg_class'::regclass
   AND refobjid = $2::text::regclass AND refobjsubid > 0
 ORDER BY 1";

/// Whether the rule `$1` reads any other table than `$2` and its own view `$3`.
const READS_OTHERS: &str = "\
SELECT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_rewrite'::regclass AND objid = $1
   AND refclassid = 'pg_class'::regclass AND refobjid NOT IN ($2::text::regclass, $3::text::regclass))";

/// Whether a default of the table `$1` draws from an identity sequence of the table `$2`.
const DRAWS_FROM_IDENTITY: &str = "\
SELECT EXISTS (SELECT FROM pg_attrdef f
   JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
   JOIN pg_depend i ON i.classid = 'pg_class'::regclass AND i.objid = d.refobjid AND i.deptype = 'i'
  WHERE f.adrelid = $1::oid AND i.refclassid = 'pg_class'::regclass AND i.refobjid = $2::oid)";

const WITH_OPTIONS: &str = "\
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1::text AND c.relispartition AND c.relkind = 'r'
    AND (c.reloptions IS NOT NULL OR c.reltablespace <> 0))";

const PUBLISHED: &str = "\
SELECT EXISTS (SELECT FROM pg_publication_namespace p JOIN pg_namespace n ON n.oid = p.pnnspid
  WHERE n.nspname = $1::text)";

/// Types of a schema that are no table's row.
const TYPES_NAMED: &str = "\
SELECT t.typname::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem
 WHERE n.nspname = $1::text AND t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0 AND t.typname = ANY ($2::text[])";

/// How many tables of a schema are partitioned.
const PARTITIONED: &str = "\
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relkind = 'p'";

/// Ready for a column's definition.
const TYPES: &str = "\
SELECT format_type(a.atttypid, a.atttypmod)
       || coalesce((SELECT format(' COLLATE %I.%I', n.nspname, c.collname)
                      FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
                     WHERE c.oid = a.attcollation AND a.attcollation <> t.typcollation), '')
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const NAMED: &str = "\
SELECT c.relname::text, c.relkind::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relname = ANY ($2::text[]) ORDER BY 1";

const OF_SCHEMA: &str = "\
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1::text AND c.relkind IN ('r', 'p', 'i', 'I', 'S') ORDER BY 1";

const SCHEMA: &str = "\
SELECT has_schema_privilege(oid, 'CREATE') AND has_schema_privilege(oid, 'USAGE') FROM pg_namespace
 WHERE nspname = $1::text";

impl<'a> Planning<'a> {
    async fn begin(pieces: &'a Pieces<'a>) -> Result<Planning<'a>, PlanError> {
        let (session, request) = (pieces.session, pieces.request);
        let source = &pieces.surroundings.definition.name;
        let schema = |what: &str| format!("crossfade_{what}_{}_{}", pieces.number, session.pid());
        let own_schema = request.name.schema.clone();
        let planning = Planning {
            pieces,
            row: TableName::new(schema("row"), source.name.as_str()),
            input: TableName::new(schema("input"), source.name.as_str()),
            probe: TableName::new(schema("target"), request.name.name.as_str()),
            place: TableName::new(
                own_schema.unwrap_or_else(|| source.schema.clone()),
                request.name.name.as_str(),
            ),
            by_settings: Vec::new(),
            refusals: Vec::new(),
        };
        for table in [&planning.row, &planning.input, &planning.probe] {
            session
                .batch_execute(&format!("CREATE SCHEMA {}", Ident(&table.schema)))
                .await?;
        }
        let image = create_image(&pieces.surroundings.definition, &planning.row);
        session.batch_execute(&image).await?;
        Ok(planning)
    }

    fn object(&self, what: &str, text: &Placed) -> String {
        format!("{what} of {} ({})", self.place, text.place)
    }

    fn refuse(&mut self, code: &str, object: String, message: String, remedy: &str) {
        self.refusals.push(refusal(code, object, message, remedy));
    }

    /// Runs a statement with the user's text in it, where the user's names are looked up; what the server says if it
    /// refuses.
    async fn try_as_the_user(&self, sql: &str) -> Result<Result<(), String>, SqlError> {
        let session = self.pieces.session;
        session.batch_execute("SAVEPOINT crossfade").await?;
        set_search_path(session, self.pieces.search_path).await?;
        match session.client().execute(sql, &[]).await {
            Ok(_) => {
                session.batch_execute("RELEASE SAVEPOINT crossfade").await?;
                set_search_path(session, "pg_catalog").await?;
                Ok(Ok(()))
            }
            // The savepoint has the server's path.
            Err(error) => {
                let told = error.as_db_error().ok_or_else(|| SqlError::new(sql, &error))?;
                let message = told.message().to_owned();
                session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
                Ok(Err(message))
            }
        }
    }

    async fn texts(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<String>, SqlError> {
        let rows = self.pieces.session.query(query, parameters).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The call, beside a row, in a view.
    async fn rows(&mut self) -> Result<Option<Call>, PlanError> {
        let Some(request) = &self.pieces.request.rows else {
            return Ok(None);
        };
        if self.names_clash(request) {
            return Ok(None);
        }
        let object = self.object("rows", &request.call);
        let view = TableName::new(self.row.schema.as_str(), "crossfade rows");
        let names: Vec<String> = request.columns.iter().map(|name| name.text.clone()).collect();
        let sql = format!(
            "CREATE VIEW {} AS SELECT r.* FROM {} AS {} CROSS JOIN LATERAL ROWS FROM (\n{}\n) WITH ORDINALITY AS r ({})",
            ident::table(&view),
            ident::table(&self.row),
            Ident(&self.row.name),
            request.call.text,
            ident::list(names.iter().map(String::as_str)),
        );
        if let Err(message) = self.try_as_the_user(&sql).await? {
            self.refuse(
                "rows_not_understood",
                object,
                format!("The server says: {message}."),
                "Write one call of a set-returning function over the source's columns, such as `unnest(tags)`, and name \
                 each of its columns and the ordinal in `rows_as`.",
            );
            return Ok(None);
        }
        let rule = self
            .pieces
            .session
            .query_one(VIEW, &[&ident::table(&view)])
            .await?;
        let tree: String = rule.get(1);
        if node_tree::reads_rows(&tree) {
            self.refuse(
                "rows_reads_row",
                object,
                "It reads the whole row or a system column, which are not the same in the copy and in the stream.".to_owned(),
                "Name the columns that it shall read.",
            );
            return Ok(None);
        }
        let mut calls = node_tree::read(&tree);
        calls.unknown.retain(|tag| !QUERY_TAGS.contains(&tag.as_str()));
        match expression::judge(self.pieces.session, &calls, &object).await? {
            Ok(_) => {}
            Err(refusals) => self.refusals.extend(refusals),
        }
        let number: u32 = rule.get(0);
        let others: [&(dyn ToSql + Sync); 3] = [&number, &ident::table(&self.row), &ident::table(&view)];
        if self.pieces.session.query_one(READS_OTHERS, &others).await?.get(0) {
            self.refuse(
                "rows_read_others",
                object,
                "It reads another table, which may change by itself.".to_owned(),
                "Write one call of a function over the source's own columns.",
            );
            return Ok(None);
        }
        let parameters: [&(dyn ToSql + Sync); 2] = [&number, &ident::table(&self.row)];
        let places = self.pieces.session.query(READS, &parameters).await?;
        let places: Vec<usize> = places
            .iter()
            .filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok())
            .collect();
        let Some(reads) = self.streamed(&places) else {
            self.reads_generated(object);
            return Ok(None);
        };
        let types = self.texts(TYPES, &[&ident::table(&view)]).await?;
        if types.len() != names.len() {
            self.refuse(
                "rows_not_named",
                object,
                format!(
                    "It returns {} columns, the ordinal included, and {} are named.",
                    types.len(),
                    names.len()
                ),
                "Name each of them in `rows_as`, the ordinal at the end.",
            );
            return Ok(None);
        }
        let call = Expression {
            sql: request.call.text.clone(),
            reads,
        };
        Ok(Some(Call {
            rows: Rows { call, columns: names },
            types,
        }))
    }

    /// Expressions name columns without a table.
    fn names_clash(&mut self, request: &RowsRequest) -> bool {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let columns = &self.pieces.surroundings.definition.columns;
        taken.extend(columns.iter().map(|column| column.name.as_str()));
        taken.extend(SYSTEM_COLUMNS);
        let clash = request.columns.iter().find(|name| !taken.insert(&name.text));
        let Some(name) = clash else { return false };
        let object = self.object(&format!("rows_as {name}"), name);
        self.refuse(
            "rows_name_taken",
            object,
            "The source or the server has a column of that name, or it is there twice.".to_owned(),
            "Choose another one: expressions name columns without a table.",
        );
        true
    }

    /// The source's columns and those of the call.
    async fn input(&self, call: Option<&Call>) -> Result<(), PlanError> {
        let session = self.pieces.session;
        let definition = &self.pieces.surroundings.definition;
        session
            .batch_execute(&create_image(definition, &self.input))
            .await?;
        let Some(Call { rows, types }) = call else {
            return Ok(());
        };
        let added = rows.columns.iter().zip(types);
        let added: Vec<String> = added
            .map(|(name, type_name)| format!("ADD COLUMN {} {type_name}", Ident(name)))
            .collect();
        let sql = format!("ALTER TABLE {} {}", ident::table(&self.input), added.join(", "));
        session.batch_execute(&sql).await?;
        Ok(())
    }

    async fn filter(&mut self) -> Result<Option<Expression>, PlanError> {
        let Some(text) = &self.pieces.request.filter else {
            return Ok(None);
        };
        let object = self.object("filter", text);
        let written = self.write_down(text, Wanted::Condition, object).await?;
        Ok(written.map(|(expression, _)| expression))
    }

    /// `None` if it was refused.
    async fn write_down(
        &mut self,
        text: &Placed,
        wanted: Wanted,
        object: String,
    ) -> Result<Option<(Expression, Written)>, PlanError> {
        let paper = Paper {
            session: self.pieces.session,
            table: &self.input,
            search_path: self.pieces.search_path,
        };
        let written = match paper.write_down(&text.text, wanted, &object).await? {
            Ok(written) => written,
            Err(unwritten) => {
                self.unwritten(unwritten, wanted, object);
                return Ok(None);
            }
        };
        let Some(reads) = self.streamed(&written.reads) else {
            self.reads_generated(object);
            return Ok(None);
        };
        let sql = written.sql.clone();
        Ok(Some((Expression { sql, reads }, written)))
    }

    fn unwritten(&mut self, unwritten: Unwritten, wanted: Wanted, object: String) {
        let remedy = match wanted {
            Wanted::Value => {
                "Write an expression over the source's columns and those of `rows`, without sub-selects and aggregates."
            }
            Wanted::Condition => {
                "Write a condition over the source's columns and those of `rows`, without sub-selects and aggregates."
            }
        };
        match unwritten {
            Unwritten::Refused(message) => {
                self.refuse(
                    "expression_not_accepted",
                    object,
                    format!("The server says: {message}."),
                    remedy,
                );
            }
            Unwritten::NotOverColumns => self.refuse(
                "expression_not_over_columns",
                object,
                "It reads the whole row or a system column, or has no type of its own.".to_owned(),
                "Name the columns; give a bare literal a type, as in `'new'::text`.",
            ),
            Unwritten::Changing(refusals) => self.refusals.extend(refusals),
        }
    }

    fn reads_generated(&mut self, object: String) {
        self.refuse(
            "expression_reads_generated",
            object,
            "It reads a generated column, which the stream does not carry.".to_owned(),
            "Write the generated column's own expression instead of it.",
        );
    }

    /// Positions in the stream of columns of the input, by their places; those of the call are none of the source's.
    /// `None` if the stream does not carry one.
    fn streamed(&self, places: &[usize]) -> Option<Vec<usize>> {
        let today = &self.pieces.surroundings.definition.columns;
        let of_source = places.iter().filter(|place| **place < today.len());
        let position = |place: &usize| {
            let name = &today[*place].name;
            self.pieces
                .source
                .columns
                .iter()
                .position(|column| column.name == *name)
        };
        of_source.map(position).collect()
    }

    async fn columns(&mut self) -> Result<Vec<Filled<'a>>, PlanError> {
        let mut filled = Vec::new();
        for request in &self.pieces.request.columns {
            let value = match &request.value {
                Some(text) => {
                    let object = self.object(&format!("column {}", request.name), text);
                    match self.write_down(text, Wanted::Value, object).await? {
                        Some((value, written)) => {
                            if written.dependence == expression::Dependence::PinnedSettings {
                                self.by_settings.push(request.name.text.clone());
                            }
                            Some(value)
                        }
                        None => continue,
                    }
                }
                None => None,
            };
            let type_name = match (&request.type_name, &value) {
                (Some(given), _) => given.text.clone(),
                (None, Some(value)) => self.type_of(value).await?,
                // It has been refused where the file was read.
                (None, None) => continue,
            };
            filled.push(Filled {
                not_null: request.not_null || value.as_ref().is_some_and(|value| self.is_never_null(value)),
                request,
                value,
                type_name,
            });
        }
        Ok(filled)
    }

    /// With its modifier, where it is a column's as it is.
    async fn type_of(&self, value: &Expression) -> Result<String, SqlError> {
        let session = self.pieces.session;
        let name = TableName::new(self.input.schema.as_str(), "crossfade type");
        let table = ident::table(&name);
        let input = ident::table(&self.input);
        session.batch_execute("SAVEPOINT crossfade").await?;
        let create = format!(
            "CREATE TABLE {table} AS SELECT {} AS value FROM {input} WITH NO DATA",
            value.sql
        );
        session.batch_execute(&create).await?;
        let mut types = self.texts(TYPES, &[&table]).await?;
        session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
        Ok(types.pop().unwrap_or_default())
    }

    /// A column of the source as it is, which takes no `NULL`.
    fn is_never_null(&self, value: &Expression) -> bool {
        let column = self.column_itself(value);
        let definition = &self.pieces.surroundings.definition;
        column.is_some_and(|name| definition.column(name).is_some_and(|column| column.not_null))
    }

    /// The source's column that the expression is, and nothing else.
    fn column_itself(&self, value: &Expression) -> Option<&'a str> {
        let [read] = value.reads[..] else { return None };
        let name = self.pieces.source.columns[read].name.as_str();
        (value.sql == name || value.sql == Ident(name).to_string()).then_some(name)
    }

    /// The new table; `None` if the server would not have it.
    async fn probe(&mut self, columns: &[Filled<'_>]) -> Result<Option<Definition>, PlanError> {
        let request = self.pieces.request;
        let table = ident::table(&self.probe);
        let parts = columns.iter().map(|column| {
            let not_null = if column.not_null { " NOT NULL" } else { "" };
            let default = column.request.default.as_ref();
            let default = default.map_or(String::new(), |default| format!(" DEFAULT (\n{default}\n)"));
            format!(
                "{} {}{default}{not_null}",
                Ident(&column.request.name.text),
                column.type_name
            )
        });
        let key = ident::list(request.key.iter().map(|name| name.text.as_str()));
        let parts: Vec<String> = parts.chain([format!("PRIMARY KEY ({key})")]).collect();
        let partitioned = request.partitioning.as_ref();
        let partitioned = partitioned.map_or(String::new(), |by| format!(" PARTITION BY\n{}\n", by.by));
        let create = format!("CREATE TABLE {table} ({}){partitioned}", parts.join(", "));
        if let Err(message) = self.try_as_the_user(&create).await? {
            let object = format!("target {} ({})", self.place, request.place);
            let remedy = match request.partitioning {
                None => "Look at the types and defaults of its columns, and at its key.",
                Some(_) => {
                    "Look at the types and defaults of its columns, and at its key: of a partitioned table each key and \
                     each unique index has the columns of `partition_by` too."
                }
            };
            self.refuse(
                "target_not_accepted",
                object,
                format!("The server says: {message}."),
                remedy,
            );
            return Ok(None);
        }
        if let Some(partitioning) = &request.partitioning {
            self.partitions(partitioning, columns).await?;
        }
        for constraint in &request.constraints {
            let sql = format!("ALTER TABLE {table} ADD\n{constraint}\n");
            self.try_part("constraint", constraint, &sql).await?;
        }
        for index in &request.indexes {
            let (unique, rest) = unique(&index.text);
            let sql = format!("CREATE {unique} INDEX ON {table}\n{rest}\n");
            self.try_part("index", index, &sql).await?;
        }
        let oid = super::table_oid(self.pieces.session, &self.probe).await?;
        match oid {
            Some(oid) if self.refusals.is_empty() => {
                let definition = catalog::describe(self.pieces.session.client(), oid).await?;
                self.not_served(&definition).await?;
                self.fits(columns, &definition).await?;
                Ok(Some(definition))
            }
            _ => Ok(None),
        }
    }

    /// What a text may have brought along, and what would not be there after the swap as it is here.
    async fn not_served(&mut self, definition: &Definition) -> Result<(), PlanError> {
        let object = format!("target {} ({})", self.place, self.pieces.request.place);
        let mut found: Vec<(&str, &str, &str)> = Vec::new();
        if !definition.foreign_keys.is_empty() {
            found.push((
                "foreign_key_of_target",
                "The new tables get no foreign keys yet.",
                "Add it after the change.",
            ));
        }
        if definition
            .sequences
            .iter()
            .any(|sequence| sequence.owned == Owned::Serial)
        {
            found.push((
                "serial_of_target",
                "A serial column's sequence is not carried into its place.",
                "Write `type = \"bigint GENERATED BY DEFAULT AS IDENTITY\"`.",
            ));
        }
        if definition.table.row_security || !definition.table.parents.is_empty() {
            found.push((
                "target_not_plain",
                "It has row security, or inherits from a table.",
                "Write constraints only into `constraints`.",
            ));
        }
        let session = self.pieces.session;
        let source = self.pieces.source.oid;
        let parameters: [&(dyn ToSql + Sync); 2] = [&definition.outside.oid, &source];
        if session.query_one(DRAWS_FROM_IDENTITY, &parameters).await?.get(0) {
            found.push((
                "default_draws_from_identity",
                "A default draws from the sequence of an identity column of the source, which goes with the source.",
                "Create a sequence of your own, with a START beyond the source's, and draw from that.",
            ));
        }
        let partitioned: i64 = session
            .query_one(PARTITIONED, &[&self.probe.schema])
            .await?
            .get(0);
        if partitioned > i64::from(definition.table.kind == "p") {
            found.push((
                "partitions_of_partitions",
                "A partition of it is partitioned again.",
                "Give each partition rows of its own.",
            ));
        }
        if session
            .query_one(WITH_OPTIONS, &[&self.probe.schema])
            .await?
            .get(0)
        {
            found.push((
                "partition_with_options",
                "A partition has storage parameters or a tablespace of its own.",
                "Set them after the change.",
            ));
        }
        if session.version_num() >= 150_000
            && session.query_one(PUBLISHED, &[&self.place.schema]).await?.get(0)
        {
            found.push((
                "publication",
                "A publication sends all tables of its schema: its subscribers would be sent the new table.",
                "Choose another schema, or drop the publication before the change.",
            ));
        }
        for (code, message, remedy) in found {
            self.refuse(code, object.clone(), message.to_owned(), remedy);
        }
        for column in &definition.columns {
            let request = self.pieces.request.column(&column.name);
            let filled = request.is_some_and(|request| request.value.is_some());
            let by_server =
                column.default.is_some() || column.identity.is_some() || column.generated.is_some();
            if !filled && !by_server && column.not_null {
                let object = format!("column {} of {object}", column.name);
                self.refuse(
                    "added_column_has_no_value",
                    object,
                    "It is NOT NULL, and nothing fills it.".to_owned(),
                    "Give it a `value` or a `default`.",
                );
            }
        }
        Ok(())
    }

    async fn try_part(&mut self, what: &str, text: &Placed, sql: &str) -> Result<(), PlanError> {
        if let Err(message) = self.try_as_the_user(sql).await? {
            let object = self.object(what, text);
            self.refuse(
                &format!("{what}_not_accepted"),
                object,
                format!("The server says: {message}."),
                "Write it as it follows `ADD` in ALTER TABLE, or `ON table` in CREATE INDEX.",
            );
        }
        Ok(())
    }

    /// Values are assigned to their columns as an INSERT does it.
    async fn fits(&mut self, columns: &[Filled<'_>], definition: &Definition) -> Result<(), PlanError> {
        let input = ident::table(&self.input);
        let probe = ident::table(&self.probe);
        for column in columns {
            let (Some(value), Some(text)) = (&column.value, &column.request.value) else {
                continue;
            };
            let name = &column.request.name.text;
            let generated = definition
                .column(name)
                .is_some_and(|column| column.generated.is_some());
            let sql = format!(
                "INSERT INTO {probe} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {input}",
                Ident(name),
                value.sql
            );
            let answer = match generated {
                true => Err("it is generated".to_owned()),
                false => self.try_as_the_user(&sql).await?,
            };
            if let Err(message) = answer {
                let object = self.object(&format!("column {name}"), text);
                self.refuse(
                    "value_does_not_fit",
                    object,
                    format!("The server says: {message}."),
                    "Cast the value to the column's type, or give the column the value's type.",
                );
            }
        }
        Ok(())
    }

    /// What has the names that the table and what belongs to it would have.
    async fn taken_names(&mut self) -> Result<(), PlanError> {
        let session = self.pieces.session;
        let may_create = session.query_opt(SCHEMA, &[&self.place.schema]).await?;
        let object = format!("target {} ({})", self.place, self.pieces.request.place);
        match may_create.map(|row| row.get::<_, bool>(0)) {
            Some(true) => {}
            Some(false) => {
                let message = format!("We may not create tables in schema {}.", self.place.schema);
                let remedy = "Run `GRANT USAGE, CREATE ON SCHEMA …` to the role that runs the change.";
                self.refuse("schema_not_writable", object, message, remedy);
                return Ok(());
            }
            None => {
                let message = format!("There is no schema {}.", self.place.schema);
                self.refuse("schema_not_found", object, message, "Create it first.");
                return Ok(());
            }
        }
        // Also those of the partitions and their indexes.
        let names = self.texts(OF_SCHEMA, &[&self.probe.schema]).await?;
        let mut taken = self.texts(NAMED, &[&self.place.schema, &names]).await?;
        taken.retain(|name| !self.goes_away(name));
        let types: Vec<String> = names
            .iter()
            .flat_map(|name| [name.clone(), format!("_{name}")])
            .collect();
        taken.extend(self.texts(TYPES_NAMED, &[&self.place.schema, &types]).await?);
        for name in taken {
            let message = format!("{}.{name} is there already.", self.place.schema);
            let remedy = "Choose another name for the table, or drop what is there.";
            self.refuse("name_taken", object.clone(), message, remedy);
        }
        Ok(())
    }

    /// The source, and what belongs to it, is out of the way when the new table comes.
    fn goes_away(&self, name: &str) -> bool {
        let source = &self.pieces.surroundings.definition;
        let belongs = source.name.name == name
            || source.indexes.iter().any(|index| index.name == name)
            || source
                .sequences
                .iter()
                .any(|sequence| sequence.owned == Owned::Identity && sequence.name == name);
        !self.pieces.source_stays && self.place.schema == source.name.schema && belongs
    }

    fn target(
        &mut self,
        rows: Option<Call>,
        filter: Option<Expression>,
        columns: Vec<Filled<'_>>,
        probe: &Definition,
    ) -> Option<Target> {
        let filled: Vec<TargetColumn> = columns
            .into_iter()
            .filter_map(|column| {
                let name = column.request.name.text.clone();
                // Every one is there: names that the server would cut have been refused.
                let described = probe.column(&name)?;
                Some(TargetColumn {
                    type_name: described.type_name.clone(),
                    name,
                    value: column.value?,
                })
            })
            .collect();
        self.filled_by_the_server(&filled, probe);
        let place = |name: &Placed| filled.iter().position(|column| column.name == name.text);
        let row_key: Vec<usize> = self.pieces.request.key.iter().filter_map(place).collect();
        let key = match &self.pieces.source.key {
            Some(_) => Some(self.image_of_key(&filled, &row_key, probe)?),
            None => None,
        };
        let same = key.as_ref().is_some_and(|key| {
            key.iter().collect::<BTreeSet<_>>() == row_key.iter().collect::<BTreeSet<_>>()
        });
        let derived = (filter.is_some() || rows.is_some() || !same).then(|| Derived {
            key: row_key,
            rows: rows.map(|call| call.rows),
        });
        Some(Target {
            shadow: TableName::new(self.pieces.name.schema(), self.place.name.as_str()),
            name: self.place.clone(),
            columns: filled,
            key,
            filter,
            derived,
            partitioned: probe.table.kind == "p",
            definition: String::new(),
        })
    }

    /// Where in the new table the source's key is: each of its columns, as it is or in another form that tells the same
    /// values apart, among the columns of the new key (R20).
    fn image_of_key(
        &mut self,
        filled: &[TargetColumn],
        row_key: &[usize],
        probe: &Definition,
    ) -> Option<Vec<usize>> {
        let source = self.pieces.source;
        let today = &self.pieces.surroundings.definition;
        let collation =
            |table: &Definition, name: &str| table.column(name).and_then(|column| column.collation.clone());
        let mut image = Vec::new();
        for column in source.key.iter().flat_map(|key| &key.columns) {
            let is_image = |place: &&usize| {
                let value = &filled[**place].value;
                let (old, new) = (&source.columns[*column], &filled[**place]);
                value.reads == [*column]
                    && self.column_itself(value).is_some()
                    && keeps_apart(&old.type_name, &new.type_name)
                    && collation(today, &old.name) == collation(probe, &new.name)
            };
            match row_key.iter().find(is_image) {
                Some(place) => image.push(*place),
                None => {
                    let name = &source.columns[*column].name;
                    let object = format!("key of {} ({})", self.place, self.pieces.request.place);
                    self.refuse(
                        "key_without_source_key",
                        object,
                        format!(
                            "Changes are found by the source's key, and no column of this one is the source's {name} as \
                             it is, or as a wider type."
                        ),
                        "Add such a column, and name it in `key`.",
                    );
                    return None;
                }
            }
        }
        Some(image)
    }

    /// An identity that is filled from the source would begin anew after the swap.
    fn filled_by_the_server(&mut self, filled: &[TargetColumn], probe: &Definition) {
        let copied = |name: &str| filled.iter().any(|column| column.name == name);
        let identities = probe.columns.iter().filter(|column| column.identity.is_some());
        let misfits: Vec<String> = identities
            .filter(|column| copied(&column.name))
            .map(|column| column.name.clone())
            .collect();
        for name in misfits {
            let object = format!("column {name} of {} ({})", self.place, self.pieces.request.place);
            self.refuse(
                "identity_filled",
                object,
                "Its values come from the source, and its own sequence would begin anew.".to_owned(),
                "Draw from a sequence that no identity column owns instead: `default = \"nextval('…')\"`; it stays where it is.",
            );
        }
    }

    /// As it shall be, in its place: it belongs to the source's owner, and whoever has privileges on the source has them
    /// here.
    fn desired(&self, probe: Definition) -> Definition {
        let source = &self.pieces.surroundings.definition;
        let owner = &source.table.owner;
        let mut desired = Definition {
            name: self.place.clone(),
            table: catalog::Table {
                owner: owner.clone(),
                grants: source.table.grants.clone(),
                ..probe.table
            },
            row_type: catalog::RowType {
                grants: Vec::new(),
                comment: None,
            },
            depend: probe
                .depend
                .into_iter()
                .filter(|edge| edge.dependent_own)
                .collect(),
            ..probe
        };
        let fresh = ["SELECT", "UPDATE", "USAGE"].map(|privilege| Grant {
            grantor: owner.clone(),
            grantee: Some(owner.clone()),
            privilege: privilege.to_owned(),
            grantable: false,
        });
        for sequence in &mut desired.sequences {
            sequence.owner.clone_from(owner);
            sequence.grants = fresh.to_vec();
        }
        desired.sort();
        desired
    }
}

/// `UNIQUE` belongs before the `INDEX`.
fn unique(text: &str) -> (&'static str, &str) {
    let text = text.trim_start();
    match text.get(..6) {
        Some(word) if word.eq_ignore_ascii_case("unique") => ("UNIQUE", &text[6..]),
        _ => ("", text),
    }
}

/// Whether different values of the one type are different in the other.
fn keeps_apart(from: &str, to: &str) -> bool {
    const WIDER: [(&str, &[&str]); 5] = [
        ("smallint", &["integer", "bigint", "numeric", "text"]),
        ("integer", &["bigint", "numeric", "text"]),
        ("bigint", &["numeric", "text"]),
        ("uuid", &["text"]),
        ("date", &["text"]),
    ];
    let text = |name: &str| name == "text" || name.starts_with("character varying");
    let wider = WIDER
        .iter()
        .any(|(narrow, wide)| *narrow == from && wide.contains(&to));
    from == to || wider || (text(from) && to == "text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_keeps_keys_apart() {
        assert!(keeps_apart("integer", "bigint"));
        assert!(keeps_apart("character varying(10)", "text"));
        assert!(keeps_apart("public.citext", "public.citext"));
        assert!(!keeps_apart("bigint", "integer"));
        assert!(!keeps_apart("public.citext", "text"));
        assert!(!keeps_apart("text", "character varying(10)"));
        assert!(!keeps_apart("numeric", "text"));
    }

    #[test]
    fn an_index_may_be_unique() {
        assert_eq!(unique(" unique (a, b)"), ("UNIQUE", " (a, b)"));
        assert_eq!(unique("(uniqueness)"), ("", "(uniqueness)"));
        assert_eq!(unique("é"), ("", "é"));
    }
}
