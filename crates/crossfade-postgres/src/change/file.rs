//! The change file: TOML in, [`ChangeRequest`] out, and every mistake with its line and column.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crossfade_core::limits::Limits;
use serde::Deserialize;
use toml::Spanned;

use super::alter::{AlterError, Alteration};
use super::limits::{self, LimitError};
use super::name::{InvalidName, TypedName};
use super::table::{ColumnRequest, PartitioningRequest, Placed, RowsRequest, TableProblem, TableRequest};
use super::{ChangeRequest, CopyRequest, OldShapeRequest, WayBackRequest};

/// The file's own shape. The texts inside are parsed afterwards, where their positions are still known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeFile {
    table: Spanned<String>,
    alter: Option<Spanned<Vec<Spanned<String>>>>,
    source: Option<SourceWord>,
    each_row: Option<Spanned<EachRow>>,
    #[serde(default)]
    target: Vec<Spanned<TableOfFile>>,
    search_path: Option<String>,
    #[serde(default)]
    readers: Vec<Spanned<String>>,
    #[serde(default)]
    way_back: WayBack,
    back: Option<Spanned<BTreeMap<String, String>>>,
    old_shape: Option<Spanned<OldShapeOfFile>>,
    #[serde(default)]
    copy: CopyRequest,
    #[serde(default)]
    limits: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

/// Whether the retired table shall follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WayBack {
    /// Where it can.
    #[default]
    Auto,
    /// No.
    None,
}

/// How the rows of the old table are read from the new ones.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldShapeOfFile {
    query: Spanned<String>,
    view: Option<Spanned<String>>,
}

/// What becomes of the table itself, where `alter` does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SourceWord {
    /// Nothing takes its place.
    Retire,
    /// It stays in its place as it is.
    Keep,
}

/// In how many of the new tables a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EachRow {
    /// In exactly one.
    Once,
    /// In as many as their filters say.
    Any,
}

/// A further table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableOfFile {
    name: Spanned<String>,
    #[serde(default)]
    columns: Vec<ColumnOfFile>,
    #[serde(default)]
    key: Vec<Spanned<String>>,
    filter: Option<Spanned<String>>,
    rows: Option<Spanned<String>>,
    #[serde(default)]
    rows_as: Vec<Spanned<String>>,
    #[serde(default)]
    constraints: Vec<Spanned<String>>,
    #[serde(default)]
    indexes: Vec<Spanned<String>>,
    partition_by: Option<Spanned<String>>,
    #[serde(default)]
    partitions: Vec<PartitionOfFile>,
    partition_every: Option<Spanned<String>>,
    partitions_ahead: Option<u32>,
    partitions_from: Option<Spanned<String>>,
}

/// A partition of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartitionOfFile {
    name: Spanned<String>,
    values: Spanned<String>,
}

/// Partitions after the one of today, if nothing else is said.
const PARTITIONS_AHEAD: u32 = 3;

/// A column of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnOfFile {
    name: Spanned<String>,
    value: Option<Spanned<String>>,
    #[serde(rename = "type")]
    type_name: Option<Spanned<String>>,
    #[serde(default)]
    not_null: bool,
    default: Option<Spanned<String>>,
}

/// A change file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read {file}, line {line}, column {column}: {problem}")]
pub struct ChangeFileError {
    /// The file's name.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong there.
    pub problem: Box<FileProblem>,
}

