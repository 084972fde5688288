//! The view: the one that the retired table follows, or the one of the old name that applications use.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::Target;
use crossfade_core::refusal::Refusal;

use super::{Keys, Shape, VIEW, over_names, over_tables};
use crate::change::NAME_BYTES_MAX;
use crate::ddl;
use crate::ident;
use crate::planner::statements::OldShape;
use crate::preflight::refusal;
use crate::session::SqlError;

/// Whether we and the role `$4` may create in the schema `$1`, whether something has the name `$2` there, and a function
/// without arguments the name `$3`.
const VIEW_PLACE: &str = "\
SELECT has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')
         AND has_schema_privilege($4::text, n.oid, 'CREATE'),
       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = $2::text)
         OR EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = n.oid AND t.typname = $2::text),
       EXISTS (SELECT FROM pg_proc p WHERE p.pronamespace = n.oid AND p.proname = $3::text AND p.pronargs = 0)
  FROM pg_namespace n WHERE n.nspname = $1::text";

/// A query of the old shape that is ready to be a view's.
struct Named {
    before: Vec<String>,
    query: String,
    behind: Vec<String>,
}

impl Shape<'_> {
    /// Where the view will be.
    fn view_name(&self) -> TableName {
        let source = &self.pieces.step.source.name;
        match &self.pieces.request.view {
            None => TableName::new(self.pieces.name.retired_schema(), VIEW),
            Some((name, _)) => name.within(&source.schema),
        }
    }

    pub(super) fn view(&self, keys: &Keys) -> OldShape {
        let pieces = self.pieces;
        let targets = &pieces.step.targets;
        let view = self.view_name();
        let named = self.by_their_names();
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.column.name.clone())
            .collect();
        let key: Vec<String> = keys
            .source
            .columns
            .iter()
            .map(|place| columns[*place].clone())
            .collect();
        let ddl = ddl::OldShape {
            view: &view,
            query: &named.query,
            columns: &columns,
            key: &key,
            source: &pieces.step.source,
            today: &pieces.surroundings.definition,
            targets,
            desired: pieces.desired,
            search_path: pieces.search_path,
        };
        let stays = pieces.request.view.is_some();
        let (create, drop) = match stays {
            true => (ddl.create_writable(), ddl::drop_view(&view)),
            false => (
                vec![ddl.create()],
                vec![format!("DROP VIEW IF EXISTS {}", ident::table(&view))],
            ),
        };
        OldShape {
            view,
            create: [named.before, create, named.behind].concat(),
            drop,
            stays,
        }
    }

    /// The user's query, and what lets it find the new tables by their bare names. The server plans a query with a `WITH`
    /// apart from what surrounds it: it would sort all rows for each slice of a verification that wants them by their key.
    /// So the names are looked up in the tables' schema, if it is one.
    fn by_their_names(&self) -> Named {
        let (pieces, query) = (self.pieces, &self.pieces.request.query.text);
        if pieces.schema().is_none() {
            let targets = &pieces.step.targets;
            let tables: Vec<&TableName> = targets.iter().map(|target| &target.name).collect();
            return Named {
                before: Vec::new(),
                query: over_tables(targets, &tables, query),
                behind: Vec::new(),
            };
        }
        let usual = match pieces.search_path.trim() {
            "" => "''",
            path => path,
        };
        Named {
            before: vec![format!("SET LOCAL search_path = {}", pieces.path())],
            query: over_names(query),
            behind: vec![format!("SET LOCAL search_path = {usual}")],
        }
    }

    /// What stands in the way of a view that applications use in place of the table.
    pub(super) async fn view_refusals(&self) -> Result<Vec<Refusal>, SqlError> {
        let Some((_, placed)) = &self.pieces.request.view else {
            return Ok(Vec::new());
        };
        let (pieces, view) = (self.pieces, self.view_name());
        let object = format!("old_shape view {view} ({})", placed.place);
        let mut refusals = Vec::new();
        let mut refuse = |code: RefusalCode, message: String, remedy: &str| {
            refusals.push(refusal(code, object.clone(), message, remedy));
        };
        let source = &pieces.step.source;
        let goes_away = pieces.successor.is_none() && view == source.name;
        let function = ddl::function(&view);
        let names = pieces
            .session
            .query_opt(
                VIEW_PLACE,
                &[
                    &view.schema,
                    &view.name,
                    &function.name,
                    &self.today().table.owner,
                ],
            )
            .await?;
        match names {
            None => refuse(
                RefusalCode::SchemaNotFound,
                format!("There is no schema {}.", view.schema),
                "Create it first.",
            ),
            Some(row) => {
                if !row.get::<_, bool>(0) {
                    let remedy = "Run `GRANT USAGE, CREATE ON SCHEMA …` to the role that runs the change and to the table's \
                                  owner.";
                    let message = format!(
                        "We, or the table's owner, may not create anything in {}.",
                        view.schema
                    );
                    refuse(RefusalCode::SchemaNotWritable, message, remedy);
                }
                let of_target = pieces.step.targets.iter().any(|target| target.name == view);
                if of_target || (row.get::<_, bool>(1) && !goes_away) {
                    let message = format!("There is, or will be, something else of the name {view}.");
                    refuse(
                        RefusalCode::NameTaken,
                        message,
                        "Choose another name for the view.",
                    );
                }
                if row.get::<_, bool>(2) || function.name.len() > NAME_BYTES_MAX {
                    let message = format!(
                        "The function {function}, which carries its writes out, cannot have that name."
                    );
                    refuse(
                        RefusalCode::NameTaken,
                        message,
                        "Choose another name for the view.",
                    );
                }
            }
        }
        if self.today().table.row_security {
            refuse(
                RefusalCode::RowSecurity,
                "The table has row security, whose policies a view over other tables does not have."
                    .to_owned(),
                "Leave the view out, or write policies for the new tables after the change.",
            );
        }
        let has = |place: &usize| {
            let name = &source.columns[*place].name;
            self.columns.iter().any(|column| column.column.name == *name)
        };
        let reads: BTreeSet<usize> = pieces.step.targets.iter().flat_map(Target::reads).collect();
        for place in reads.iter().filter(|place| !has(place)) {
            let name = &source.columns[*place].name;
            refuse(
                RefusalCode::OldShapeColumnMissing,
                format!(
                    "The new tables are made from {name}, and the query does not have it: nothing could be written."
                ),
                "Add it to the query, or leave the view out.",
            );
        }
        Ok(refusals)
    }
}
