//! What the user's statements would do, asked of the server: they run on an empty clone, in a transaction that
//! is always rolled back.
//!
//! Two tables are made. The **clone** has the source's columns, constraints and indexes, and takes the
//! statements; its columns keep their `attnum` through every rename and retype, and that is how a column of the
//! result is traced to the source's. The **image** has nothing but the source's columns under the names of the
//! moment, and takes each `USING` expression as a check constraint, so that the server writes it down fully
//! qualified, in the source's names, with the columns it reads and the functions it calls.
//!
//! Nothing of the user's is locked: foreign keys, the one thing that would, are neither on the clone nor served.

mod refusals;

use std::collections::{BTreeMap, BTreeSet};

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::refusal::Refusal;

use self::refusals::{
    not_over_the_source, object, reads_retyped, reads_row, rejected, retyped_twice, retypes_added, untyped,
};
use super::PlanError;
use super::expression::{self, Dependence};
use super::node_tree;
use crate::catalog::{self, Definition};
use crate::change::{Action, AlterStatement, Alteration, Using};
use crate::ddl;
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::{Session, SqlError};

/// What became of the clone.
pub(super) struct Probed {
    /// Its definition, under the clone's name.
    pub(super) definition: Definition,
    /// By the name of each column: its place in the source, from 0; `None` if it was added.
    pub(super) lineage: BTreeMap<String, Option<usize>>,
    /// What fills the columns that are not merely taken over, by their place in the source.
    pub(super) expressions: BTreeMap<usize, ProbedExpression>,
    /// Added columns whose default is not the same for every row and at every moment.
    pub(super) changing_defaults: Vec<String>,
    /// Columns whose value depends on settings that our sessions pin.
    pub(super) by_settings: Vec<String>,
    /// A plain `ALTER TABLE` would rewrite the table.
    pub(super) rewritten: bool,
}

/// A `USING`, as the server writes it.
pub(super) struct ProbedExpression {
    /// Fully qualified, in the source's names.
    pub(super) sql: String,
    /// The source's columns that it reads, from 0.
    pub(super) reads: Vec<usize>,
}

/// Names and settings of one probe.
pub(super) struct ProbeOptions<'a> {
    /// The source.
    pub(super) source: &'a Definition,
    /// Where the user's texts look up names.
    pub(super) search_path: &'a str,
}

type Found<T> = Result<Result<T, Vec<Refusal>>, PlanError>;

/// Runs the probe in the open transaction.
pub(super) async fn probe(
    session: &Session,
    options: &ProbeOptions<'_>,
    alteration: &Alteration,
) -> Found<Probed> {
    let mut probe = Probe::create(session, options).await?;
    let before = probe.file_node().await?;
    for statement in &alteration.statements {
        probe.run(statement).await?;
        if !probe.refusals.is_empty() {
            return Ok(Err(probe.refusals));
        }
    }
    let rewritten = probe.file_node().await? != before;
    probe.finish(rewritten).await
}

struct Probe<'a> {
    session: &'a Session,
    source: &'a Definition,
    search_path: &'a str,
    clone: TableName,
    image: TableName,
    oid: u32,
    /// The clone's columns by place, as they are called now.
    names: BTreeMap<usize, String>,
    /// Columns retyped so far, and whether with a `USING`.
    retyped: BTreeMap<usize, bool>,
    refusals: Vec<Refusal>,
}

pub(super) const COLUMN_NAMES: &str = "\
SELECT attnum::int8, attname::text FROM pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";

const COLUMN_TYPES: &str = "\
SELECT attnum::int8, format_type(atttypid, atttypmod) FROM pg_attribute
 WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";

const DEFAULTS: &str = "\
SELECT a.attname::text, d.adbin::text, a.attidentity <> ''
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1 AND a.attnum > $2 AND NOT a.attisdropped AND a.attgenerated = ''
   AND (d.oid IS NOT NULL OR a.attidentity <> '')
 ORDER BY a.attnum";

const CHECKS: &str = "\
SELECT conname::text, pg_get_expr(conbin, conrelid), coalesce(conkey, '{}'), conbin::text
  FROM pg_constraint WHERE conrelid = $1 ORDER BY conname";

