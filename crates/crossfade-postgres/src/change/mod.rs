//! What the user asks for: the change file and ALTER statements, parsed.
//!
//! Nothing here talks to a server. [`ChangeRequest`] is what was typed, checked as far as text can be checked;
//! what it means for a table is found out by [`crate::planner`].

mod alter;
mod file;
pub mod limits;
mod name;
mod table;
mod template;
mod values;

use std::collections::BTreeMap;

use crossfade_core::limits::Limits;
use serde::Deserialize;

pub use self::alter::{Action, AlterError, AlterStatement, Alteration, Using};
pub use self::file::{ChangeFileError, FileProblem};
pub(crate) use self::name::NAME_BYTES_MAX;
pub use self::name::{InvalidName, NameProblem, TypedName};
pub use self::table::{ColumnRequest, PartitioningRequest, Placed, RowsRequest, TableProblem, TableRequest};
pub use self::template::template;
pub use self::values::{TableValues, ValuesRequest};

/// A change as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// The table.
    pub table: TypedName,
    /// What shall become of the table itself; `None`: it is retired or kept.
    pub alteration: Option<Alteration>,
    /// It stays in its place as it is.
    pub keeps_source: bool,
    /// Further tables that shall be made from its rows.
    pub tables: Vec<TableRequest>,
    /// Each row of the table shall be in exactly one of them.
    pub each_row_once: bool,
    /// How the rows shall get there.
    pub copy: CopyRequest,
    /// The bounds of the run.
    pub limits: Limits,
    /// Where the user's texts look up unqualified names; `None` is what the role has at connection start.
    pub search_path: Option<String>,
    /// Roles that may look at the new tables as soon as these follow, before the swap.
    pub readers: Vec<Placed>,
    /// Whether the retired table shall follow after the swap, and with what.
    pub way_back: WayBackRequest,
}

/// What is asked of the way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WayBackRequest {
    /// It is not wanted.
    pub off: bool,
    /// By column of the old table, as the catalogs call it: what fills it, over a row of the new table.
    pub columns: BTreeMap<String, String>,
    /// Of a split: how the rows of the old table are read from the new ones.
    pub old_shape: Option<OldShapeRequest>,
}

/// The old table, read from the new ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldShapeRequest {
    /// A query over the new tables that gives its rows.
    pub query: Placed,
    /// What a view of them is to be called, for applications that do not know the new tables.
    pub view: Option<(TypedName, Placed)>,
}

/// How the rows shall get into the new table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyRequest {
    /// As fits the table's size and the limits.
    #[default]
    Auto,
    /// Under one snapshot.
    Snapshot,
    /// In chunks, each under a snapshot of its own, while changes are applied.
    Incremental,
}

impl CopyRequest {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            CopyRequest::Auto => "auto",
            CopyRequest::Snapshot => "snapshot",
            CopyRequest::Incremental => "incremental",
        }
    }
}

/// Arguments that make no change.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// `--table` names none.
    #[error(transparent)]
    Table(#[from] InvalidName),
    /// An `--alter` is no `ALTER TABLE` of the table.
    #[error(transparent)]
    Alter(#[from] AlterError),
}

impl ChangeRequest {
    /// From `--table T --alter "…"`, with the default limits.
    ///
    /// # Errors
    /// When a text cannot be read.
    pub fn from_arguments<T: AsRef<str>>(table: &str, alters: &[T]) -> Result<ChangeRequest, ArgumentError> {
        let table: TypedName = table.parse()?;
        let alteration = Alteration::parse(&table, alters)?;
        Ok(ChangeRequest {
            table,
            alteration: Some(alteration),
            keeps_source: false,
            tables: Vec::new(),
            each_row_once: false,
            copy: CopyRequest::default(),
            limits: Limits::default(),
            search_path: None,
            readers: Vec::new(),
            way_back: WayBackRequest::default(),
        })
    }

    /// The change in one form, whether it came from a file or from arguments: two are the same if and only if their
    /// forms are.
    pub fn canonical(&self) -> String {
        let statements: Vec<String> = self
            .alteration
            .iter()
            .flat_map(|alteration| &alteration.statements)
            .map(|statement| statement.on(&self.table.quoted()))
            .collect();
        let path = self.search_path.as_deref();
        let path = path.map_or(String::new(), |path| format!("search_path = {path:?}\n"));
        let copy = match self.copy {
            CopyRequest::Auto => String::new(),
            asked => format!("copy = {:?}\n", asked.as_str()),
        };
        // The stable form of the limits is the one that plans store. Numbers only: nothing that could fail.
        let limits = serde_json::to_string(&self.limits).unwrap_or_default();
        let off = if self.way_back.off {
            "way_back = none\n"
        } else {
            ""
        };
        let columns = self.way_back.columns.iter();
        let back: String = columns
            .map(|(column, sql)| format!("back {column:?} = {sql:?}\n"))
            .collect();
        let mut tables: String = self.tables.iter().map(TableRequest::canonical).collect();
        if let Some(old_shape) = &self.way_back.old_shape {
            let view = old_shape.view.as_ref().map(|(name, _)| name.quoted());
            tables += &format!("old_shape {:?} {view:?}\n", old_shape.query.text);
        }
        if self.each_row_once {
            tables += "each_row = once\n";
        }
        for reader in &self.readers {
            tables += &format!("reader {:?}\n", reader.text);
        }
        if self.keeps_source {
            tables += "source = keep\n";
        }
        format!(
            "{}\n{tables}{path}{copy}{off}{back}{limits}",
            statements.join(";\n")
        )
    }
}

#[cfg(test)]
mod tests;
