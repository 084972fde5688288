//! The change file: TOML in, [`ChangeRequest`] out, and every mistake with its line and column.

use std::collections::BTreeMap;
use std::ops::Range;

use crossfade_core::limits::Limits;
use serde::Deserialize;
use toml::Spanned;

use super::alter::{AlterError, Alteration};
use super::limits::{self, LimitError};
use super::name::{InvalidName, TypedName};
use super::{ChangeRequest, CopyRequest, TargetRequest, WayBackRequest};

/// The file's own shape. The texts inside are parsed afterwards, where their positions are still known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeFile {
    table: Spanned<String>,
    alter: Spanned<Vec<Spanned<String>>>,
    search_path: Option<String>,
    #[serde(default)]
    way_back: WayBack,
    #[serde(default)]
    back: BTreeMap<String, String>,
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
    /// A limit is unknown or has no value of its kind.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// A problem and where it stands.
struct Misplaced(Range<usize>, FileProblem);

impl ChangeRequest {
    /// Reads a change file; `file` is its name for messages.
    ///
    /// # Errors
    /// With line and column of the first mistake.
    pub fn from_toml(file: &str, text: &str) -> Result<ChangeRequest, ChangeFileError> {
        read(text).map_err(|Misplaced(span, problem)| {
            let (line, column) = line_and_column(text, span.start);
            ChangeFileError {
                file: file.to_owned(),
                line,
                column,
                problem: Box::new(problem),
            }
        })
    }
}

fn read(text: &str) -> Result<ChangeRequest, Misplaced> {
    let file: ChangeFile = toml::from_str(text).map_err(|error| {
        let message = error.message().to_owned();
        Misplaced(error.span().unwrap_or_default(), FileProblem::Toml { message })
    })?;
    let table: TypedName = file.table.get_ref().parse().map_err(at(file.table.span()))?;
    let alteration = alteration(&table, &file.alter)?;
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
        targets: vec![TargetRequest { alteration }],
        copy: file.copy,
        limits,
        search_path: file.search_path,
        way_back: WayBackRequest {
            off: file.way_back == WayBack::None,
            columns: file.back,
        },
    })
}

fn at<E: Into<FileProblem>>(span: Range<usize>) -> impl FnOnce(E) -> Misplaced {
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

fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = before.matches('\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
