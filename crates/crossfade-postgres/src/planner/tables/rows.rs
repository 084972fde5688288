//! The set-returning call of a further table: tried beside a row, in a view, and judged by what the server made of it.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Expression, Rows};
use tokio_postgres::types::ToSql;

use super::{Planning, TYPES};
use crate::change::RowsRequest;
use crate::ident::{self, Ident};
use crate::planner::rule::Rule;
use crate::planner::{PlanError, node_tree};

/// The call, with the types of what it returns.
pub(super) struct Call {
    pub(super) rows: Rows,
    pub(super) types: Vec<String>,
}

const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// The columns of the table `$2` that the rule `$1` reads.
const READS: &str = "\
SELECT DISTINCT refobjsubid - 1 FROM pg_depend
 WHERE classid = 'pg_rewrite'::regclass AND objid = $1 AND refclassid = 'pg_class'::regclass
   AND refobjid = $2::text::regclass AND refobjsubid > 0
 ORDER BY 1";

impl Planning<'_> {
    /// The call that is asked for, in a view; `None` without one, or if it was refused.
    pub(super) async fn rows(&mut self) -> Result<Option<Call>, PlanError> {
        let Some(request) = &self.pieces.request.rows else {
            return Ok(None);
        };
        if self.names_clash(request) {
            return Ok(None);
        }
        let object = self.object("rows", &request.call);
        let view = TableName::new(self.row.schema.as_str(), "crossfade rows");
        if !self.create_view(&view, request, &object).await? {
            return Ok(None);
        }
        let rule = Rule::of(self.pieces.session, &view).await?;
        if !self.is_over_columns(&rule, &object).await? {
            return Ok(None);
        }
        let Some(reads) = self.read_by(rule.oid).await? else {
            self.reads_generated(object);
            return Ok(None);
        };
        let types = self.texts(TYPES, &[&ident::table(&view)]).await?;
        if types.len() != request.columns.len() {
            let (returned, named) = (types.len(), request.columns.len());
            self.refuse(
                RefusalCode::RowsNotNamed,
                object,
                format!("It returns {returned} columns, the ordinal included, and {named} are named."),
                "Name each of them in `rows_as`, the ordinal at the end.",
            );
            return Ok(None);
        }
        let call = Expression {
            sql: request.call.text.clone(),
            reads,
        };
        let columns = request.columns.iter().map(|name| name.text.clone()).collect();
        Ok(Some(Call {
            rows: Rows { call, columns },
            types,
        }))
    }

    async fn create_view(
        &mut self,
        view: &TableName,
        request: &RowsRequest,
        object: &str,
    ) -> Result<bool, PlanError> {
        let sql = format!(
            "CREATE VIEW {} AS SELECT r.* FROM {} AS {} CROSS JOIN LATERAL ROWS FROM (\n{}\n) WITH ORDINALITY AS r ({})",
            ident::table(view),
            ident::table(&self.row),
            Ident(&self.row.name),
            request.call.text,
            ident::list(request.columns.iter().map(|name| name.text.as_str())),
        );
        let Err(message) = self.try_as_the_user(&sql).await? else {
            return Ok(true);
        };
        self.refuse(
            RefusalCode::RowsNotUnderstood,
            object.to_owned(),
            format!("The server says: {message}."),
            "Write one call of a set-returning function over the source's columns, such as `unnest(tags)`, and name each of \
             its columns and the ordinal in `rows_as`.",
        );
        Ok(false)
    }

    /// It reads nothing but columns of the row, and always makes the same of them.
    async fn is_over_columns(&mut self, rule: &Rule, object: &str) -> Result<bool, PlanError> {
        let session = self.pieces.session;
        if node_tree::reads_rows(&rule.tree) {
            self.refuse(
                RefusalCode::RowsReadsRow,
                object.to_owned(),
                "It reads the whole row or a system column, which are not the same in the copy and in the stream.".to_owned(),
                "Name the columns that it shall read.",
            );
            return Ok(false);
        }
        if !rule.reads_but(session, [&self.row]).await?.is_empty() {
            self.refuse(
                RefusalCode::RowsReadOthers,
                object.to_owned(),
                "It reads another table, which may change by itself.".to_owned(),
                "Write one call of a function over the source's own columns.",
            );
            return Ok(false);
        }
        match rule.judge(session, &[], object).await? {
            Ok(dependence) => self.note_settings(dependence, "rows"),
            Err(refusals) => self.refusals.extend(refusals),
        }
        Ok(true)
    }

    /// Positions in the stream of what the rule reads; `None` if the stream does not carry one.
    async fn read_by(&self, rule: u32) -> Result<Option<Vec<usize>>, PlanError> {
        let parameters: [&(dyn ToSql + Sync); 2] = [&rule, &ident::table(&self.row)];
        let places = self.pieces.session.query(READS, &parameters).await?;
        let places: Vec<usize> = places
            .iter()
            .filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok())
            .collect();
        Ok(self.streamed(&places))
    }

    /// Expressions name columns without a table.
    fn names_clash(&mut self, request: &RowsRequest) -> bool {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        let columns = &self.pieces.surroundings.definition.columns;
        taken.extend(columns.iter().map(|column| column.name.as_str()));
        taken.extend(SYSTEM_COLUMNS);
        let clash = request.columns.iter().find(|name| !taken.insert(&name.text));
        let Some(name) = clash else { return false };
        let object = self.object(&format!("rows_as {name}"), name);
        self.refuse(
            RefusalCode::RowsNameTaken,
            object,
            "The source or the server has a column of that name, or it is there twice.".to_owned(),
            "Choose another one: expressions name columns without a table.",
        );
        true
    }
}
