//! The filter and the columns of a further table: each expression written down by the server over the input.

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::Expression;

use super::{Planning, TYPES};
use crate::change::{ColumnRequest, Placed};
use crate::ident::{self, Ident};
use crate::planner::PlanError;
use crate::planner::expression::Dependence;
use crate::planner::written::{Paper, Unwritten, Wanted};
use crate::session::SqlError;

/// A column and what fills it.
pub(super) struct Filled<'a> {
    pub(super) request: &'a ColumnRequest,
    pub(super) value: Option<Expression>,
    pub(super) type_name: String,
    pub(super) not_null: bool,
}

impl<'a> Planning<'a> {
    /// Notices tell of it.
    pub(super) fn note_settings(&mut self, dependence: Dependence, what: &str) {
        if dependence == Dependence::PinnedSettings {
            self.by_settings.push(what.to_owned());
        }
    }

    pub(super) async fn filter(&mut self) -> Result<Option<Expression>, PlanError> {
        let Some(text) = &self.pieces.request.filter else {
            return Ok(None);
        };
        let object = self.object("filter", text);
        let Some((filter, dependence)) = self.write_down(text, Wanted::Condition, object).await? else {
            return Ok(None);
        };
        self.note_settings(dependence, "filter");
        Ok(Some(filter))
    }

    /// `None` if it was refused.
    async fn write_down(
        &mut self,
        text: &Placed,
        wanted: Wanted,
        object: String,
    ) -> Result<Option<(Expression, Dependence)>, PlanError> {
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
        let sql = written.sql;
        Ok(Some((Expression { sql, reads }, written.dependence)))
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
                    RefusalCode::ExpressionNotAccepted,
                    object,
                    format!("The server says: {message}."),
                    remedy,
                );
            }
            Unwritten::NotOverColumns => self.refuse(
                RefusalCode::ExpressionNotOverColumns,
                object,
                "It reads the whole row or a system column, or has no type of its own.".to_owned(),
                "Name the columns; give a bare literal a type, as in `'new'::text`.",
            ),
            Unwritten::Changing(refusals) => self.refusals.extend(refusals),
        }
    }

    pub(super) fn reads_generated(&mut self, object: String) {
        self.refuse(
            RefusalCode::ExpressionReadsGenerated,
            object,
            "It reads a generated column, which the stream does not carry.".to_owned(),
            "Write the generated column's own expression instead of it.",
        );
    }

    /// Positions in the stream of columns of the input, by their places; those of the call are none of the source's.
    /// `None` if the stream does not carry one.
    pub(super) fn streamed(&self, places: &[usize]) -> Option<Vec<usize>> {
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

    pub(super) async fn columns(&mut self) -> Result<Vec<Filled<'a>>, PlanError> {
        let mut filled = Vec::new();
        for request in &self.pieces.request.columns {
            let value = match &request.value {
                Some(text) => {
                    let object = self.object(&format!("column {}", request.name), text);
                    match self.write_down(text, Wanted::Value, object).await? {
                        Some((value, dependence)) => {
                            self.note_settings(dependence, &format!("column {}", request.name));
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
    pub(super) fn column_itself(&self, value: &Expression) -> Option<&'a str> {
        let [read] = value.reads[..] else { return None };
        let name = self.pieces.source.columns[read].name.as_str();
        (value.sql == name || value.sql == Ident(name).to_string()).then_some(name)
    }
}
