//! The step backwards, and what is known of it before the run (R32).
//!
//! The new table is its source and the retired table its target. A column of the old table is filled with the
//! column that came of it, through the inverse of its retype; with what the user says; or, if the change dropped
//! it, not at all: it keeps what it has, and a new row gets its default.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{
    CopyStep, Expression, Key, ReplicaIdentity, Source, SourceColumn, Target, TargetColumn,
};
use crossfade_core::refusal::Refusal;
use crossfade_core::way_back::{Caveat, Direction, WayBack, WayBackClass};

use super::inverse::{self, ColumnType, Inverse};
use super::key::{self, KeyChoice};
use super::probe::{self, Probed};
use super::round_trip;
use super::source::{self, TableColumn};
use super::statements;
use super::written::{Paper, Unwritten, Wanted};
use super::{PlanError, Surroundings};
use crate::catalog::{Column, Definition};
use crate::change::WayBackRequest;
use crate::ddl::Leaving;
use crate::ident::Ident;
use crate::preflight::refusal;
use crate::session::Session;
use tokio_postgres::Row;

/// What the step backwards is made from.
pub(super) struct Pieces<'a> {
    pub(super) session: &'a Session,
    pub(super) request: &'a WayBackRequest,
    pub(super) name: &'a MigrationName,
    pub(super) search_path: &'a str,
    pub(super) surroundings: &'a Surroundings,
    pub(super) limits: &'a Limits,
    pub(super) probed: &'a Probed,
    pub(super) desired: &'a Definition,
    /// The step forward, without its statements.
    pub(super) step: &'a CopyStep,
}

/// What is known, and the step if there is one.
pub(super) struct Planned {
    pub(super) way_back: WayBack,
    pub(super) step: Option<Box<CopyStep>>,
}

/// Plans the way back in the open transaction, in which the clone is.
pub(super) async fn plan(pieces: &Pieces<'_>) -> Result<Result<Planned, Vec<Refusal>>, PlanError> {
    if pieces.request.off {
        return Ok(Ok(Planned {
            way_back: WayBack::default(),
            step: None,
        }));
    }
    let clone = pieces.probed.definition.outside.oid;
    let columns = source::columns(pieces.session, clone).await?;
    let old = source::columns(pieces.session, pieces.step.source.oid).await?;
    let mut drafting = Drafting {
        pieces,
        new: columns.into_iter().filter(|column| !column.generated).collect(),
        old,
        filled: Vec::new(),
        caveats: Vec::new(),
        lost: Vec::new(),
        impossible: Vec::new(),
    };
    let refusals = drafting.fill().await?;
    if !refusals.is_empty() {
        return Ok(Err(refusals));
    }
    let key = drafting.key();
    drafting.relaxed();
    drafting.finish(key).await.map(Ok)
}

/// Of several tables no row of the old one is made unless the change says how.
pub(super) fn of_a_split(request: &WayBackRequest) -> WayBack {
    if request.off {
        return WayBack::default();
    }
    WayBack {
        class: WayBackClass::Impossible,
        caveats: vec![Caveat {
            column: None,
            what: "A table that is split follows the new tables only if `[old_shape]` says how its rows are read from \
                   them"
                .to_owned(),
        }],
        ..WayBack::default()
    }
}

/// A column of the old table and what fills it.
struct Filled {
    column: TargetColumn,
    /// It is the new column as it is.
    taken_over: bool,
    /// The user said so.
    given: bool,
}

struct Drafting<'a> {
    pieces: &'a Pieces<'a>,
    /// What the stream of the new table carries.
    new: Vec<TableColumn>,
    old: Vec<TableColumn>,
    filled: Vec<Filled>,
    caveats: Vec<Caveat>,
    lost: Vec<Caveat>,
    impossible: Vec<Caveat>,
}

/// The keys on both sides: columns of the new table, places in the list of filled ones.
struct Keys {
    source: Key,
    target: Vec<usize>,
}

