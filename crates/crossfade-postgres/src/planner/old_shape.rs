//! The way back of a split: the table as it was, read from the new tables by a query of the user's (R33).
//!
//! The query names the new tables by their bare names. Each is put before it as a `WITH` of that name, and so it never
//! matters where a table is: over the tables that were made to plan it, the query is understood; over values that are
//! computed from existing rows, in one query that writes nothing, it is tried; and over the new tables in their places it
//! is the view that the retired table follows.

mod trial;

use std::collections::BTreeSet;

use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyStep, Expression, Key, Part, Source, Target, TargetColumn};
use crossfade_core::refusal::Refusal;
use crossfade_core::way_back::{Caveat, Direction, RoundTrip, WayBack, WayBackClass};
use tokio_postgres::types::ToSql;

use super::inverse::{self, ColumnType, Inverse};
use super::key::{self, KeyChoice};
use super::source::{self, TableColumn};
use super::statements::{self, OldShape};
use super::{PlanError, Surroundings, expression, node_tree};
use crate::catalog::{Column, ConstraintKind, Definition};
use crate::change::{NAME_BYTES_MAX, OldShapeRequest};
use crate::ddl::{self, Leaving};
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::{Session, SqlError};

/// What it is made from.
pub(super) struct Pieces<'a> {
    pub(super) session: &'a Session,
    pub(super) request: &'a OldShapeRequest,
    /// The retired table shall follow.
    pub(super) follows: bool,
    pub(super) name: &'a MigrationName,
    pub(super) search_path: &'a str,
    pub(super) surroundings: &'a Surroundings,
    pub(super) limits: &'a Limits,
    /// The step forward, without its statements.
    pub(super) step: &'a CopyStep,
    /// What each target shall be, in the same order.
    pub(super) desired: &'a [Definition],
    /// What stands for each of them in the open transaction.
    pub(super) probes: &'a [Probe],
    /// The target, by its place, that takes the place of the source.
    pub(super) successor: Option<usize>,
}

/// A table that was made to plan a target.
pub(super) struct Probe {
    pub(super) name: TableName,
    pub(super) oid: u32,
}

/// What is known, the step backwards, and the view, if there are any.
pub(super) struct Planned {
    pub(super) way_back: WayBack,
    pub(super) step: Option<Box<CopyStep>>,
    pub(super) view: Option<OldShape>,
}

type Found<T> = Result<Result<T, Vec<Refusal>>, PlanError>;

/// The view's name, in the schema of the retired table.
const VIEW: &str = "crossfade_old_shape";

const RULE: &str = "\
SELECT r.oid, r.ev_action::text FROM pg_rewrite r WHERE r.ev_class = $1::text::regclass";

/// The tables, but for those of `$2` and the view `$3`, that the rule `$1` reads.
const READS_OTHERS: &str = "\
SELECT DISTINCT refobjid::regclass::text FROM pg_depend
 WHERE classid = 'pg_rewrite'::regclass AND objid = $1 AND refclassid = 'pg_class'::regclass
   AND refobjid <> ALL ($2::oid[]) AND refobjid <> $3::text::regclass ORDER BY 1";

/// Whether we and the role `$4` may create in the schema `$1`, whether something has the name `$2` there, and a function
/// without arguments the name `$3`.
const VIEW_PLACE: &str = "\
SELECT has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')
         AND has_schema_privilege($4::text, n.oid, 'CREATE'),
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2::text)
         OR EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid AND t.typname = $2::text),
       EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = $3::text AND p.pronargs = 0)
  FROM pg_namespace n WHERE n.nspname = $1::text";

/// Those of the aggregates `$1` whose result depends on the order of their input.
const ORDERED_AGGREGATES: &str = "\
SELECT proname::text FROM pg_proc WHERE oid = ANY ($1)
   AND proname IN ('array_agg', 'string_agg', 'json_agg', 'jsonb_agg', 'xmlagg', 'json_object_agg') ORDER BY 1";

