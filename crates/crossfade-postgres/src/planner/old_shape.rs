//! The way back of a split: the table as it was, read from the new tables by a query of the user's (R33).
//!
//! The query names the new tables by their bare names. Each is put before it as a `WITH` of that name, and so it never
//! matters where a table is: over the tables that were made to plan it, the query is understood; over values that are
//! computed from existing rows, in one query that writes nothing, it is tried. Over the new tables in their places it is
//! the view that the retired table follows.

mod columns;
mod parts;
mod query;
mod trial;
mod view;

use crossfade_core::code::RefusalCode;
use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyStep, Key, Part, Source, Target, TargetColumn};
use crossfade_core::refusal::Refusal;
use crossfade_core::way_back::{Caveat, Direction, RoundTrip, WayBack, WayBackClass};

use super::source::{self, TableColumn};
use super::statements::{self, OldShape};
use super::{PlanError, Surroundings};
use crate::catalog::Definition;
use crate::change::OldShapeRequest;
use crate::ddl::Leaving;
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::Session;

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

/// Plans it, in the open transaction.
pub(super) async fn plan(pieces: &Pieces<'_>) -> Found<Planned> {
    let Some(source_key) = &pieces.step.source.key else {
        if let Some((_, placed)) = &pieces.request.view {
            return Ok(Err(vec![refusal(
                RefusalCode::OldShapeKeyMissing,
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
    format!("WITH {named}\n{}", over_names(query))
}

/// The user's query, where the names mean the new tables.
fn over_names(query: &str) -> String {
    format!("SELECT {ROWS}.* FROM (\n{query}\n) AS {ROWS}")
}

impl Pieces<'_> {
    fn object(&self) -> String {
        format!("old_shape query ({})", self.request.query.place)
    }

    /// Where the new tables will be, if it is one schema in which a bare name cannot mean anything else: the server looks
    /// into its own catalog and among the session's temporary tables first.
    fn schema(&self) -> Option<&str> {
        let targets = &self.step.targets;
        let schema = targets[0].name.schema.as_str();
        let taken = |name: &str| name.starts_with("pg_") || name.starts_with("crossfade_");
        let found = |target: &Target| target.name.schema == schema && !taken(&target.name.name);
        targets.iter().all(found).then_some(schema)
    }

    /// Where the query's names are looked up, whatever it is over: what it calls must be the same when it is judged, when it
    /// is tried and when it is the view.
    fn path(&self) -> String {
        match (self.schema(), self.search_path.trim()) {
            (None, path) => path.to_owned(),
            (Some(schema), "") => Ident(schema).to_string(),
            (Some(schema), path) => format!("{}, {path}", Ident(schema)),
        }
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

    fn refuse(&mut self, code: RefusalCode, message: String, remedy: &str) {
        let object = self.pieces.object();
        self.refusals.push(refusal(code, object, message, remedy));
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
            role: &pieces.surroundings.facts.server.role,
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
}