impl<'a> Probe<'a> {
    async fn create(session: &'a Session, options: &ProbeOptions<'a>) -> Result<Probe<'a>, SqlError> {
        let source = options.source;
        let named = |what: &str| {
            let schema = format!("crossfade_{what}_{}", session.pid());
            TableName::new(schema, source.name.name.as_str())
        };
        let (clone, image) = (named("probe"), named("image"));
        let schema = format!("CREATE SCHEMA {}", Ident(&image.schema));
        let own = [schema, create_image(source, &image)];
        for statement in ddl::probe_clone(source, &clone.schema).iter().chain(&own) {
            session.batch_execute(statement).await?;
        }
        let oid = oid(session, &clone).await?;
        let mut probe = Probe {
            session,
            source,
            search_path: options.search_path,
            clone,
            image,
            oid,
            names: BTreeMap::new(),
            retyped: BTreeMap::new(),
            refusals: Vec::new(),
        };
        probe.names = probe.column_names().await?;
        Ok(probe)
    }

    async fn column_names(&self) -> Result<BTreeMap<usize, String>, SqlError> {
        let rows = self.session.query(COLUMN_NAMES, &[&self.oid]).await?;
        Ok(rows.iter().map(|row| (place(row.get(0)), row.get(1))).collect())
    }

    async fn file_node(&self) -> Result<Option<u32>, SqlError> {
        let row = self
            .session
            .query_one("SELECT pg_relation_filenode($1::oid::regclass)", &[&self.oid])
            .await?;
        Ok(row.get(0))
    }

    async fn run(&mut self, statement: &AlterStatement) -> Result<(), PlanError> {
        if let Some(refusal) = self.other_schema(statement) {
            self.refusals.push(refusal);
            return Ok(());
        }
        let table = ident::table(&self.clone);
        let sql = statement.on(&table);
        self.look_up_names_as_the_user().await?;
        let answer = self.session.client().execute(sql.as_str(), &[]).await;
        if let Err(error) = answer {
            let told = error.as_db_error().filter(|told| told.code().code() != "55P03");
            let told = told.ok_or_else(|| SqlError::new(&sql, &error))?;
            self.refusals.push(rejected(self.source, statement, &table, told));
            return Ok(());
        }
        self.look_up_names_as_the_server().await?;
        self.note_expressions(statement).await?;
        self.names = self.column_names().await?;
        self.rename_image(|place| self.names.get(&place).cloned()).await?;
        Ok(())
    }

    fn other_schema(&self, statement: &AlterStatement) -> Option<Refusal> {
        let named = statement.named();
        let other = named
            .schema
            .as_ref()
            .filter(|schema| **schema != self.source.name.schema)?;
        Some(refusal(
            RefusalCode::OtherTable,
            format!("{other}.{}", named.name),
            format!(
                "A statement names it, and the change is one of {}.",
                self.source.name
            ),
            "Plan one change for each table.",
        ))
    }

    /// Within one statement every `USING` reads the columns as they were before it, whatever the order of its
    /// actions; the image is not renamed until they are all written down.
    async fn note_expressions(&mut self, statement: &AlterStatement) -> Result<(), SqlError> {
        let earlier: BTreeSet<usize> = self.retyped.keys().copied().collect();
        for action in &statement.actions {
            let Action::Retype { column, using } = action else {
                continue;
            };
            let place = self
                .names
                .iter()
                .find(|(_, name)| *name == column)
                .map(|(place, _)| *place);
            let Some(place) = place.filter(|place| *place < self.source.columns.len()) else {
                self.refusals.push(retypes_added(self.source, column));
                continue;
            };
            if earlier.contains(&place) {
                self.refusals.push(retyped_twice(self.source, column));
            }
            self.retyped.insert(place, using.is_some());
            if let Some(using) = using {
                self.write_down(place, column, using, &earlier).await?;
            }
        }
        Ok(())
    }

    /// Adds the expression to the image as a check constraint.
    async fn write_down(
        &mut self,
        place: usize,
        column: &str,
        using: &Using,
        earlier: &BTreeSet<usize>,
    ) -> Result<(), SqlError> {
        // On lines of their own, so that a comment in the text ends before the parenthesis.
        let sql = self.add_check(place, &format!("\n{}\n", using.sql));
        self.session.batch_execute("SAVEPOINT crossfade").await?;
        self.look_up_names_as_the_user().await?;
        let answer = self.session.client().execute(sql.as_str(), &[]).await;
        match answer {
            Ok(_) => {
                self.session.batch_execute("RELEASE SAVEPOINT crossfade").await?;
                self.look_up_names_as_the_server().await?;
            }
            // The savepoint has the server's path.
            Err(error) => {
                let told = error.as_db_error().ok_or_else(|| SqlError::new(&sql, &error))?;
                self.refusals
                    .push(not_over_the_source(self.source, column, told, using));
                self.session
                    .batch_execute("ROLLBACK TO SAVEPOINT crossfade")
                    .await?;
                return Ok(());
            }
        }
        let oid = oid(self.session, &self.image).await?;
        let rows = self.session.query(CHECKS, &[&oid]).await?;
        let own = rows
            .iter()
            .find(|row| row.get::<_, String>(0) == check_name(place));
        let reads: Vec<i16> = own.map(|row| row.get(2)).unwrap_or_default();
        if reads
            .iter()
            .any(|attnum| *attnum > 0 && earlier.contains(&place_of(*attnum)))
        {
            self.refusals.push(reads_retyped(self.source, column));
        }
        Ok(())
    }

    fn add_check(&self, place: usize, expression: &str) -> String {
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} CHECK (({expression}) IS NOT NULL) NOT VALID",
            ident::table(&self.image),
            Ident(&check_name(place)),
        )
    }

    /// Gives every column of the image the name that `wanted` says; those without get out of the way. By way of
    /// names that nobody has, since two may be exchanged.
    async fn rename_image(&self, wanted: impl Fn(usize) -> Option<String>) -> Result<(), SqlError> {
        let oid = oid(self.session, &self.image).await?;
        let rows = self.session.query(COLUMN_NAMES, &[&oid]).await?;
        let aside = |place: usize| format!("crossfade column {place}");
        let mut away = Vec::new();
        let mut back = Vec::new();
        for row in rows {
            let (place, now) = (place(row.get(0)), row.get::<_, String>(1));
            let then = wanted(place).unwrap_or_else(|| aside(place));
            if then == now {
                continue;
            }
            let table = ident::table(&self.image);
            let rename = |from: &str, to: &str| {
                format!(
                    "ALTER TABLE {table} RENAME COLUMN {} TO {}",
                    Ident(from),
                    Ident(to)
                )
            };
            if now != aside(place) {
                away.push(rename(&now, &aside(place)));
            }
            if then != aside(place) {
                back.push(rename(&aside(place), &then));
            }
        }
        for statement in away.into_iter().chain(back) {
            self.session.batch_execute(&statement).await?;
        }
        Ok(())
    }

    async fn look_up_names_as_the_user(&self) -> Result<(), SqlError> {
        set_search_path(self.session, self.search_path).await
    }

    async fn look_up_names_as_the_server(&self) -> Result<(), SqlError> {
        set_search_path(self.session, "pg_catalog").await
    }

    async fn finish(mut self, rewritten: bool) -> Found<Probed> {
        self.rename_image(|place| Some(self.source.columns[place].name.clone()))
            .await?;
        self.write_down_casts().await?;
        let mut probed = Probed {
            definition: catalog::describe(self.session.client(), self.oid).await?,
            lineage: self.lineage(),
            expressions: BTreeMap::new(),
            changing_defaults: self.changing_defaults().await?,
            by_settings: Vec::new(),
            rewritten,
        };
        let oid = oid(self.session, &self.image).await?;
        for row in self.session.query(CHECKS, &[&oid]).await? {
            let name: String = row.get(0);
            let Some(place) = name.strip_prefix(CHECK).and_then(|place| place.parse().ok()) else {
                continue;
            };
            self.judge(place, &row, &mut probed).await?;
        }
        match self.refusals.is_empty() {
            true => Ok(Ok(probed)),
            false => Ok(Err(self.refusals)),
        }
    }

    /// A retype without `USING` is an assignment: the statement of the copy makes the same one. Written down as
    /// a cast only to see what it depends on.
    async fn write_down_casts(&self) -> Result<(), SqlError> {
        let rows = self.session.query(COLUMN_TYPES, &[&self.oid]).await?;
        let types: BTreeMap<usize, String> = rows.iter().map(|row| (place(row.get(0)), row.get(1))).collect();
        for (place, _) in self.retyped.iter().filter(|(_, using)| !**using) {
            if let Some(type_name) = types.get(place) {
                let column = Ident(&self.source.columns[*place].name);
                let sql = self.add_check(*place, &format!("CAST({column} AS {type_name})"));
                self.session.batch_execute(&sql).await?;
            }
        }
        Ok(())
    }

    fn lineage(&self) -> BTreeMap<String, Option<usize>> {
        let traced = |(place, name): (&usize, &String)| {
            (
                name.clone(),
                Some(*place).filter(|place| *place < self.source.columns.len()),
            )
        };
        self.names.iter().map(traced).collect()
    }

    async fn changing_defaults(&self) -> Result<Vec<String>, SqlError> {
        let own = i16::try_from(self.source.columns.len()).unwrap_or(i16::MAX);
        let mut changing = Vec::new();
        for row in self.session.query(DEFAULTS, &[&self.oid, &own]).await? {
            let tree: Option<String> = row.get(1);
            let constant = match tree {
                Some(tree) => {
                    let verdict = expression::judge(self.session, &node_tree::read(&tree), "").await?;
                    verdict == Ok(Dependence::Nothing)
                }
                None => true,
            };
            if !constant || row.get(2) {
                changing.push(row.get(0));
            }
        }
        Ok(changing)
    }

    async fn judge(
        &mut self,
        place: usize,
        row: &tokio_postgres::Row,
        probed: &mut Probed,
    ) -> Result<(), SqlError> {
        let column = &self.source.columns[place].name;
        let object = object(self.source, column);
        let (text, attnums, tree): (String, Vec<i16>, String) = (row.get(1), row.get(2), row.get(3));
        match expression::judge(self.session, &node_tree::read(&tree), &object).await? {
            Ok(Dependence::Nothing) => {}
            Ok(Dependence::PinnedSettings) => probed.by_settings.push(column.clone()),
            Err(refusals) => self.refusals.extend(refusals),
        }
        if !self.retyped.get(&place).is_some_and(|using| *using) {
            return Ok(());
        }
        match (
            unwrap(&text, "IS NOT NULL"),
            attnums.iter().find(|attnum| **attnum <= 0),
        ) {
            (_, Some(0)) => self
                .refusals
                .push(reads_row(&object, "the whole row, whose type changes too")),
            (_, Some(_)) => self.refusals.push(reads_row(
                &object,
                "a system column, which the copy does not keep",
            )),
            (None, None) => self.refusals.push(untyped(&object)),
            (Some(sql), None) => {
                let reads: BTreeSet<usize> = attnums.iter().map(|attnum| place_of(*attnum)).collect();
                let expression = ProbedExpression {
                    sql: sql.to_owned(),
                    reads: reads.into_iter().collect(),
                };
                probed.expressions.insert(place, expression);
            }
        }
        Ok(())
    }
}