/// Nodes of a query that call nothing but what their fields name.
const QUERY_TAGS: &[&str] = &[
    "AGGREF",
    "ALIAS",
    "COLDEF",
    "COMMONTABLEEXPR",
    "FROMEXPR",
    "JOINEXPR",
    "PARAM",
    "QUERY",
    "RANGETBLENTRY",
    "RANGETBLFUNCTION",
    "RANGETBLREF",
    "RTE",
    "RTEPERMISSIONINFO",
    "SETOPERATIONSTMT",
    "SORTGROUPCLAUSE",
    "SUBLINK",
    "TARGETENTRY",
];

/// Plans it, in the open transaction.
pub(super) async fn plan(pieces: &Pieces<'_>) -> Found<Planned> {
    let Some(source_key) = &pieces.step.source.key else {
        if let Some((_, placed)) = &pieces.request.view {
            return Ok(Err(vec![refusal(
                "old_shape_key_missing",
                format!("old_shape view ({})", placed.place),
                "The table has no key by which a row that is written could be found.".to_owned(),
                "Give it a primary key, or leave the view out.",
            )]));
        }
        return Ok(Ok(impossible(Caveat {
            column: None,
            what: "The table has no key: a row that is changed after the swap could not be found in it"
                .to_owned(),
        })));
    };
    let columns = match pieces.understand().await? {
        Ok(columns) => columns,
        Err(refusals) => return Ok(Err(refusals)),
    };
    let mut shape = Shape {
        pieces,
        columns,
        old: source::columns(pieces.session, pieces.step.source.oid).await?,
        filled: Vec::new(),
        caveats: Vec::new(),
        lost: Vec::new(),
        refusals: Vec::new(),
    };
    shape.fill();
    let keys = shape.keys(source_key);
    let parts = shape.parts(source_key).await?;
    let (Some(keys), Some(parts), true) = (keys, parts, shape.refusals.is_empty()) else {
        return Ok(Err(shape.refusals));
    };
    shape.insisted_on();
    let refusals = shape.view_refusals().await?;
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    if !pieces.follows {
        return Ok(Ok(Planned {
            view: Some(shape.view(&keys)),
            way_back: WayBack::default(),
            step: None,
        }));
    }
    match trial::run(&shape, &keys).await? {
        Ok(tried) => Ok(Ok(shape.finish(keys, parts, tried))),
        Err(caveat) => Ok(Ok(Planned {
            view: pieces.request.view.as_ref().map(|_| shape.view(&keys)),
            ..impossible(caveat)
        })),
    }
}

/// There is no way back, for that reason.
pub(super) fn impossible(caveat: Caveat) -> Planned {
    Planned {
        way_back: WayBack {
            class: WayBackClass::Impossible,
            caveats: vec![caveat],
            ..WayBack::default()
        },
        step: None,
        view: None,
    }
}

/// What the rows of the user's query are called.
const ROWS: &str = "\"crossfade old\"";

/// Each new table under its bare name, as it follows `WITH`; `bodies` is what stands for each.
fn named(targets: &[Target], bodies: impl Iterator<Item = String>, how: &str) -> String {
    let named = targets.iter().zip(bodies);
    let named: Vec<String> = named
        .map(|(target, body)| format!("{} AS {how} ({body})", Ident(&target.name.name)))
        .collect();
    named.join(",\n     ")
}

/// The user's query over tables, of which it reads no more than it asks for.
fn over_tables(targets: &[Target], tables: &[&TableName], query: &str) -> String {
    let bodies = tables
        .iter()
        .map(|table| format!("SELECT * FROM {}", ident::table(table)));
    let named = named(targets, bodies, "NOT MATERIALIZED");
    format!("WITH {named}\nSELECT {ROWS}.* FROM (\n{query}\n) AS {ROWS}")
}

