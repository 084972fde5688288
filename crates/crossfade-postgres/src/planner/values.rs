//! Expressions that fill columns of a table which stays as it is: of a move that changes values on the way.

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::{CopyStep, Expression};
use crossfade_core::refusal::Refusal;

use super::PlanError;
use super::probe::create_image;
use super::written::{Paper, Unwritten, Wanted};
use crate::catalog::{self, Definition};
use crate::change::{Placed, TableValues};
use crate::ident::Ident;
use crate::preflight::refusal;
use crate::session::Session;

/// Fills the columns of the step's target; says what stands in the way. Changes nothing on the server.
pub(crate) async fn fill(
    session: &Session,
    search_path: &str,
    step: &mut CopyStep,
    values: &TableValues,
) -> Result<Vec<Refusal>, PlanError> {
    let definition = catalog::describe(session.client(), step.source.oid).await?;
    let input = TableName::new(
        format!("crossfade_values_{}", session.pid()),
        step.source.name.name.as_str(),
    );
    session.batch_execute("BEGIN").await?;
    let create = format!(
        "CREATE SCHEMA {}; {}",
        Ident(&input.schema),
        create_image(&definition, &input)
    );
    session.batch_execute(&create).await?;
    let paper = Paper {
        session,
        table: &input,
        search_path,
    };
    let mut refusals = Vec::new();
    for (column, value) in &values.columns {
        if let Err(more) = fill_one(&paper, &definition, step, (column, value)).await? {
            refusals.extend(more);
        }
    }
    session.batch_execute("ROLLBACK").await?;
    Ok(refusals)
}

/// Ready for SQL, without a modifier: a value that is too long for it is an error, and not cut.
const TYPE: &str = "\
SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attrelid = $1::oid AND attname = $2 AND attnum > 0";

async fn fill_one(
    paper: &Paper<'_>,
    definition: &Definition,
    step: &mut CopyStep,
    (column, value): (&Placed, &Placed),
) -> Result<Result<(), Vec<Refusal>>, PlanError> {
    let table = &step.source.name;
    let of_no_column = |why: &str| {
        let object = format!("column {} of {table} ({})", column.text, column.place);
        let remedy = "Name a column that is stored and is not part of the key that tells its rows apart.";
        Ok(Err(vec![refusal(
            RefusalCode::ValueOfNoColumn,
            object,
            why.to_owned(),
            remedy,
        )]))
    };
    let target = &mut step.targets[0];
    let Some(position) = target.columns.iter().position(|there| there.name == column.text) else {
        return match definition.column(&column.text) {
            Some(_) => of_no_column("It is generated: the target computes it by itself."),
            None => of_no_column("The table has no such column."),
        };
    };
    if target.key.as_ref().is_some_and(|key| key.contains(&position)) {
        return of_no_column("It is part of the key that changes are applied by.");
    }
    let type_name: String = paper
        .session
        .query_one(TYPE, &[&step.source.oid, &column.text])
        .await?
        .get(0);
    let text = format!("CAST((\n{}\n) AS {type_name})", value.text);
    let object = format!("value of {}.{} ({})", table, column.text, value.place);
    let written = match paper.write_down(&text, Wanted::Value, &object).await? {
        Ok(written) => written,
        Err(unwritten) => return Ok(Err(refused(unwritten, object))),
    };
    let stream = &step.source.columns;
    let streamed = |place: &usize| {
        let name = &definition.columns[*place].name;
        stream.iter().position(|there| there.name == *name)
    };
    let Some(reads) = written.reads.iter().map(streamed).collect::<Option<Vec<usize>>>() else {
        return Ok(Err(vec![refusal(
            RefusalCode::ExpressionReadsGenerated,
            object,
            "It reads a generated column, which the stream does not carry.".to_owned(),
            "Write the generated column's own expression instead of it.",
        )]));
    };
    let sql = written.sql;
    target.columns[position].value = Expression { sql, reads };
    Ok(Ok(()))
}

fn refused(unwritten: Unwritten, object: String) -> Vec<Refusal> {
    let remedy = "Write an expression over the table's columns, without sub-selects and aggregates.";
    match unwritten {
        Unwritten::Refused(message) => vec![refusal(
            RefusalCode::ExpressionNotAccepted,
            object,
            format!("The server says: {message}."),
            remedy,
        )],
        Unwritten::NotOverColumns => vec![refusal(
            RefusalCode::ExpressionNotOverColumns,
            object,
            "It reads the whole row or a system column.".to_owned(),
            remedy,
        )],
        Unwritten::Changing(refusals) => refusals,
    }
}