/// What is wrong at a place of a change file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// Not TOML, or not the expected keys and types.
    #[error("{message}")]
    Toml {
        /// What the TOML reader says.
        message: String,
    },
    /// `table` names none.
    #[error(transparent)]
    Table(#[from] InvalidName),
    /// `alter` holds something that is no `ALTER TABLE` of the table.
    #[error(transparent)]
    Alter(#[from] AlterError),
    /// A `[[target]]` cannot be meant.
    #[error(transparent)]
    Target(#[from] TableProblem),
    /// Nothing says what becomes of the table.
    #[error(
        "know what becomes of the table: give `alter`, what to change of it, or `source = \"retire\"` or `\"keep\"` beside \
         `[[target]]`"
    )]
    Aimless,
    /// Two things say what becomes of the table.
    #[error("do both: `alter` keeps the table in its place and changes it, `source` does one or neither")]
    Contradiction,
    /// Rows of a table that makes several of one, or is altered, cannot be counted like that.
    #[error(
        "hold each row to one new table: that is for tables with `filter` and without `rows`, of a table that is not altered"
    )]
    NotCountable,
    /// `[back]` of a split.
    #[error(
        "fill columns of the old table from several new ones: give `[old_shape]` with a `query` over all of them"
    )]
    BackOfASplit,
    /// `[old_shape]` of a table that is kept.
    #[error("carry rows back into a table that is kept: it goes its own way; leave `[old_shape]` out")]
    BackIntoTheKept,
    /// `[old_shape]` without `[[target]]`.
    #[error(
        "read the old table's rows from several new ones: there is no `[[target]]`; give `[back]` for single columns"
    )]
    OldShapeAlone,
    /// A limit is unknown or has no value of its kind.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// A problem and where it stands.
pub(super) struct Misplaced(pub(super) Range<usize>, pub(super) FileProblem);

impl Misplaced {
    /// With line and column.
    pub(super) fn in_file(self, file: &str, text: &str) -> ChangeFileError {
        let (line, column) = line_and_column(text, self.0.start);
        ChangeFileError {
            file: file.to_owned(),
            line,
            column,
            problem: Box::new(self.1),
        }
    }
}

impl ChangeRequest {
    /// Reads a change file; `file` is its name for messages.
    ///
    /// # Errors
    /// With line and column of the first mistake.
    pub fn from_toml(file: &str, text: &str) -> Result<ChangeRequest, ChangeFileError> {
        read(file, text).map_err(|misplaced| misplaced.in_file(file, text))
    }
}

fn read(name: &str, text: &str) -> Result<ChangeRequest, Misplaced> {
    let file: ChangeFile = toml::from_str(text).map_err(|error| {
        let message = error.message().to_owned();
        Misplaced(error.span().unwrap_or_default(), FileProblem::Toml { message })
    })?;
    let table: TypedName = file.table.get_ref().parse().map_err(at(file.table.span()))?;
    let alteration = match (&file.alter, file.source) {
        (Some(alter), None) => Some(alteration(&table, alter)?),
        (Some(alter), Some(_)) => return Err(Misplaced(alter.span(), FileProblem::Contradiction)),
        (None, Some(SourceWord::Retire | SourceWord::Keep)) if !file.target.is_empty() => None,
        (None, _) => return Err(Misplaced(file.table.span(), FileProblem::Aimless)),
    };
    let keeps_source = file.source == Some(SourceWord::Keep);
    let tables = Tables { name, text }.read(&file.target)?;
    let quoted = table.quoted();
    let taken = std::iter::once(&table).filter(|_| alteration.is_some() || keeps_source);
    let mut taken: BTreeSet<String> = taken.map(TypedName::quoted).collect();
    for (target, request) in file.target.iter().zip(&tables) {
        if !taken.insert(request.name.quoted()) {
            let table = request.name.to_string();
            let problem = match request.name.quoted() == quoted {
                true => TableProblem::TheSource { table },
                false => TableProblem::TableTwice { table },
            };
            return Err(Misplaced(target.get_ref().name.span(), problem.into()));
        }
    }
    let each_row_once = each_row_once(&file, &tables)?;
    match (&file.old_shape, &file.back) {
        (Some(old_shape), _) if tables.is_empty() => {
            return Err(Misplaced(old_shape.span(), FileProblem::OldShapeAlone));
        }
        (Some(old_shape), _) if keeps_source => {
            return Err(Misplaced(old_shape.span(), FileProblem::BackIntoTheKept));
        }
        (_, Some(back)) if !tables.is_empty() => {
            return Err(Misplaced(back.span(), FileProblem::BackOfASplit));
        }
        (_, _) => {}
    }
    let old_shape = file.old_shape.as_ref();
    let old_shape = old_shape.map(|old_shape| Tables { name, text }.old_shape(old_shape.get_ref()));
    let old_shape = old_shape.transpose()?;
    let mut limits = Limits::default();
    for (name, value) in &file.limits {
        let text = limit_text(name, value)?;
        limits::set(&mut limits, name.get_ref(), text).map_err(|error| match &error {
            LimitError::Unknown { .. } => Misplaced(name.span(), error.into()),
            LimitError::Value { .. } => Misplaced(value.span(), error.into()),
        })?;
    }
    Ok(ChangeRequest {
        table,
        alteration,
        keeps_source,
        tables,
        each_row_once,
        copy: file.copy,
        limits,
        search_path: file.search_path,
        readers: file
            .readers
            .iter()
            .map(|role| Tables { name, text }.placed(role))
            .collect(),
        way_back: WayBackRequest {
            off: file.way_back == WayBack::None || keeps_source,
            columns: file.back.map(Spanned::into_inner).unwrap_or_default(),
            old_shape,
        },
    })
}

