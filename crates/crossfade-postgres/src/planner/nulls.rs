//! Which columns a change must bring, because nothing can stand for them where they are missing: what the stream leaves out
//! is staged as `NULL`, and a domain may take none (`NOT NULL`, or a check that says so); and a derived target's rows are
//! produced anew, whether they were there before or not (R20). Their rows are fetched (R16).

use std::collections::{BTreeMap, BTreeSet};

use crossfade_core::plan::{CopyStep, Target, TargetColumn};

use crate::session::{Session, SqlClass, SqlError};

const DOMAINS: &str = "\
SELECT DISTINCT name FROM pg_catalog.unnest($1::text[]) AS name
  JOIN pg_catalog.pg_type AS t ON t.oid = pg_catalog.to_regtype(name) WHERE t.typtype = 'd'";

/// Writes them into the step's source. The session is in the transaction of the plan.
pub(super) async fn note(session: &Session, step: &mut CopyStep) -> Result<(), SqlError> {
    let source = step.source.columns.iter().map(|column| &column.type_name);
    let target = || step.targets.iter().flat_map(|target| &target.columns);
    let types = source.chain(target().map(|column| &column.type_name)).cloned();
    let strict = without_null(session, types.collect()).await?;
    let own = |position: &usize| strict.contains(&step.source.columns[*position].type_name);
    let reads = |column: &TargetColumn| column.value.reads.clone();
    let read = target()
        .filter(|column| strict.contains(&column.type_name))
        .flat_map(reads);
    // What decides over the rows of a target, and is filled anew whenever they are.
    let derived = step.targets.iter().filter(|target| target.derived.is_some());
    let decides = derived.flat_map(Target::reads);
    let all: BTreeSet<usize> = (0..step.source.columns.len())
        .filter(own)
        .chain(read)
        .chain(decides)
        .collect();
    step.source.never_missing = all.into_iter().collect();
    Ok(())
}

/// The domains among them that take no `NULL`: each is asked, whatever makes it say no.
async fn without_null(session: &Session, types: Vec<String>) -> Result<BTreeSet<String>, SqlError> {
    let domains = session.query(DOMAINS, &[&types]).await?;
    let mut answers = BTreeMap::new();
    for row in domains {
        let domain: String = row.get(0);
        session.batch_execute("SAVEPOINT crossfade").await?;
        let cast = session
            .batch_execute(&format!("SELECT CAST(NULL AS {domain})"))
            .await;
        session.batch_execute("ROLLBACK TO SAVEPOINT crossfade").await?;
        match cast {
            Err(error) if error.class() == SqlClass::Lost => return Err(error),
            cast => answers.insert(domain, cast.is_err()),
        };
    }
    let strict = answers.into_iter().filter(|(_, strict)| *strict);
    Ok(strict.map(|(domain, _)| domain).collect())
}