impl Pieces<'_> {
    fn object(&self) -> String {
        format!("old_shape query ({})", self.request.query.place)
    }

    /// The columns of the query, in a view over the probes.
    async fn understand(&self) -> Found<Vec<TableColumn>> {
        let tables: Vec<&TableName> = self.probes.iter().map(|probe| &probe.name).collect();
        let view = TableName::new(self.probes[0].name.schema.as_str(), VIEW);
        let sql = format!(
            "CREATE VIEW {} AS\n{}",
            ident::table(&view),
            over_tables(&self.step.targets, &tables, &self.request.query.text)
        );
        if let Err(message) = super::tables::try_as_the_user(self.session, self.search_path, &sql).await? {
            return Ok(Err(vec![refusal(
                "old_shape_not_understood",
                self.object(),
                format!("The server says: {message}."),
                "Write one SELECT over the new tables, by their names without a schema.",
            )]));
        }
        let rule = self.session.query_one(RULE, &[&ident::table(&view)]).await?;
        let refusals = self.judge(&view, rule.get(0), rule.get(1)).await?;
        if !refusals.is_empty() {
            return Ok(Err(refusals));
        }
        let oid = super::table_oid(self.session, &view).await?.unwrap_or_default();
        Ok(Ok(source::columns(self.session, oid).await?))
    }

    /// It reads nothing but the new tables, and always makes the same of them.
    async fn judge(&self, view: &TableName, rule: u32, tree: &str) -> Result<Vec<Refusal>, SqlError> {
        let object = self.object();
        let probes: Vec<u32> = self.probes.iter().map(|probe| probe.oid).collect();
        let parameters: [&(dyn ToSql + Sync); 3] = [&rule, &probes, &ident::table(view)];
        let others = self.session.query(READS_OTHERS, &parameters).await?;
        let mut refusals: Vec<Refusal> = others
            .iter()
            .map(|row| {
                let other: String = row.get(0);
                refusal(
                    "old_shape_reads_others",
                    object.clone(),
                    format!("It reads {other}, whose changes nobody would notice."),
                    "Read nothing but the new tables.",
                )
            })
            .collect();
        let mut calls = node_tree::read(tree);
        calls.unknown.retain(|tag| !QUERY_TAGS.contains(&tag.as_str()));
        refusals.extend(
            expression::judge(self.session, &calls, &object)
                .await?
                .err()
                .unwrap_or_default(),
        );
        let unordered: Vec<u32> = node_tree::unordered_aggregates(tree).into_iter().collect();
        for row in self.session.query(ORDERED_AGGREGATES, &[&unordered]).await? {
            let name: String = row.get(0);
            refusals.push(refusal(
                "old_shape_without_order",
                object.clone(),
                format!("What {name} makes of rows depends on an order that nothing gives them."),
                "Write the order into the call: `array_agg(x ORDER BY position)`.",
            ));
        }
        Ok(refusals)
    }
}

/// The keys on both sides: columns of the view, places in the list of filled ones.
struct Keys {
    source: Key,
    target: Vec<usize>,
}

struct Shape<'a> {
    pieces: &'a Pieces<'a>,
    /// Of the view.
    columns: Vec<TableColumn>,
    /// Of the table as it is.
    old: Vec<TableColumn>,
    filled: Vec<TargetColumn>,
    caveats: Vec<Caveat>,
    lost: Vec<Caveat>,
    refusals: Vec<Refusal>,
}