impl Drafting<'_> {
    fn today(&self) -> &Definition {
        &self.pieces.surroundings.definition
    }

    async fn fill(&mut self) -> Result<Vec<Refusal>, PlanError> {
        let mut refusals = self.unknown_columns();
        for place in 0..self.today().columns.len() {
            let column = self.today().columns[place].clone();
            if column.generated.is_some() {
                continue;
            }
            if let Some(given) = self.pieces.request.columns.get(&column.name) {
                match self.given(&column, given).await? {
                    Ok(filled) => self.filled.push(filled),
                    Err(more) => refusals.extend(more),
                }
            } else if let Some(filled) = self.followed(place, &column) {
                self.filled.push(filled);
            }
        }
        Ok(refusals)
    }

    fn unknown_columns(&self) -> Vec<Refusal> {
        let today = self.today();
        let unknown = |name: &&String| today.column(name).is_none_or(|column| column.generated.is_some());
        let names = self.pieces.request.columns.keys().filter(unknown);
        names
            .map(|name| {
                refusal(
                    RefusalCode::BackOfNoColumn,
                    format!("column {name} of {}", today.name),
                    "The change says what fills it on the way back, and there is no such column to fill."
                        .to_owned(),
                    "Name a column of the table as it is today that is not generated.",
                )
            })
            .collect()
    }

    /// The column that came of it, through the inverse of its retype.
    fn followed(&mut self, place: usize, column: &Column) -> Option<Filled> {
        let lineage = self.pieces.probed.lineage.iter();
        let name = lineage
            .filter(|(_, from)| **from == Some(place))
            .map(|(name, _)| name)
            .next();
        let Some(name) = name else {
            self.dropped(column);
            return None;
        };
        let Some(position) = self.new.iter().position(|new| new.column.name == *name) else {
            self.cannot(
                column,
                "it is generated in the new table: give what fills it with `[back]`",
            );
            return None;
        };
        let quoted = Ident(name).to_string();
        let inverse = match self.is_plain_cast(place, column) {
            true => inverse::of(self.old_type(column), self.new[position].as_type(), &quoted),
            false => Inverse::Unknown,
        };
        let sql = match inverse {
            Inverse::Exact(sql) => sql,
            Inverse::Conditional(sql, what) => {
                self.caveat(column, &what);
                sql
            }
            Inverse::Unknown => {
                let from = &self.new[position].column.type_name;
                self.cannot(
                    column,
                    &format!("what it was cannot be told from the new {name} {from}: give what fills it with `[back]`"),
                );
                return None;
            }
        };
        Some(Filled {
            taken_over: sql == quoted && column.type_name == self.new[position].column.type_name,
            given: false,
            column: TargetColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
                value: Expression {
                    sql,
                    reads: vec![position],
                },
            },
        })
    }

    fn old_type<'a>(&self, column: &'a Column) -> ColumnType<'a> {
        let old = self.old.iter().find(|old| old.column.name == column.name);
        ColumnType {
            name: &column.type_name,
            is_enum: old.is_some_and(|old| old.is_enum),
        }
    }

    /// Whether the retype has no `USING`, or one that is nothing but a cast to the new type.
    fn is_plain_cast(&self, place: usize, column: &Column) -> bool {
        let Some(expression) = self.pieces.probed.expressions.get(&place) else {
            return true;
        };
        let Some((value, _type)) = expression.sql.rsplit_once("::") else {
            return false;
        };
        let bare = value
            .strip_prefix('(')
            .and_then(|value| value.strip_suffix(')'))
            .unwrap_or(value);
        bare == column.name || bare == Ident(&column.name).to_string()
    }

    /// A dropped column keeps what it has; a row that comes afterwards, or under another key, gets the default.
    fn dropped(&mut self, column: &Column) {
        let filled_by_server = column.default.is_some() || column.identity.is_some();
        if column.not_null && !filled_by_server {
            self.cannot(
                column,
                "it is dropped, is NOT NULL and has no default: a row written after the swap would have no value in it. \
                 Give what fills it with `[back]`",
            );
        } else {
            self.lost.push(Caveat {
                column: Some(column.name.clone()),
                what: "it is dropped: rows keep their value, but one that is written after the swap, or whose key is \
                       changed then, has its default. Give what fills it with `[back]`"
                    .to_owned(),
            });
        }
    }

    async fn given(&self, column: &Column, text: &str) -> Result<Result<Filled, Vec<Refusal>>, PlanError> {
        let object = format!("column {} of {} on the way back", column.name, self.today().name);
        let paper = Paper {
            session: self.pieces.session,
            table: &self.pieces.probed.definition.name,
            search_path: self.pieces.search_path,
        };
        let written = match paper.write_down(text, Wanted::Value, &object).await? {
            Ok(written) => written,
            Err(Unwritten::Refused(message)) => {
                return Ok(Err(vec![refusal(
                    RefusalCode::BackNotUnderstood,
                    object,
                    format!("The server says: {message}."),
                    "Write an expression over the columns that the new table has.",
                )]));
            }
            Err(Unwritten::NotOverColumns) => return Ok(Err(vec![not_over_columns(object)])),
            Err(Unwritten::Changing(refusals)) => return Ok(Err(refusals)),
        };
        let oid = self.pieces.probed.definition.outside.oid;
        let Some(reads) = self.positions(oid, &written.reads).await? else {
            return Ok(Err(vec![not_over_columns(object)]));
        };
        Ok(Ok(Filled {
            taken_over: false,
            given: true,
            column: TargetColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
                value: Expression {
                    sql: written.sql,
                    reads,
                },
            },
        }))
    }

    /// Places in the stream of these columns of the clone; `None` if it does not carry one of them.
    async fn positions(&self, clone: u32, places: &[usize]) -> Result<Option<Vec<usize>>, PlanError> {
        let rows = self.pieces.session.query(probe::COLUMN_NAMES, &[&clone]).await?;
        let position = |place: &usize| {
            let is_it = |row: &&Row| usize::try_from(row.get::<_, i64>(0) - 1) == Ok(*place);
            let row = rows.iter().find(is_it)?;
            let name: String = row.get(1);
            self.new.iter().position(|new| new.column.name == name)
        };
        Ok(places.iter().map(position).collect())
    }

    /// Rows are found in the retired table by its own key: each of its columns must come from the new table's key,
    /// and come back as it was.
    fn key(&mut self) -> Option<Keys> {
        let Some(old_key) = &self.pieces.step.source.key else {
            self.never(
                "The table has no key: a row that is changed after the swap could not be found in it.",
            );
            return None;
        };
        let new_key = match key::choose(self.pieces.desired) {
            KeyChoice::Columns(names) => names,
            KeyChoice::Keyless(why) => {
                self.never(&format!("The new table could not be followed: {}.", why.words()));
                return None;
            }
        };
        let position = |name: &String| self.new.iter().position(|new| new.column.name == *name);
        let source: Option<Vec<usize>> = new_key.iter().map(position).collect();
        let source = source?;
        let inside: BTreeSet<usize> = source.iter().copied().collect();
        let mut target = Vec::new();
        let mut read = BTreeSet::new();
        for place in &old_key.columns {
            let name = &self.pieces.step.source.columns[*place].name;
            let filled = self.filled.iter().position(|filled| filled.column.name == *name);
            // What it lacks has been said.
            let filled = filled?;
            let reads = &self.filled[filled].column.value.reads;
            if self.filled[filled].given || !reads.iter().all(|place| inside.contains(place)) {
                self.never(&format!(
                    "Rows are found by the key column {name}, which does not come from the new table's key as it was."
                ));
                return None;
            }
            read.extend(reads.iter().copied());
            target.push(filled);
        }
        if read != inside {
            self.never("The new table's replica identity has other columns than the key.");
            return None;
        }
        Some(Keys {
            source: Key { columns: source },
            target,
        })
    }

    /// What the old table insists on and the new one does not.
    fn relaxed(&mut self) {
        let (today, desired) = (self.today().clone(), self.pieces.desired);
        for filled in &self.filled {
            let old = today.column(&filled.column.name);
            let reads = &filled.column.value.reads;
            let may_be_null = reads.iter().any(|place| {
                let new = desired.column(&self.new[*place].column.name);
                new.is_some_and(|new| !new.not_null)
            });
            if old.is_some_and(|old| old.not_null) && may_be_null {
                self.caveats.push(Caveat {
                    column: Some(filled.column.name.clone()),
                    what: "NULL".to_owned(),
                });
            }
        }
        let kept = |name: &str| desired.constraints.iter().any(|other| other.name == name);
        let dropped = today.constraints.iter().filter(|constraint| {
            let checked = constraint.validated && constraint.kind != crate::catalog::ConstraintKind::NotNull;
            checked && !kept(&constraint.name)
        });
        let indexes = today.indexes.iter().filter(|index| {
            index.unique && index.constraint.is_none() && desired.index(&index.name).is_none()
        });
        let names = dropped
            .map(|constraint| constraint.name.clone())
            .chain(indexes.map(|index| index.name.clone()));
        let caveats = names.map(|name| Caveat {
            column: None,
            what: format!("a row that violates {name}, which the new table does not have"),
        });
        self.caveats.extend(caveats.collect::<Vec<_>>());
    }

    async fn finish(mut self, keys: Option<Keys>) -> Result<Planned, PlanError> {
        let tried = match self.impossible.is_empty() {
            true => self.try_on_rows().await?,
            false => None,
        };
        let class = if !self.impossible.is_empty() {
            WayBackClass::Impossible
        } else if self.caveats.is_empty() {
            WayBackClass::Exact
        } else {
            WayBackClass::Conditional
        };
        let step = match (class, keys) {
            (WayBackClass::Exact | WayBackClass::Conditional, Some(keys)) => Some(Box::new(self.step(keys))),
            (WayBackClass::Off | WayBackClass::Impossible, _) | (_, None) => None,
        };
        let caveats = match class {
            WayBackClass::Impossible => self.impossible,
            WayBackClass::Off | WayBackClass::Exact | WayBackClass::Conditional => self.caveats,
        };
        Ok(Planned {
            way_back: WayBack {
                class,
                caveats,
                lost: self.lost,
                tried,
            },
            step,
        })
    }

    async fn try_on_rows(&mut self) -> Result<Option<crossfade_core::way_back::RoundTrip>, PlanError> {
        let changed: Vec<usize> = (0..self.filled.len())
            .filter(|place| !self.filled[*place].taken_over)
            .collect();
        let columns: Vec<&TargetColumn> = changed.iter().map(|place| &self.filled[*place].column).collect();
        let new: Vec<SourceColumn> = self.new.iter().map(|new| new.column.clone()).collect();
        let trial = round_trip::Trial {
            source: &self.pieces.step.source,
            target: &self.pieces.step.targets[0],
            new: &new,
            columns: &columns,
        };
        match round_trip::run(self.pieces.session, &trial).await? {
            None => Ok(None),
            Some(Err(message)) => {
                self.never(&format!(
                    "Carrying existing rows there and back fails: {message}."
                ));
                Ok(None)
            }
            Some(Ok(tried)) => {
                for (place, differing) in changed.iter().zip(&tried.differing).filter(|(_, n)| **n > 0) {
                    // What a rollback would put in their place is not what was there.
                    self.impossible.push(Caveat {
                        column: Some(self.filled[*place].column.name.clone()),
                        what: format!(
                            "{differing} of the {} rows tried come back different from what they were",
                            tried.trip.rows
                        ),
                    });
                }
                Ok(Some(tried.trip))
            }
        }
    }

    fn step(&self, keys: Keys) -> CopyStep {
        let (forward, pieces) = (self.pieces.step, self.pieces);
        let (old, new) = (&forward.source, &forward.targets[0]);
        let source = Source {
            name: new.name.clone(),
            oid: 0,
            columns: self.new.iter().map(|new| new.column.clone()).collect(),
            key: Some(keys.source),
            identity_to_restore: None,
            full_identity: pieces.desired.table.replica_identity == ReplicaIdentity::Full,
            binary: self.new.iter().all(|new| new.binary),
            never_missing: Vec::new(),
            each_row_once: false,
            parts: Vec::new(),
            definition: new.definition.clone(),
        };
        let target = Target {
            shadow: TableName::new(pieces.name.retired_schema(), old.name.name.as_str()),
            name: old.name.clone(),
            columns: self.filled.iter().map(|filled| filled.column.clone()).collect(),
            key: Some(keys.target),
            filter: None,
            derived: None,
            partitioned: false,
            definition: old.definition.clone(),
        };
        let statements = statements::list_back(&statements::BackPieces {
            name: pieces.name,
            source: &source,
            leaving: Leaving::alone(&[pieces.desired]),
            target: &target,
            old: self.today(),
            shadows: &[&new.shadow],
            old_shape: None,
            role: &pieces.surroundings.facts.server.role,
            limits: pieces.limits,
        });
        CopyStep {
            source,
            targets: vec![target],
            statements,
            way_back: WayBack::default(),
            back: None,
            ..forward.towards(Direction::Forward).clone()
        }
    }

    fn caveat(&mut self, column: &Column, what: &str) {
        self.caveats.push(Caveat {
            column: Some(column.name.clone()),
            what: what.to_owned(),
        });
    }

    fn cannot(&mut self, column: &Column, what: &str) {
        self.impossible.push(Caveat {
            column: Some(column.name.clone()),
            what: what.to_owned(),
        });
    }

    fn never(&mut self, what: &str) {
        self.impossible.push(Caveat {
            column: None,
            what: what.trim_end_matches('.').to_owned(),
        });
    }
}

impl TableColumn {
    pub(super) fn as_type(&self) -> ColumnType<'_> {
        ColumnType {
            name: &self.column.type_name,
            is_enum: self.is_enum,
        }
    }
}

fn not_over_columns(object: String) -> Refusal {
    refusal(
        RefusalCode::BackNotOverColumns,
        object,
        "It is not an expression over columns that the stream of the new table carries.".to_owned(),
        "Write an expression with a type, over columns that are not generated.",
    )
}
