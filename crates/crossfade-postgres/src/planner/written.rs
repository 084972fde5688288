//! An expression of the user's, written down by the server: fully qualified, with the columns it reads, and judged.

use crossfade_core::name::TableName;
use crossfade_core::refusal::Refusal;

use super::expression::{self, Dependence};
use super::{node_tree, probe};
use crate::ident::{self, Ident};
use crate::session::{Session, SqlError};

/// A table of our own whose columns an expression may read, in the open transaction.
pub(super) struct Paper<'a> {
    pub(super) session: &'a Session,
    pub(super) table: &'a TableName,
    /// Where the user's texts look up names.
    pub(super) search_path: &'a str,
}

/// What the expression shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A value of any type.
    Value,
    /// A condition.
    Condition,
}

/// As the server writes it.
pub(super) struct Written {
    pub(super) sql: String,
    /// The columns that it reads, by their place in the table, from 0.
    pub(super) reads: Vec<usize>,
    pub(super) dependence: Dependence,
}

/// Why it cannot be used.
pub(super) enum Unwritten {
    /// What the server says of it.
    Refused(String),
    /// It reads the row itself or a system column, or has no type of its own.
    NotOverColumns,
    /// It may not give the same value whenever it is asked.
    Changing(Vec<Refusal>),
}

const NAME: &str = "crossfade expression";

const CHECK: &str = "\
SELECT pg_get_expr(conbin, conrelid), coalesce(conkey, '{}'), conbin::text
  FROM pg_constraint WHERE conrelid = $1::text::regclass AND conname = $2";

impl Paper<'_> {
    /// As a check constraint, which is taken back; `object` names it in refusals.
    pub(super) async fn write_down(
        &self,
        text: &str,
        wanted: Wanted,
        object: &str,
    ) -> Result<Result<Written, Unwritten>, SqlError> {
        let session = self.session;
        session.batch_execute("SAVEPOINT crossfade").await?;
        let written = self.write(text, wanted, object).await;
        session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
        written
    }

    async fn write(
        &self,
        text: &str,
        wanted: Wanted,
        object: &str,
    ) -> Result<Result<Written, Unwritten>, SqlError> {
        let test = match wanted {
            Wanted::Value => "IS NOT NULL",
            Wanted::Condition => "IS TRUE",
        };
        let table = ident::table(self.table);
        // On lines of their own, so that a comment in the text ends before the parenthesis.
        let sql = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {} CHECK ((\n{text}\n) {test}) NOT VALID",
            Ident(NAME)
        );
        probe::set_search_path(self.session, self.search_path).await?;
        if let Err(error) = self.session.client().execute(sql.as_str(), &[]).await {
            let told = error.as_db_error().ok_or_else(|| SqlError::new(&sql, &error))?;
            return Ok(Err(Unwritten::Refused(told.message().to_owned())));
        }
        probe::set_search_path(self.session, "pg_catalog").await?;
        let Some(row) = self.session.query_opt(CHECK, &[&table, &NAME]).await? else {
            return Ok(Err(Unwritten::NotOverColumns));
        };
        let (shown, attnums, tree): (String, Vec<i16>, String) = (row.get(0), row.get(1), row.get(2));
        let dependence = match expression::judge(self.session, &node_tree::read(&tree), object).await? {
            Ok(dependence) => dependence,
            Err(refusals) => return Ok(Err(Unwritten::Changing(refusals))),
        };
        let reads: Option<Vec<usize>> = attnums
            .iter()
            .map(|attnum| usize::try_from(*attnum - 1).ok())
            .collect();
        Ok(match (probe::unwrap(&shown, test), reads) {
            (Some(sql), Some(reads)) => Ok(Written {
                sql: sql.to_owned(),
                reads,
                dependence,
            }),
            (None, _) | (_, None) => Err(Unwritten::NotOverColumns),
        })
    }
}
