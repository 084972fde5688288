//! A further table of a split: made empty, asked what it is, and thrown away, like everything that is planned.
//!
//! Three tables stand for it, in schemas of their own, in the transaction that is rolled back. The **row** has the
//! source's columns under the source's name: the set-returning call is tried beside it, in a view. The **input** has
//! also the columns of that call: expressions are written down over it. The **probe** is the new table itself.

mod columns;
mod image;
mod partitions;
mod probe;
mod rows;
mod served;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{Source, Target};
use crossfade_core::refusal::Refusal;
use tokio_postgres::types::ToSql;

pub(super) use self::image::keeps_apart;
use self::rows::Call;
use super::old_shape::Probe;
use super::probe::{create_image, set_search_path};
use super::{PlanError, Surroundings};
use crate::catalog::{self, Definition, Grant};
use crate::change::{Placed, TableRequest};
use crate::copy;
use crate::ident::{self, Ident};
use crate::preflight::refusal;
use crate::session::{Session, SqlError};
use crate::verify;

/// What a further table is planned from.
pub(super) struct Pieces<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a MigrationName,
    pub(super) search_path: &'a str,
    pub(super) source: &'a Source,
    pub(super) surroundings: &'a Surroundings,
    pub(super) request: &'a TableRequest,
    /// Its place among the further tables.
    pub(super) number: usize,
    /// The source stays where it is, altered.
    pub(super) source_stays: bool,
}

/// A further table, planned.
pub(super) struct Planned {
    /// Without its definition.
    pub(super) target: Target,
    pub(super) desired: Definition,
    /// What stands for it in the open transaction.
    pub(super) probe: Probe,
    /// What of it depends on settings that our sessions pin: `column x`, `filter`, `rows`.
    pub(super) by_settings: Vec<String>,
}

type Found<T> = Result<Result<T, Vec<Refusal>>, PlanError>;

/// Plans it, in the open transaction.
pub(super) async fn plan(pieces: &Pieces<'_>) -> Found<Planned> {
    let mut planning = Planning::begin(pieces).await?;
    let rows = planning.rows().await?;
    if rows.is_none() && pieces.request.rows.is_some() {
        // Without its columns nothing else can be understood.
        return Ok(Err(planning.refusals));
    }
    planning.input(rows.as_ref()).await?;
    let filter = planning.filter().await?;
    let columns = planning.columns().await?;
    if !planning.refusals.is_empty() {
        return Ok(Err(planning.refusals));
    }
    let Some(probe) = planning.probe(&columns).await? else {
        return Ok(Err(planning.refusals));
    };
    planning.taken_names().await?;
    let target = planning.target(rows, filter, columns, &probe);
    match target {
        Some(target) if planning.refusals.is_empty() => Ok(Ok(Planned {
            probe: Probe {
                name: planning.probe.clone(),
                oid: probe.outside.oid,
            },
            desired: planning.desired(probe),
            target,
            by_settings: planning.by_settings,
        })),
        _ => Ok(Err(planning.refusals)),
    }
}

/// So many rows are tried.
const ROWS_MAX: u32 = 10_000;

/// A row that is not in exactly one of the tables, where each is to be, among the first ones.
pub(super) async fn not_once(
    session: &Session,
    source: &Source,
    tables: &[Planned],
) -> Result<Option<Refusal>, SqlError> {
    if !source.each_row_once {
        return Ok(None);
    }
    let targets: Vec<Target> = tables.iter().map(|table| table.target.clone()).collect();
    let alias = Ident(&source.name.name);
    let count = verify::tables_of_a_row(&targets);
    let sql = format!(
        "SELECT {count}, {}\n  FROM (SELECT ctid, * FROM ONLY {} LIMIT {ROWS_MAX}) AS {alias}\n WHERE {count} <> 1 LIMIT 1",
        copy::shown_key(source),
        ident::table(&source.name),
    );
    let row = session.query_opt(&sql, &[]).await?;
    Ok(row.map(|row| {
        let (count, key): (i32, String) = (row.get(0), row.get(1));
        refusal(
            RefusalCode::RowNotOnce,
            format!("row {key} of {}", source.name),
            format!("It would be in {count} of the {} new tables.", targets.len()),
            "Change the filters so that each row is in exactly one, or write `each_row = \"any\"`.",
        )
    }))
}