const CHECK: &str = "crossfade ";

fn check_name(place: usize) -> String {
    format!("{CHECK}{place}")
}

/// `attnum` counts from 1.
fn place(attnum: i64) -> usize {
    usize::try_from(attnum - 1).unwrap_or(usize::MAX)
}

fn place_of(attnum: i16) -> usize {
    place(i64::from(attnum))
}

/// The expression within `(… IS NOT NULL)` or another `test`, which the server has written. A bare literal has no type
/// there, and so no meaning of its own.
pub(super) fn unwrap<'a>(text: &'a str, test: &str) -> Option<&'a str> {
    let inner = text
        .strip_prefix('(')?
        .strip_suffix(')')?
        .strip_suffix(test)?
        .strip_suffix(' ')?;
    Some(inner).filter(|inner| !inner.ends_with("::unknown"))
}

pub(super) async fn set_search_path(session: &Session, path: &str) -> Result<(), SqlError> {
    session
        .execute("SELECT pg_catalog.set_config('search_path', $1, true)", &[&path])
        .await?;
    Ok(())
}

async fn oid(session: &Session, table: &TableName) -> Result<u32, SqlError> {
    let row = session
        .query_one("SELECT $1::text::regclass::oid", &[&ident::table(table)])
        .await?;
    Ok(row.get(0))
}

pub(super) fn create_image(source: &Definition, image: &TableName) -> String {
    let columns = source.columns.iter().map(|column| {
        let collation = column
            .collation
            .as_ref()
            .map(|collation| format!(" COLLATE {collation}"));
        format!(
            "{} {}{}",
            Ident(&column.name),
            column.type_name,
            collation.unwrap_or_default()
        )
    });
    let columns: Vec<String> = columns.collect();
    format!("CREATE TABLE {} ({})", ident::table(image), columns.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expression_is_taken_out_of_what_the_server_wrote() {
        let cases = [
            ("((s)::public.st IS NOT NULL)", Some("(s)::public.st")),
            ("(ROW(id, s) IS NOT NULL)", Some("ROW(id, s)")),
            ("((id IS NOT NULL) IS NOT NULL)", Some("(id IS NOT NULL)")),
            ("(NULL::unknown IS NOT NULL)", None),
            ("(''::unknown IS NOT NULL)", None),
            ("something else", None),
        ];
        for (text, expected) in cases {
            assert_eq!(unwrap(text, "IS NOT NULL"), expected, "{text}");
        }
    }
}
