//! A further table that shall be made from the source's rows, as a change file describes it.

use std::collections::BTreeSet;
use std::fmt;

use super::name::{NAME_BYTES_MAX, TypedName};

/// A text of the user's and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// As typed.
    pub text: String,
    /// `change.toml, line 7, column 3`.
    pub place: String,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRequest {
    /// Its name.
    pub name: TypedName,
    /// Where it is described.
    pub place: String,
    /// Its columns, in table order.
    pub columns: Vec<ColumnRequest>,
    /// The columns of its primary key.
    pub key: Vec<Placed>,
    /// Rows of the source for which it is not true are not in the table.
    pub filter: Option<Placed>,
    /// What makes several rows of one.
    pub rows: Option<RowsRequest>,
    /// What may follow `ADD` in an `ALTER TABLE`.
    pub constraints: Vec<Placed>,
    /// What may follow `CREATE INDEX ON table`; `UNIQUE` may stand before it.
    pub indexes: Vec<Placed>,
    /// Into what it is partitioned.
    pub partitioning: Option<PartitioningRequest>,
}

/// The partitions of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitioningRequest {
    /// What follows `PARTITION BY`.
    pub by: Placed,
    /// Partitions by name, each with what follows `FOR VALUES`, or `DEFAULT`.
    pub partitions: Vec<(Placed, Placed)>,
    /// Ranges of time of one length, made for the rows there are and for the time ahead.
    pub every: Option<Placed>,
    /// How many of these after the one of today.
    pub ahead: u32,
    /// The first of them; without it the source's oldest value decides, by an index.
    pub from: Option<Placed>,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnRequest {
    /// Its name, as the catalogs call it.
    pub name: Placed,
    /// What fills it; `None`: the server does.
    pub value: Option<Placed>,
    /// Its type; `None`: that of its value.
    pub type_name: Option<Placed>,
    /// `NOT NULL` beyond what the key and the source's own columns imply.
    pub not_null: bool,
    /// `DEFAULT`.
    pub default: Option<Placed>,
}

/// A set-returning call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowsRequest {
    /// The call.
    pub call: Placed,
    /// What its columns are called, and at the end the ordinal.
    pub columns: Vec<Placed>,
}

/// A table that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableProblem {
    /// Nothing tells its rows apart.
    #[error("tell the rows of {table} apart: give `key`, the columns of its primary key")]
    NoKey {
        /// The table.
        table: String,
    },
    /// It has no columns.
    #[error("make {table} without columns: give `columns`, each with `name` and `value`")]
    NoColumns {
        /// The table.
        table: String,
    },
    /// A name is there twice.
    #[error("tell two columns of the name {column} apart")]
    Twice {
        /// The column.
        column: String,
    },
    /// The key names no column.
    #[error("find the key column {column} among the columns of {table}")]
    KeyColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The server would cut it without a word.
    #[error("use the name {name}: it is longer than 63 bytes")]
    TooLong {
        /// The name.
        name: String,
    },
    /// A column has neither value nor type.
    #[error("fill the column {column}: give its `value`, or its `type` and what the server fills it with")]
    Unfilled {
        /// The column.
        column: String,
    },
    /// A column of the key is left to the server.
    #[error("fill the key column {column}: what the server fills is no part of the key")]
    KeyUnfilled {
        /// The column.
        column: String,
    },
    /// `rows` without names, or names without it.
    #[error(
        "name what `rows` returns: `rows` and `rows_as` come together, with the ordinal's name at the end of the latter"
    )]
    RowsUnnamed,
    /// `partitions` or one of its like without `partition_by`.
    #[error("make partitions of {table}: give `partition_by`")]
    NotPartitioned {
        /// The table.
        table: String,
    },
    /// `partition_by` and no partition.
    #[error("fill {table}: it is partitioned and has no partition; give `partitions` or `partition_every`")]
    NoPartitions {
        /// The table.
        table: String,
    },
    /// A table refers to another one.
    #[error("take over a foreign key: the new tables get none yet; add it after the change")]
    ForeignKey,
    /// The source itself, while it stays.
    #[error("make {table} twice: it stays in its place already")]
    TheSource {
        /// The table.
        table: String,
    },
    /// Two tables of one name.
    #[error("make {table} twice")]
    TableTwice {
        /// The table.
        table: String,
    },
}

