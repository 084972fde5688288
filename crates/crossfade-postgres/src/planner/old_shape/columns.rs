//! The columns of the old table, each from the query's of its name; its key; what it insists on.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::plan::{Expression, Key, TargetColumn};
use crossfade_core::way_back::Caveat;

use super::{Keys, Shape};
use crate::catalog::{Column, ConstraintKind};
use crate::ident::Ident;
use crate::planner::inverse::{self, ColumnType, Inverse};

impl Shape<'_> {
    /// Each column of the old table from the query's of the same name.
    pub(super) fn fill(&mut self) {
        let today = self.today().clone();
        let is_filled = |name: &str| {
            let column = today.column(name);
            column.is_some_and(|column| column.generated.is_none())
        };
        let names = self.columns.iter().map(|column| column.column.name.clone());
        for name in names.filter(|name| !is_filled(name)).collect::<Vec<_>>() {
            let message = format!("{} has no column {name} to be filled.", today.name);
            let remedy = "Name each column as the table as it is today calls it.";
            self.refuse(RefusalCode::OldShapeColumnUnknown, message, remedy);
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
                self.refuse(RefusalCode::OldShapeColumnType, message, &remedy);
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
            self.refuse(
                RefusalCode::OldShapeColumnMissing,
                message,
                "Add it to the query.",
            );
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
    pub(super) fn keys(&mut self, key: &Key) -> Option<Keys> {
        let (mut source, mut target) = (Vec::new(), Vec::new());
        for place in &key.columns {
            let name = self.pieces.step.source.columns[*place].name.clone();
            let filled = self.filled.iter().position(|filled| filled.name == name);
            let Some(filled) = filled else {
                let message = format!("It has no column {name}, by which rows are found.");
                self.refuse(RefusalCode::OldShapeKeyMissing, message, "Add it to the query.");
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

    /// What the old table insists on, whatever the new ones do.
    pub(super) fn insisted_on(&mut self) {
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
}