impl Shape<'_> {
    fn today(&self) -> &Definition {
        &self.pieces.surroundings.definition
    }

    fn refuse(&mut self, code: &str, message: String, remedy: &str) {
        let object = self.pieces.object();
        self.refusals.push(refusal(code, object, message, remedy));
    }

    /// Each column of the old table from the query's of the same name.
    fn fill(&mut self) {
        let today = self.today().clone();
        for column in &self.columns {
            let name = &column.column.name;
            let known = today.column(name).filter(|column| column.generated.is_none());
            if known.is_none() {
                let message = format!("{} has no column {name} to be filled.", today.name);
                let object = self.pieces.object();
                self.refusals.push(refusal(
                    "old_shape_column_unknown",
                    object,
                    message,
                    "Name each column as the table as it is today calls it.",
                ));
            }
        }
        for column in today.columns.iter().filter(|column| column.generated.is_none()) {
            let position = self.columns.iter().position(|new| new.column.name == column.name);
            match position {
                Some(position) => self.fill_from(column, position),
                None => self.missing(column),
            }
        }
    }

    fn fill_from(&mut self, column: &Column, position: usize) {
        let new = &self.columns[position];
        let quoted = Ident(&column.name).to_string();
        let old_type = ColumnType {
            name: &column.type_name,
            is_enum: self
                .old
                .iter()
                .any(|old| old.column.name == column.name && old.is_enum),
        };
        let sql = match inverse::of(old_type, new.as_type(), &quoted) {
            Inverse::Exact(sql) => sql,
            Inverse::Conditional(sql, what) => {
                self.caveats.push(Caveat {
                    column: Some(column.name.clone()),
                    what,
                });
                sql
            }
            Inverse::Unknown => {
                let message = format!(
                    "Its column {} is {}, and {} in {}.",
                    column.name,
                    new.column.type_name,
                    column.type_name,
                    self.today().name
                );
                let remedy = format!("Cast it: `CAST(… AS {}) AS {quoted}`.", column.type_name);
                self.refuse("old_shape_column_type", message, &remedy);
                return;
            }
        };
        self.filled.push(TargetColumn {
            name: column.name.clone(),
            type_name: column.type_name.clone(),
            value: Expression {
                sql,
                reads: vec![position],
            },
        });
    }

    fn missing(&mut self, column: &Column) {
        if column.not_null && column.default.is_none() && column.identity.is_none() {
            let message = format!("It has no column {}, which is NOT NULL.", column.name);
            self.refuse("old_shape_column_missing", message, "Add it to the query.");
            return;
        }
        self.lost.push(Caveat {
            column: Some(column.name.clone()),
            what: "the query does not have it: rows keep their value, but one that is written after the swap, or whose key \
                   is changed then, has its default"
                .to_owned(),
        });
    }

    /// The key, in the form in which the new tables have it.
    fn keys(&mut self, key: &Key) -> Option<Keys> {
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for place in &key.columns {
            let name = self.pieces.step.source.columns[*place].name.clone();
            let filled = self.filled.iter().position(|filled| filled.name == name);
            let Some(filled) = filled else {
                let message = format!("It has no column {name}, by which rows are found.");
                self.refuse("old_shape_key_missing", message, "Add it to the query.");
                return None;
            };
            source.extend(&self.filled[filled].value.reads);
            target.push(filled);
        }
        Some(Keys {
            source: Key { columns: source },
            target,
        })
    }

    /// The new tables, as they will be streamed.
    async fn parts(&mut self, source_key: &Key) -> Result<Option<Vec<Part>>, SqlError> {
        let pieces = self.pieces;
        let mut parts = Vec::new();
        let sides = pieces.step.targets.iter().zip(pieces.desired).zip(pieces.probes);
        for ((target, desired), probe) in sides {
            let columns = source::columns(pieces.session, probe.oid).await?;
            let columns: Vec<TableColumn> = columns.into_iter().filter(|column| !column.generated).collect();
            let position = |name: &str| columns.iter().position(|column| column.column.name == name);
            let key = match key::choose(desired) {
                KeyChoice::Columns(names) => names.iter().map(|name| position(name)).collect(),
                KeyChoice::Keyless(_) => None,
            };
            let image = target.key.iter().flatten();
            let image: Option<Vec<usize>> = image
                .map(|place| position(&target.columns[*place].name))
                .collect();
            let (Some(key), Some(image)): (Option<Vec<usize>>, _) = (key, image) else {
                let message = format!(
                    "{} has no primary key by which it could be followed.",
                    target.name
                );
                self.refuse("old_shape_key_missing", message, "Give it one.");
                return Ok(None);
            };
            let inside: BTreeSet<usize> = key.iter().copied().collect();
            if !image.iter().all(|place| inside.contains(place)) {
                let message = format!(
                    "The replica identity of {} does not tell which row of the old table a row belongs to.",
                    target.name
                );
                self.refuse("old_shape_key_missing", message, "Make the old key part of it.");
                return Ok(None);
            }
            for (place, image) in source_key.columns.iter().zip(&image) {
                self.same_form(&pieces.step.source.columns[*place].name, target, &columns[*image]);
            }
            parts.push(Part {
                name: target.name.clone(),
                shadow: target.shadow.clone(),
                oid: 0,
                row_key: image,
                key,
                partitioned: target.partitioned,
                definition: target.definition.clone(),
                columns: source::in_one_form(columns),
            });
        }
        Ok(Some(parts))
    }

    /// Rows of the view are looked up by what the stream of that table carries.
    fn same_form(&mut self, name: &str, target: &Target, image: &TableColumn) {
        let column = self.columns.iter().find(|column| column.column.name == *name);
        let Some(column) = column else { return };
        let (of_view, of_table) = (&column.column.type_name, &image.column.type_name);
        if of_view != of_table && !super::tables::keeps_apart(of_table, of_view) {
            let message = format!(
                "Its key column {name} is {of_view}, and {of_table} in {}: rows could not be looked up in it.",
                target.name
            );
            let remedy = "Take it from the new table as it is there, without a cast.";
            self.refuse("old_shape_key_form", message, remedy);
        }
    }

    /// What the old table insists on, whatever the new ones do.
    fn insisted_on(&mut self) {
        let today = self.today().clone();
        let of_key: BTreeSet<&String> = {
            let source = &self.pieces.step.source;
            let key = source.key.iter().flat_map(|key| &key.columns);
            key.map(|place| &source.columns[*place].name).collect()
        };
        let strict = self.filled.iter().filter(|filled| {
            let old = today.column(&filled.name);
            old.is_some_and(|old| old.not_null) && !of_key.contains(&filled.name)
        });
        let nulls: Vec<Caveat> = strict
            .map(|filled| Caveat {
                column: Some(filled.name.clone()),
                what: "NULL".to_owned(),
            })
            .collect();
        let checked = today.constraints.iter().filter(|constraint| {
            let row = matches!(
                constraint.kind,
                ConstraintKind::NotNull | ConstraintKind::PrimaryKey
            );
            constraint.validated && !row
        });
        let indexes = today
            .indexes
            .iter()
            .filter(|index| index.unique && index.constraint.is_none());
        let names = checked
            .map(|constraint| &constraint.name)
            .chain(indexes.map(|index| &index.name));
        let violated = names.map(|name| Caveat {
            column: None,
            what: format!("a row that violates {name}"),
        });
        let violated: Vec<Caveat> = violated.collect();
        self.caveats.extend(nulls);
        self.caveats.extend(violated);
    }

    fn finish(self, keys: Keys, parts: Vec<Part>, tried: Option<RoundTrip>) -> Planned {
        let (forward, pieces) = (self.pieces.step, self.pieces);
        let old = &forward.source;
        let old_shape = self.view(&keys);
        let mut columns = self.columns;
        // What the stream carries of a key is a text: tables may have it in different types.
        columns.iter_mut().for_each(|column| column.binary = false);
        let source = Source {
            name: old_shape.view.clone(),
            oid: 0,
            columns: source::in_one_form(columns),
            key: Some(keys.source),
            identity_to_restore: None,
            full_identity: false,
            binary: false,
            never_missing: Vec::new(),
            each_row_once: false,
            parts,
            definition: String::new(),
        };
        let target = Target {
            shadow: TableName::new(pieces.name.retired_schema(), old.name.name.as_str()),
            name: old.name.clone(),
            columns: self.filled,
            key: Some(keys.target),
            filter: None,
            derived: None,
            partitioned: false,
            definition: old.definition.clone(),
        };
        let leaving: Vec<&Definition> = pieces.desired.iter().collect();
        let shadows: Vec<&TableName> = forward.targets.iter().map(|target| &target.shadow).collect();
        let statements = statements::list_back(&statements::BackPieces {
            name: pieces.name,
            source: &source,
            leaving: Leaving {
                tables: &leaving,
                predecessor: pieces.successor.map(|place| &pieces.desired[place]),
            },
            target: &target,
            old: &pieces.surroundings.definition,
            shadows: &shadows,
            old_shape: Some(&old_shape),
            role: &pieces.surroundings.facts.role,
            limits: pieces.limits,
        });
        let class = match self.caveats.is_empty() {
            true => WayBackClass::Exact,
            false => WayBackClass::Conditional,
        };
        let step = CopyStep {
            source,
            targets: vec![target],
            statements,
            way_back: WayBack::default(),
            back: None,
            ..forward.towards(Direction::Forward).clone()
        };
        Planned {
            way_back: WayBack {
                class,
                caveats: self.caveats,
                lost: self.lost,
                tried,
            },
            step: Some(Box::new(step)),
            view: Some(old_shape),
        }
    }

    /// Where the view will be.
    fn view_name(&self) -> TableName {
        let source = &self.pieces.step.source.name;
        match &self.pieces.request.view {
            None => TableName::new(self.pieces.name.retired_schema(), VIEW),
            Some((name, _)) => TableName::new(
                name.schema.clone().unwrap_or_else(|| source.schema.clone()),
                name.name.as_str(),
            ),
        }
    }

    fn view(&self, keys: &Keys) -> OldShape {
        let pieces = self.pieces;
        let targets = &pieces.step.targets;
        let view = self.view_name();
        let tables: Vec<&TableName> = targets.iter().map(|target| &target.name).collect();
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.column.name.clone())
            .collect();
        let key: Vec<String> = keys
            .source
            .columns
            .iter()
            .map(|place| columns[*place].clone())
            .collect();
        let ddl = ddl::OldShape {
            view: &view,
            query: &over_tables(targets, &tables, &pieces.request.query.text),
            columns: &columns,
            key: &key,
            source: &pieces.step.source,
            today: &pieces.surroundings.definition,
            targets,
            desired: pieces.desired,
            search_path: pieces.search_path,
        };
        let stays = pieces.request.view.is_some();
        let (create, drop) = match stays {
            true => (ddl.create_writable(), ddl::drop_view(&view)),
            false => (
                vec![ddl.create()],
                vec![format!("DROP VIEW IF EXISTS {}", ident::table(&view))],
            ),
        };
        OldShape {
            view,
            create,
            drop,
            stays,
        }
    }

    /// What stands in the way of a view that applications use in place of the table.
    async fn view_refusals(&self) -> Result<Vec<Refusal>, SqlError> {
        let Some((_, placed)) = &self.pieces.request.view else {
            return Ok(Vec::new());
        };
        let (pieces, view) = (self.pieces, self.view_name());
        let object = format!("old_shape view {view} ({})", placed.place);
        let mut refusals = Vec::new();
        let mut refuse = |code: &str, message: String, remedy: &str| {
            refusals.push(refusal(code, object.clone(), message, remedy));
        };
        let source = &pieces.step.source;
        let goes_away = pieces.successor.is_none() && view == source.name;
        let function = ddl::function(&view);
        let names = pieces
            .session
            .query_opt(
                VIEW_PLACE,
                &[
                    &view.schema,
                    &view.name,
                    &function.name,
                    &self.today().table.owner,
                ],
            )
            .await?;
        match names {
            None => refuse(
                "schema_not_found",
                format!("There is no schema {}.", view.schema),
                "Create it first.",
            ),
            Some(row) => {
                if !row.get::<_, bool>(0) {
                    let remedy = "Run `GRANT USAGE, CREATE ON SCHEMA …` to the role that runs the change and to the table's \
                                  owner.";
                    let message = format!(
                        "We, or the table's owner, may not create anything in {}.",
                        view.schema
                    );
                    refuse("schema_not_writable", message, remedy);
                }
                let of_target = pieces.step.targets.iter().any(|target| target.name == view);
                if of_target || (row.get::<_, bool>(1) && !goes_away) {
                    let message = format!("There is, or will be, something else of the name {view}.");
                    refuse("name_taken", message, "Choose another name for the view.");
                }
                if row.get::<_, bool>(2) || function.name.len() > NAME_BYTES_MAX {
                    let message = format!(
                        "The function {function}, which carries its writes out, cannot have that name."
                    );
                    refuse("name_taken", message, "Choose another name for the view.");
                }
            }
        }
        if self.today().table.row_security {
            refuse(
                "row_security",
                "The table has row security, whose policies a view over other tables does not have."
                    .to_owned(),
                "Leave the view out, or write policies for the new tables after the change.",
            );
        }
        let has = |place: &usize| {
            let name = &source.columns[*place].name;
            self.columns.iter().any(|column| column.column.name == *name)
        };
        let reads: BTreeSet<usize> = pieces.step.targets.iter().flat_map(Target::reads).collect();
        for place in reads.iter().filter(|place| !has(place)) {
            let name = &source.columns[*place].name;
            refuse(
                "old_shape_column_missing",
                format!(
                    "The new tables are made from {name}, and the query does not have it: nothing could be written."
                ),
                "Add it to the query, or leave the view out.",
            );
        }
        Ok(refusals)
    }
}