impl fmt::Display for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TableRequest {
    /// The first thing about it that cannot be meant, whatever the source is, and where it stands in the list that
    /// `place` is taken from.
    pub(super) fn problem(&self) -> Option<(TableProblem, Option<&Placed>)> {
        let table = self.name.to_string();
        if self.columns.is_empty() {
            return Some((TableProblem::NoColumns { table }, None));
        }
        let of_rows = self.rows.iter().flat_map(|rows| &rows.columns);
        let parts = self
            .partitioning
            .iter()
            .flat_map(|by| &by.partitions)
            .map(|(name, _)| name);
        let mut all = self
            .columns
            .iter()
            .map(|column| &column.name)
            .chain(of_rows)
            .chain(parts);
        if let Some(long) = all.find(|name| name.text.len() > NAME_BYTES_MAX) {
            let name = long.text.clone();
            return Some((TableProblem::TooLong { name }, Some(long)));
        }
        let mut names = BTreeSet::new();
        for column in &self.columns {
            let name = column.name.text.clone();
            if !names.insert(&column.name.text) {
                return Some((TableProblem::Twice { column: name }, Some(&column.name)));
            }
            if column.value.is_none() && column.type_name.is_none() {
                return Some((TableProblem::Unfilled { column: name }, Some(&column.name)));
            }
        }
        if self.key.is_empty() {
            return Some((TableProblem::NoKey { table }, None));
        }
        for key in &self.key {
            let column = key.text.clone();
            match self.column(&key.text) {
                None => return Some((TableProblem::KeyColumn { table, column }, Some(key))),
                Some(found) if found.value.is_none() => {
                    return Some((TableProblem::KeyUnfilled { column }, Some(key)));
                }
                Some(_) => {}
            }
        }
        let refers = |constraint: &&Placed| {
            let words = constraint
                .text
                .split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words
                .into_iter()
                .any(|word| word.eq_ignore_ascii_case("references"))
        };
        // A foreign key would lock the other table while the change is planned.
        let types = self.columns.iter().filter_map(|column| column.type_name.as_ref());
        let defaults = self.columns.iter().filter_map(|column| column.default.as_ref());
        let foreign = self.constraints.iter().chain(types).chain(defaults).find(refers);
        foreign.map(|constraint| (TableProblem::ForeignKey, Some(constraint)))
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ColumnRequest> {
        self.columns.iter().find(|column| column.name.text == *name)
    }

    /// In one form, without places.
    pub(super) fn canonical(&self) -> String {
        let text = |placed: &Placed| placed.text.clone();
        let columns: Vec<_> = self.columns.iter().map(ColumnRequest::canonical).collect();
        let texts = |all: &[Placed]| all.iter().map(text).collect::<Vec<_>>();
        let rows = self
            .rows
            .as_ref()
            .map(|rows| (text(&rows.call), texts(&rows.columns)));
        format!(
            "table {} {columns:?} {:?} {:?} {rows:?} {:?} {:?} {:?}\n",
            self.name.quoted(),
            texts(&self.key),
            self.filter.as_ref().map(text),
            texts(&self.constraints),
            texts(&self.indexes),
            self.partitioning.as_ref().map(PartitioningRequest::canonical),
        )
    }
}

impl PartitioningRequest {
    fn canonical(&self) -> impl fmt::Debug + use<> {
        let text = |placed: &Placed| placed.text.clone();
        let partitions = self
            .partitions
            .iter()
            .map(|(name, values)| (text(name), text(values)));
        (
            text(&self.by),
            partitions.collect::<Vec<_>>(),
            self.every.as_ref().map(text),
            self.ahead,
            self.from.as_ref().map(text),
        )
    }
}

impl ColumnRequest {
    fn canonical(&self) -> impl fmt::Debug + use<> {
        let text = |placed: &Option<Placed>| placed.as_ref().map(|placed| placed.text.clone());
        (
            self.name.text.clone(),
            text(&self.value),
            text(&self.type_name),
            self.not_null,
            text(&self.default),
        )
    }
}
