//! The catalogs held against the plan by the cutover: the source under the lock, the new tables before COMMIT.
//!
//! Everything is prepared before the lock is asked for, and run once, so that under the lock only reading is left.

use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyStep, Part, Source};

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
    /// Of the source, or of each table that its view reads.
    leaving: Vec<Check>,
    targets: Vec<Check>,
}

struct Check {
    /// Where it is, or is to be.
    name: TableName,
    /// The view of ours that reads it, as definitions name it.
    view: Option<String>,
    describe: Describe,
    planned: Definition,
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
        let source = &step.source;
        let mut leaving = Vec::new();
        if source.parts.is_empty() {
            let name = source.name.clone();
            leaving.push(Check::prepare(session, name, source.oid, &source.definition).await?);
        }
        let view = view_in_words(session, &source.name).await?;
        for part in &source.parts {
            let mut check = Check::prepare(session, part.name.clone(), part.oid, &part.definition).await?;
            check.planned = as_part(check.planned, &view);
            check.view = Some(view.clone());
            leaving.push(check);
        }
        // On the way there it is made in the swap, over the targets.
        let view_there = match &step.view {
            Some(view) => Some(view_in_words(session, view).await?),
            None => None,
        };
        let mut targets = Vec::new();
        for target in &step.targets {
            let missing = || CheckError::NoShadow {
                table: target.shadow.to_string(),
            };
            let oid = table_oid(session, &target.shadow).await?.ok_or_else(missing)?;
            let mut check = Check::prepare(session, target.name.clone(), oid, &target.definition).await?;
            check.view.clone_from(&view_there);
            targets.push(check);
        }
        Ok(CutoverChecks {
            name: name.clone(),
            source: source.clone(),
            leaving,
            targets,
        })
    }

    /// Identity sequences of the source whose value is out of bounds of the one that takes it over, in words.
    ///
    /// # Errors
    /// As the server says.
    pub async fn sequences_that_do_not_fit(&self, session: &Session) -> Result<Vec<String>, SqlError> {
        let mut misfits = Vec::new();
        for (name, new) in self.identity_sequences() {
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

    /// Identity sequences that another one takes over whose bounds are narrower: those of the table in the same place. Others
    /// begin anew, and have nothing to take over.
    fn identity_sequences(&self) -> Vec<(TableName, &Sequence)> {
        let mut found = Vec::new();
        let identity = |sequence: &&Sequence| sequence.owned == Owned::Identity;
        for check in &self.targets {
            let in_its_place = |leaving: &&Check| leaving.name == check.name;
            for leaving in self.leaving.iter().filter(in_its_place) {
                for new in check.planned.sequences.iter().filter(identity) {
                    let of_same_column = |old: &&Sequence| old.column == new.column;
                    let narrower = |old: &&Sequence| old.min < new.min || old.max > new.max;
                    let old = leaving.planned.sequences.iter().filter(identity);
                    let old = old.filter(of_same_column).filter(narrower);
                    let schema = &leaving.name.schema;
                    found.extend(old.map(|old| (TableName::new(schema, &old.name), new)));
                }
            }
        }
        found
    }

    /// How the source differs from the plan, apart from what the migration did to it itself, and from whether
    /// foreign keys are validated: on the way back that may not have come to its end.
    ///
    /// # Errors
    /// See [`CheckError`].
    pub async fn source_differences(&self, session: &Session) -> Result<Vec<Difference>, CheckError> {
        let mut differences = Vec::new();
        for check in &self.leaving {
            let today = check.describe.run(session.client()).await?.with_fks_unvalidated();
            let today = as_planned(today, &self.source, &self.name);
            let today = match &check.view {
                Some(view) => as_part(today, view),
                None => today,
            };
            differences.extend(compare(&check.planned, &today));
        }
        for part in self.source.parts.iter().filter(|part| part.partitioned) {
            differences.extend(partitions_without_stream(session, part).await?);
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
            let actual = without_publications(actual, &self.name);
            let actual = match &check.view {
                Some(view) => without_view(actual, view),
                None => actual,
            };
            differences.extend(compare(&check.planned, &actual));
        }
        Ok(differences)
    }
}

impl Check {
    async fn prepare(
        session: &Session,
        name: TableName,
        oid: u32,
        planned: &str,
    ) -> Result<Self, CheckError> {
        let planned: Definition = serde_json::from_str(planned).map_err(CheckError::Document)?;
        let describe = Describe::prepare(session.client(), oid).await?;
        describe.run(session.client()).await?;
        Ok(Check {
            name,
            view: None,
            describe,
            planned: planned.with_fks_unvalidated(),
        })
    }
}

const PARTITIONS_WITHOUT_STREAM: &str = "\
SELECT c.oid::regclass::text, CASE c.relkind WHEN 'f' THEN 'a foreign table' ELSE 'unlogged' END
  FROM pg_catalog.pg_partition_tree($1::oid) AS p JOIN pg_catalog.pg_class AS c ON c.oid = p.relid
 WHERE p.isleaf AND (c.relkind = 'f' OR c.relpersistence <> 'p') ORDER BY 1";

/// Partitions that others made, whose rows no stream carries: of what is written to them nothing is known.
async fn partitions_without_stream(session: &Session, part: &Part) -> Result<Vec<Difference>, SqlError> {
    let rows = session.query(PARTITIONS_WITHOUT_STREAM, &[&part.oid]).await?;
    let difference = |row: &tokio_postgres::Row| Difference {
        path: format!("partitions.{}", row.get::<_, String>(0)),
        expected: Some("a logged table of this server".to_owned()),
        actual: Some(row.get(1)),
    };
    Ok(rows.iter().map(difference).collect())
}

/// How a definition names a view that reads its table.
async fn view_in_words(session: &Session, view: &TableName) -> Result<String, SqlError> {
    let format = "SELECT pg_catalog.format('view %I.%I', $1::text, $2::text)";
    let row = session.query_one(format, &[&view.schema, &view.name]).await?;
    Ok(row.get(0))
}

fn without_view(mut table: Definition, view: &str) -> Definition {
    table.depend.retain(|edge| edge.dependent != view);
    table
}

/// A table that a view of ours reads, without that view and without its partitions: these come and go.
fn as_part(table: Definition, view: &str) -> Definition {
    let mut table = without_view(table, view);
    table.table.partitions.clear();
    table.table.children.clear();
    table
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
