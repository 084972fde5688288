//! The catalogs held against the plan by the cutover: the source under the lock, the new tables before COMMIT.
//!
//! Everything is prepared before the lock is asked for, and run once, so that under the lock only reading is left.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::{CopyStep, Plan, Source, Step, Target};

use super::validity::as_planned;
use crate::catalog::{CatalogError, Definition, Describe, Difference, compare};
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

/// Prepared in one session, and to be run in it.
pub struct CutoverChecks {
    name: MigrationName,
    sources: Vec<(Source, Check)>,
    targets: Vec<Check>,
}

struct Check {
    describe: Describe,
    planned: Definition,
}

impl CutoverChecks {
    /// Prepares the statements and runs each once. Not in a transaction.
    ///
    /// # Errors
    /// See [`CheckError`]; a source that was dropped is [`CatalogError::Missing`].
    pub async fn prepare(session: &Session, plan: &Plan) -> Result<Self, CheckError> {
        let mut checks = CutoverChecks {
            name: plan.name.clone(),
            sources: Vec::new(),
            targets: Vec::new(),
        };
        for step in &plan.steps {
            let Step::CopyIntoTables(step) = step;
            checks.add(session, step).await?;
        }
        Ok(checks)
    }

    async fn add(&mut self, session: &Session, step: &CopyStep) -> Result<(), CheckError> {
        let source = Check::prepare(session, step.source.oid, &step.source.definition).await?;
        self.sources.push((step.source.clone(), source));
        for target in &step.targets {
            let oid = shadow_oid(session, target).await?;
            let mut check = Check::prepare(session, oid, &target.definition).await?;
            check.planned = check.planned.with_fks_unvalidated();
            self.targets.push(check);
        }
        Ok(())
    }

    /// How the sources differ from the plan, apart from what the migration did to them itself.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn source_differences(&self, session: &Session) -> Result<Vec<Difference>, CheckError> {
        let mut differences = Vec::new();
        for (source, check) in &self.sources {
            let today = check.describe.run(session.client()).await?;
            differences.extend(compare(&check.planned, &as_planned(today, source, &self.name)));
        }
        Ok(differences)
    }

    /// How the new tables, now in their places, differ from the plan. Their foreign keys are not validated yet.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn target_differences(&self, session: &Session) -> Result<Vec<Difference>, CheckError> {
        let mut differences = Vec::new();
        for check in &self.targets {
            let actual = check.describe.run(session.client()).await?.with_fks_unvalidated();
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
        Ok(Check { describe, planned })
    }
}

/// The table keeps its oid when it is moved into place.
async fn shadow_oid(session: &Session, target: &Target) -> Result<u32, CheckError> {
    let query = "SELECT c.oid FROM pg_catalog.pg_class AS c
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1::text AND c.relname = $2::text";
    let row = session
        .query_opt(query, &[&target.shadow.schema, &target.shadow.name])
        .await?;
    let missing = || CheckError::NoShadow {
        table: target.shadow.to_string(),
    };
    row.map(|row| row.get(0)).ok_or_else(missing)
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