/// Runs a statement with the user's text in it, where the user's names are looked up; what the server says if it refuses.
pub(super) async fn try_as_the_user(
    session: &Session,
    search_path: &str,
    sql: &str,
) -> Result<Result<(), String>, SqlError> {
    session.batch_execute("SAVEPOINT crossfade").await?;
    set_search_path(session, search_path).await?;
    match session.client().execute(sql, &[]).await {
        Ok(_) => {
            session.batch_execute("RELEASE SAVEPOINT crossfade").await?;
            set_search_path(session, "pg_catalog").await?;
            Ok(Ok(()))
        }
        // The savepoint has the server's path.
        Err(error) => {
            let told = error.as_db_error().ok_or_else(|| SqlError::new(sql, &error))?;
            let message = told.message().to_owned();
            session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
            Ok(Err(message))
        }
    }
}

struct Planning<'a> {
    pieces: &'a Pieces<'a>,
    /// Has the source's columns.
    row: TableName,
    /// Has also those of the call.
    input: TableName,
    /// The new table.
    probe: TableName,
    /// Where it will be.
    place: TableName,
    by_settings: Vec<String>,
    refusals: Vec<Refusal>,
}

/// Ready for a column's definition.
const TYPES: &str = "\
SELECT format_type(a.atttypid, a.atttypmod)
       || coalesce((SELECT format(' COLLATE %I.%I', n.nspname, c.collname)
                      FROM pg_collation c JOIN pg_namespace n ON n.oid = c.collnamespace
                     WHERE c.oid = a.attcollation AND a.attcollation <> t.typcollation), '')
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

impl<'a> Planning<'a> {
    async fn begin(pieces: &'a Pieces<'a>) -> Result<Planning<'a>, PlanError> {
        let (session, request) = (pieces.session, pieces.request);
        let source = &pieces.surroundings.definition.name;
        let schema = |what: &str| format!("crossfade_{what}_{}_{}", pieces.number, session.pid());
        let planning = Planning {
            pieces,
            row: TableName::new(schema("row"), source.name.as_str()),
            input: TableName::new(schema("input"), source.name.as_str()),
            probe: TableName::new(schema("target"), request.name.name.as_str()),
            place: request.name.within(&source.schema),
            by_settings: Vec::new(),
            refusals: Vec::new(),
        };
        for table in [&planning.row, &planning.input, &planning.probe] {
            session
                .batch_execute(&format!("CREATE SCHEMA {}", Ident(&table.schema)))
                .await?;
        }
        let image = create_image(&pieces.surroundings.definition, &planning.row);
        session.batch_execute(&image).await?;
        Ok(planning)
    }

    fn object(&self, what: &str, text: &Placed) -> String {
        format!("{what} of {} ({})", self.place, text.place)
    }

    fn itself(&self) -> String {
        format!("target {} ({})", self.place, self.pieces.request.place)
    }

    fn refuse(&mut self, code: RefusalCode, object: String, message: String, remedy: &str) {
        self.refusals.push(refusal(code, object, message, remedy));
    }

    async fn try_as_the_user(&self, sql: &str) -> Result<Result<(), String>, SqlError> {
        try_as_the_user(self.pieces.session, self.pieces.search_path, sql).await
    }

    async fn texts(&self, query: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<String>, SqlError> {
        let rows = self.pieces.session.query(query, parameters).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The source's columns and those of the call.
    async fn input(&self, call: Option<&Call>) -> Result<(), PlanError> {
        let session = self.pieces.session;
        let definition = &self.pieces.surroundings.definition;
        session
            .batch_execute(&create_image(definition, &self.input))
            .await?;
        let Some(Call { rows, types }) = call else {
            return Ok(());
        };
        let added = rows.columns.iter().zip(types);
        let added: Vec<String> = added
            .map(|(name, type_name)| format!("ADD COLUMN {} {type_name}", Ident(name)))
            .collect();
        let sql = format!("ALTER TABLE {} {}", ident::table(&self.input), added.join(", "));
        session.batch_execute(&sql).await?;
        Ok(())
    }

    /// As it shall be, in its place: it belongs to the source's owner, and whoever has privileges on the source has them
    /// here.
    fn desired(&self, probe: Definition) -> Definition {
        let source = &self.pieces.surroundings.definition;
        let owner = &source.table.owner;
        let mut desired = Definition {
            name: self.place.clone(),
            table: catalog::Table {
                owner: owner.clone(),
                grants: source.table.grants.clone(),
                ..probe.table
            },
            row_type: catalog::RowType {
                grants: Vec::new(),
                comment: None,
            },
            depend: probe
                .depend
                .into_iter()
                .filter(|edge| edge.dependent_own)
                .collect(),
            ..probe
        };
        let fresh = ["SELECT", "UPDATE", "USAGE"].map(|privilege| Grant {
            grantor: owner.clone(),
            grantee: Some(owner.clone()),
            privilege: privilege.to_owned(),
            grantable: false,
        });
        for sequence in &mut desired.sequences {
            sequence.owner.clone_from(owner);
            sequence.grants = fresh.to_vec();
        }
        desired.sort();
        desired
    }
}
