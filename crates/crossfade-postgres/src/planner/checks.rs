//! The catalogs held against the plan by the cutover: the source under the lock, the new tables before COMMIT.
//!
//! Everything is prepared before the lock is asked for, and run once, so that under the lock only reading is left.

use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyStep, Source};

use super::validity::{as_planned, without_publications};
use crate::catalog::{CatalogError, Definition, Describe, Difference, Owned, Sequence, compare};
use crate::ident;
use crate::session::{Session, SqlError};

/// Why the catalogs could not be held against the plan.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The server refused or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The shadow is not where it was built.
    #[error("find the new table {table}")]
    NoShadow {
        /// Where it should be.
        table: String,
    },
    /// The plan's document has another form.
    #[error("understand the definition in the plan: it was made by another release")]
    Document(#[source] serde_json::Error),
}

/// Prepared in one session, and to be run in it. For the step in either direction.
pub struct CutoverChecks {
    name: MigrationName,
    source: Source,
    check: Check,
    targets: Vec<Check>,
}

struct Check {
    describe: Describe,
    planned: Definition,
    /// Columns that rows are copied into.
    filled: Vec<String>,
}

impl CutoverChecks {
    /// Prepares the statements and runs each once. Not in a transaction.
    ///
    /// # Errors
    /// See [`CheckError`]; a source that was dropped is [`CatalogError::Missing`].
    pub async fn prepare(
        session: &Session,
        step: &CopyStep,
        name: &MigrationName,
    ) -> Result<Self, CheckError> {
        let mut check = Check::prepare(session, step.source.oid, &step.source.definition).await?;
        check.planned = check.planned.with_fks_unvalidated();
        let mut targets = Vec::new();
        for target in &step.targets {
            let missing = || CheckError::NoShadow {
                table: target.shadow.to_string(),
            };
            let oid = table_oid(session, &target.shadow).await?.ok_or_else(missing)?;
            let mut check = Check::prepare(session, oid, &target.definition).await?;
            check.planned = check.planned.with_fks_unvalidated();
            check.filled = target.columns.iter().map(|column| column.name.clone()).collect();
            targets.push(check);
        }
        Ok(CutoverChecks {
            name: name.clone(),
            source: step.source.clone(),
            check,
            targets,
        })
    }

    /// Identity sequences of the source whose value is out of bounds of the one that takes it over, in words.
    ///
    /// # Errors
    /// As the server says.
    pub async fn sequences_that_do_not_fit(&self, session: &Session) -> Result<Vec<String>, SqlError> {
        let mut misfits = Vec::new();
        let identity = |sequence: &&Sequence| sequence.owned == Owned::Identity;
        let sequences = self.targets.iter().flat_map(|check| {
            // Others begin anew, and have nothing to take over.
            let filled = |sequence: &&Sequence| check.filled.contains(&sequence.column);
            check.planned.sequences.iter().filter(identity).filter(filled)
        });
        for new in sequences {
            let of_same_column = |old: &&Sequence| old.column == new.column;
            let old = self
                .check
                .planned
                .sequences
                .iter()
                .filter(identity)
                .find(of_same_column);
            let Some(old) = old else { continue };
            // Whatever it is at fits.
            if new.min <= old.min && old.max <= new.max {
                continue;
            }
            let name = TableName::new(&self.source.name.schema, &old.name);
            let select = format!("SELECT last_value FROM {}", ident::table(&name));
            let value: i64 = session.query_one(&select, &[]).await?.get(0);
            if !(new.min..=new.max).contains(&value) {
                misfits.push(format!(
                    "{name} is at {value}, and the sequence of {} goes from {} to {}",
                    new.column, new.min, new.max
                ));
            }
        }
        Ok(misfits)
    }

    /// How the source differs from the plan, apart from what the migration did to it itself, and from whether
    /// foreign keys are validated: on the way back that may not have come to its end.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn source_differences(&self, session: &Session) -> Result<Vec<Difference>, CheckError> {
        let today = self
            .check
            .describe
            .run(session.client())
            .await?
            .with_fks_unvalidated();
        let today = as_planned(today, &self.source, &self.name);
        Ok(compare(&self.check.planned, &today))
    }

    /// How the new tables, now in their places, differ from the plan. Their foreign keys are not validated yet.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn target_differences(&self, session: &Session) -> Result<Vec<Difference>, CheckError> {
        let mut differences = Vec::new();
        for check in &self.targets {
            let actual = check.describe.run(session.client()).await?.with_fks_unvalidated();
            let actual = without_publications(actual, &self.name);
            differences.extend(compare(&check.planned, &actual));
        }
        Ok(differences)
    }
}

impl Check {
    async fn prepare(session: &Session, oid: u32, planned: &str) -> Result<Self, CheckError> {
        let planned = serde_json::from_str(planned).map_err(CheckError::Document)?;
        let describe = Describe::prepare(session.client(), oid).await?;
        describe.run(session.client()).await?;
        Ok(Check {
            describe,
            planned,
            filled: Vec::new(),
        })
    }
}

/// The oid of the table that has this name now. It keeps it when it is moved.
///
/// # Errors
/// As the server says.
pub async fn table_oid(session: &Session, table: &TableName) -> Result<Option<u32>, SqlError> {
    let query = "SELECT c.oid FROM pg_catalog.pg_class AS c
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1::text AND c.relname = $2::text";
    let row = session.query_opt(query, &[&table.schema, &table.name]).await?;
    Ok(row.map(|row| row.get(0)))
}

/// For messages: the first few, in words.
pub fn in_words(differences: &[Difference]) -> String {
    let shown: Vec<String> = differences.iter().take(5).map(ToString::to_string).collect();
    match differences.len().saturating_sub(shown.len()) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_said_in_words() {
        let difference = Difference {
            path: "columns.a".into(),
            expected: Some("int".into()),
            actual: None,
        };
        assert!(in_words(std::slice::from_ref(&difference)).contains("columns.a"));
        assert!(in_words(&vec![difference; 7]).ends_with("; and 2 more"));
    }
}