/// Without another word no row is left behind when the table goes.
fn each_row_once(file: &ChangeFile, tables: &[TableRequest]) -> Result<bool, Misplaced> {
    let splits = |table: &TableRequest| table.filter.is_some() && table.rows.is_none();
    let countable = file.alter.is_none() && tables.iter().all(splits);
    match &file.each_row {
        None => Ok(countable && file.source == Some(SourceWord::Retire)),
        Some(word) if *word.get_ref() == EachRow::Any => Ok(false),
        Some(_) if countable => Ok(true),
        Some(word) => Err(Misplaced(word.span(), FileProblem::NotCountable)),
    }
}

/// Reads `[[target]]`; texts keep their places for what is found out later.
struct Tables<'a> {
    name: &'a str,
    text: &'a str,
}

impl Tables<'_> {
    fn read(&self, tables: &[Spanned<TableOfFile>]) -> Result<Vec<TableRequest>, Misplaced> {
        tables.iter().map(|table| self.table(table)).collect()
    }

    fn table(&self, spanned: &Spanned<TableOfFile>) -> Result<TableRequest, Misplaced> {
        let table = spanned.get_ref();
        let all = |texts: &[Spanned<String>]| texts.iter().map(|text| self.placed(text)).collect();
        let rows = match (&table.rows, &table.rows_as[..]) {
            (None, []) => None,
            (Some(call), [_, ..]) => Some(RowsRequest {
                call: self.placed(call),
                columns: all(&table.rows_as),
            }),
            (None, [name, ..]) => return Err(Misplaced(name.span(), TableProblem::RowsUnnamed.into())),
            (Some(call), []) => return Err(Misplaced(call.span(), TableProblem::RowsUnnamed.into())),
        };
        let request = TableRequest {
            name: table.name.get_ref().parse().map_err(at(table.name.span()))?,
            place: self.place(table.name.span()),
            columns: table.columns.iter().map(|column| self.column(column)).collect(),
            key: all(&table.key),
            filter: table.filter.as_ref().map(|filter| self.placed(filter)),
            rows,
            constraints: all(&table.constraints),
            indexes: all(&table.indexes),
            partitioning: self.partitioning(table)?,
        };
        match request.problem() {
            None => Ok(request),
            Some((problem, text)) => {
                let named = text.and_then(|text| self.span_of(table, text));
                Err(Misplaced(
                    named.unwrap_or_else(|| table.name.span()),
                    problem.into(),
                ))
            }
        }
    }

    fn partitioning(&self, table: &TableOfFile) -> Result<Option<PartitioningRequest>, Misplaced> {
        let parts = !table.partitions.is_empty() || table.partition_every.is_some();
        let rest = parts || table.partitions_ahead.is_some() || table.partitions_from.is_some();
        let named = || table.name.get_ref().clone();
        match &table.partition_by {
            None if rest => {
                let problem = TableProblem::NotPartitioned { table: named() };
                Err(Misplaced(table.name.span(), problem.into()))
            }
            None => Ok(None),
            Some(by) if !parts => {
                let problem = TableProblem::NoPartitions { table: named() };
                Err(Misplaced(by.span(), problem.into()))
            }
            Some(by) => {
                let one = |part: &PartitionOfFile| (self.placed(&part.name), self.placed(&part.values));
                Ok(Some(PartitioningRequest {
                    by: self.placed(by),
                    partitions: table.partitions.iter().map(one).collect(),
                    every: table.partition_every.as_ref().map(|every| self.placed(every)),
                    ahead: table.partitions_ahead.unwrap_or(PARTITIONS_AHEAD),
                    from: table.partitions_from.as_ref().map(|from| self.placed(from)),
                }))
            }
        }
    }

    fn column(&self, column: &ColumnOfFile) -> ColumnRequest {
        let placed = |text: &Option<Spanned<String>>| text.as_ref().map(|text| self.placed(text));
        ColumnRequest {
            name: self.placed(&column.name),
            value: placed(&column.value),
            type_name: placed(&column.type_name),
            not_null: column.not_null,
            default: placed(&column.default),
        }
    }

    fn old_shape(&self, old_shape: &OldShapeOfFile) -> Result<OldShapeRequest, Misplaced> {
        let view = old_shape.view.as_ref().map(|view| {
            let name: TypedName = view.get_ref().parse().map_err(at(view.span()))?;
            Ok((name, self.placed(view)))
        });
        Ok(OldShapeRequest {
            query: self.placed(&old_shape.query),
            view: view.transpose()?,
        })
    }

    fn placed(&self, text: &Spanned<String>) -> Placed {
        Placed {
            text: text.get_ref().clone(),
            place: self.place(text.span()),
        }
    }

    fn place(&self, span: Range<usize>) -> String {
        let (line, column) = line_and_column(self.text, span.start);
        format!("{}, line {line}, column {column}", self.name)
    }

    /// Where a text of a table stands.
    fn span_of(&self, table: &TableOfFile, text: &Placed) -> Option<Range<usize>> {
        let names = table.columns.iter().map(|column| &column.name);
        let types = table
            .columns
            .iter()
            .filter_map(|column| column.type_name.as_ref());
        let defaults = table.columns.iter().filter_map(|column| column.default.as_ref());
        let parts = table.partitions.iter().map(|part| &part.name);
        let all = names
            .chain(types)
            .chain(defaults)
            .chain(parts)
            .chain(&table.rows_as);
        let all = all.chain(&table.key).chain(&table.constraints);
        let mut spans = all.map(Spanned::span);
        spans.find(|span| self.place(span.clone()) == text.place)
    }
}

pub(super) fn at<E: Into<FileProblem>>(span: Range<usize>) -> impl FnOnce(E) -> Misplaced {
    move |error| Misplaced(span, error.into())
}

/// Each text on its own first, so that a mistake is shown where it stands.
fn alteration(table: &TypedName, alter: &Spanned<Vec<Spanned<String>>>) -> Result<Alteration, Misplaced> {
    for text in alter.get_ref() {
        Alteration::parse(table, &[text.get_ref()]).map_err(at(text.span()))?;
    }
    let texts: Vec<&String> = alter.get_ref().iter().map(Spanned::get_ref).collect();
    Alteration::parse(table, &texts).map_err(at(alter.span()))
}

fn limit_text<'a>(name: &Spanned<String>, value: &'a Spanned<toml::Value>) -> Result<&'a str, Misplaced> {
    value.get_ref().as_str().ok_or_else(|| {
        let message = format!("{} is a text, such as \"2s\" or \"20 GB\"", name.get_ref());
        Misplaced(value.span(), FileProblem::Toml { message })
    })
}

pub(super) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
