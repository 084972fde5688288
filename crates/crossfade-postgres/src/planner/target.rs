//! The target: which columns the copy writes, with what, and by which key changes are applied to it.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::MigrationName;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Expression, Source, Target, TargetColumn};
use crossfade_core::refusal::Refusal;

use super::key;
use super::probe::{Probed, ProbedExpression};
use crate::catalog::{Column, Definition};
use crate::ident::Ident;
use crate::preflight::refusal;

/// What the target is made from.
pub(super) struct Pieces<'a> {
    pub(super) name: &'a MigrationName,
    pub(super) source: &'a Source,
    /// The source's definition: all of its columns, generated ones included.
    pub(super) today: &'a Definition,
    /// What the table shall be.
    pub(super) desired: &'a Definition,
    pub(super) probed: &'a Probed,
}

/// A target column and its place in the source.
struct Filled {
    place: usize,
    column: TargetColumn,
}

/// Builds the target without its definition, or says all that stands in the way.
pub(super) fn build(pieces: &Pieces<'_>) -> Result<Target, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut filled = Vec::new();
    for column in pieces
        .desired
        .columns
        .iter()
        .filter(|column| column.generated.is_none())
    {
        match pieces.fill(column) {
            Ok(Some(column)) => filled.push(column),
            Ok(None) => {}
            Err(refusal) => refusals.push(refusal),
        }
    }
    let key = pieces.key(&filled).unwrap_or_else(|refusal| {
        refusals.push(refusal);
        None
    });
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(Target {
        shadow: TableName::new(pieces.name.schema(), pieces.desired.name.name.as_str()),
        name: pieces.desired.name.clone(),
        columns: filled.into_iter().map(|filled| filled.column).collect(),
        key,
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    })
}

impl Pieces<'_> {
    /// `None` for an added column: the server fills it.
    fn fill(&self, column: &Column) -> Result<Option<Filled>, Refusal> {
        let Some(place) = self.probed.lineage.get(&column.name).copied().flatten() else {
            return self.added(column).map(|()| None);
        };
        let today = &self.today.columns[place];
        let value = match (self.probed.expressions.get(&place), self.streamed(place)) {
            (_, None) => return Err(generated_no_more(self.today, today)),
            (Some(expression), Some(_)) => self.expression(expression, today)?,
            (None, Some(position)) => Expression {
                sql: Ident(&today.name).to_string(),
                reads: vec![position],
            },
        };
        Ok(Some(Filled {
            place,
            column: TargetColumn {
                name: column.name.clone(),
                type_name: column.type_name.clone(),
                value,
            },
        }))
    }

    /// The clone is empty and takes any added column; a table with rows does not.
    fn added(&self, column: &Column) -> Result<(), Refusal> {
        let filled = column.default.is_some() || column.identity.is_some();
        if !column.not_null || filled {
            return Ok(());
        }
        Err(refusal(
            RefusalCode::AddedColumnHasNoValue,
            format!("column {} of {}", column.name, self.today.name),
            "It is added as NOT NULL and has no default: no existing row could have a value in it."
                .to_owned(),
            "Give it a DEFAULT, or add it without NOT NULL.",
        ))
    }

    /// The place in the stream of a column of the source.
    fn streamed(&self, place: usize) -> Option<usize> {
        let name = &self.today.columns[place].name;
        self.source.columns.iter().position(|column| column.name == *name)
    }

    fn expression(&self, expression: &ProbedExpression, column: &Column) -> Result<Expression, Refusal> {
        let reads: Option<Vec<usize>> = expression
            .reads
            .iter()
            .map(|place| self.streamed(*place))
            .collect();
        let reads = reads.ok_or_else(|| {
            refusal(
                RefusalCode::ExpressionReadsGenerated,
                format!("column {} of {}", column.name, self.today.name),
                "Its USING reads a generated column, which the stream does not carry.".to_owned(),
                "Write the generated column's own expression instead of it.",
            )
        })?;
        Ok(Expression {
            sql: expression.sql.clone(),
            reads,
        })
    }

    /// The images of the source's key columns; they must depend on nothing else, and be unique in the target.
    fn key(&self, filled: &[Filled]) -> Result<Option<Vec<usize>>, Refusal> {
        let Some(key) = &self.source.key else {
            return Ok(None);
        };
        let inside: BTreeSet<usize> = key.columns.iter().copied().collect();
        let mut positions = Vec::new();
        for column in &key.columns {
            let name = &self.source.columns[*column].name;
            let image = filled
                .iter()
                .position(|filled| self.today.columns[filled.place].name == *name);
            let position = image.ok_or_else(|| self.key_lost(&format!("drops its column {name}")))?;
            let reads = &filled[position].column.value.reads;
            if reads.is_empty() || reads.iter().any(|read| !inside.contains(read)) {
                return Err(self.key_lost(&format!("computes {name} from something that is not the key")));
            }
            positions.push(position);
        }
        let names: BTreeSet<&str> = positions
            .iter()
            .map(|position| filled[*position].column.name.as_str())
            .collect();
        if !self.is_unique(&names) {
            return Err(self.key_lost("takes its unique index or makes it deferrable"));
        }
        Ok(Some(positions))
    }

    fn is_unique(&self, names: &BTreeSet<&str>) -> bool {
        self.desired
            .indexes
            .iter()
            .filter_map(key::plain_unique_columns)
            .any(|columns| {
                let columns: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
                columns == *names
            })
    }

    fn key_lost(&self, how: &str) -> Refusal {
        let key = self.source.key.iter().flat_map(|key| &key.columns);
        let names: Vec<&str> = key
            .map(|column| self.source.columns[*column].name.as_str())
            .collect();
        refusal(
            RefusalCode::KeyLost,
            self.today.name.to_string(),
            format!(
                "Changes are applied by the key ({}), and the change {how}.",
                names.join(", ")
            ),
            "Keep the key through this change, and change it afterwards.",
        )
    }
}

fn generated_no_more(today: &Definition, column: &Column) -> Refusal {
    refusal(
        RefusalCode::GeneratedExpressionDropped,
        format!("column {} of {}", column.name, today.name),
        "It is generated today, and shall not be any more: the stream does not carry its values.".to_owned(),
        "Run `ALTER COLUMN … DROP EXPRESSION` by itself first: it rewrites nothing.",
    )
}
