//! The migrations themselves: plan, phase, flag, report.

use crossfade_core::phase::Phase;
use crossfade_core::plan::{Plan, Step};

use super::{StateError, moves};
use crate::session::{Session, SqlClass};

/// A migration as it stands in the state schema.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its plan.
    pub plan: Plan,
    /// `planner::digest` of it.
    pub digest: String,
    /// How far it has come.
    pub phase: Phase,
    /// Held back.
    pub paused: bool,
    /// The source, for people.
    pub table: String,
    /// A document of the coordinator's.
    pub report: String,
}

/// What [`create`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It is new.
    New,
    /// It was there, with the same plan.
    Resumed,
}

const COLUMNS: &str = "name, plan, plan_digest, phase, paused, source_table, report";

/// Stores a plan under its name. A migration of that name that has ended is replaced, unless it is this very one.
///
/// # Errors
/// [`StateError::OtherPlan`], [`StateError::TableTaken`].
pub async fn create(session: &Session, plan: &Plan, digest: &str) -> Result<Created, StateError> {
    // Whoever looks meanwhile finds the former one or the new one.
    session.batch_execute("BEGIN").await?;
    let created = store(session, plan, digest).await;
    let end = if created.is_ok() { "COMMIT" } else { "ROLLBACK" };
    session.batch_execute(end).await?;
    match created {
        // Asked in a transaction of its own: a violation ends the one that it happens in.
        Err(StateError::TableTaken { table, .. }) => {
            let Step::CopyIntoTables(step) = &plan.steps[0];
            Err(taken(session, step.source.oid, table).await?)
        }
        created => created,
    }
}

async fn store(session: &Session, plan: &Plan, digest: &str) -> Result<Created, StateError> {
    let name = plan.name.as_str();
    if let Some(stored) = load(session, name).await? {
        if !stored.phase.is_final() || stored.digest == digest && stored.phase == Phase::Completed {
            let same = stored.digest == digest;
            let other = || StateError::OtherPlan {
                name: name.into(),
                phase: stored.phase.as_str().into(),
            };
            return if same { Ok(Created::Resumed) } else { Err(other()) };
        }
        reset(session, name).await?;
    }
    let Step::CopyIntoTables(step) = &plan.steps[0];
    let oid = step.source.oid;
    let (system, table) = match &plan.destination {
        None => (0, step.source.name.to_string()),
        Some(destination) => (
            plan.server.system_identifier,
            format!("{} tables of {}", plan.steps.len(), destination.from_place),
        ),
    };
    let system = system.to_string();
    let text = serde_json::to_string(plan).map_err(|error| StateError::Unreadable {
        name: name.into(),
        what: error.to_string(),
    })?;
    let insert = "\
INSERT INTO crossfade.migration (name, plan, plan_digest, phase, source_oid, source_table, source_system)
VALUES ($1, $2, $3, 'planned', $4, $5, $6::text::numeric)";
    match session
        .execute(insert, &[&name, &text, &digest, &oid, &table, &system])
        .await
    {
        Ok(_) => Ok(Created::New),
        Err(error) if error.class() == SqlClass::UniqueViolation => Err(StateError::TableTaken {
            table,
            name: String::new(),
        }),
        Err(error) => Err(error.into()),
    }
}

async fn taken(session: &Session, oid: u32, table: String) -> Result<StateError, StateError> {
    let select = "SELECT name FROM crossfade.migration WHERE source_oid = $1
                   AND phase NOT IN ('swapped', 'rolled_back', 'completed', 'aborted')";
    let owner = session.query_opt(select, &[&oid]).await?;
    Ok(StateError::TableTaken {
        table,
        name: owner.map_or_else(String::new, |row| row.get(0)),
    })
}

/// Forgets everything of a migration but its audit trail, so that its name can be used again. And but its generation:
/// begun anew from one, an engine of the former migration that has slept through all of it could write again (R24).
///
/// # Errors
/// As the server says.
pub async fn reset(session: &Session, name: &str) -> Result<(), StateError> {
    for table in [
        "migration",
        "engine",
        "position",
        "publication",
        "source_file",
        "way_back_closed",
        "detector",
        "chunk",
        "unproven_drop",
        "statement_done",
        "swap_attempt",
        "request",
        "verification",
    ] {
        let column = if table == "migration" { "name" } else { "migration" };
        session
            .execute(
                &format!("DELETE FROM crossfade.{table} WHERE {column} = $1"),
                &[&name],
            )
            .await?;
    }
    moves::forget(session, name).await
}

/// The migration of that name.
///
/// # Errors
/// As the server says, or the row cannot be understood.
pub async fn load(session: &Session, name: &str) -> Result<Option<Stored>, StateError> {
    let select = format!("SELECT {COLUMNS} FROM crossfade.migration WHERE name = $1");
    let row = session.query_opt(&select, &[&name]).await?;
    row.as_ref().map(read).transpose()
}

/// All migrations, the newest first.
///
/// # Errors
/// As [`load`].
pub async fn list(session: &Session) -> Result<Vec<Stored>, StateError> {
    let select = format!("SELECT {COLUMNS} FROM crossfade.migration ORDER BY created_at DESC, name");
    session.query(&select, &[]).await?.iter().map(read).collect()
}

fn read(row: &tokio_postgres::Row) -> Result<Stored, StateError> {
    let name: String = row.get(0);
    let unreadable = |what: String| StateError::Unreadable {
        name: name.clone(),
        what,
    };
    let plan = serde_json::from_str(row.get(1)).map_err(|error| unreadable(format!("its plan: {error}")))?;
    let word: &str = row.get(3);
    let phase = Phase::from_word(word).ok_or_else(|| unreadable(format!("phase {word}")))?;
    Ok(Stored {
        plan,
        digest: row.get(2),
        phase,
        paused: row.get(4),
        table: row.get(5),
        report: row.get(6),
    })
}

/// Writes the phase down.
///
/// # Errors
/// As the server says.
pub async fn set_phase(session: &Session, name: &str, phase: Phase) -> Result<(), StateError> {
    let update = "UPDATE crossfade.migration SET phase = $2, updated_at = pg_catalog.now() WHERE name = $1";
    session.execute(update, &[&name, &phase.as_str()]).await?;
    Ok(())
}

/// The same, unless it has come farther already: somebody else may have ended it meanwhile.
///
/// # Errors
/// As the server says.
pub async fn advance_phase(session: &Session, name: &str, phase: Phase) -> Result<(), StateError> {
    let earlier = Phase::ALL.into_iter().filter(|earlier| *earlier < phase);
    let earlier: Vec<&str> = earlier.map(Phase::as_str).collect();
    let update = "UPDATE crossfade.migration SET phase = $2, updated_at = pg_catalog.now()
                   WHERE name = $1 AND phase = ANY ($3::text[])";
    session
        .execute(update, &[&name, &phase.as_str(), &earlier])
        .await?;
    Ok(())
}

/// Writes the flag down.
///
/// # Errors
/// As the server says.
pub async fn set_paused(session: &Session, name: &str, paused: bool) -> Result<(), StateError> {
    let update = "UPDATE crossfade.migration SET paused = $2, updated_at = pg_catalog.now() WHERE name = $1";
    session.execute(update, &[&name, &paused]).await?;
    Ok(())
}

/// Writes the report down.
///
/// # Errors
/// As the server says.
pub async fn store_report(session: &Session, name: &str, report: &str) -> Result<(), StateError> {
    let update = "UPDATE crossfade.migration SET report = $2, updated_at = pg_catalog.now() WHERE name = $1";
    session.execute(update, &[&name, &report]).await?;
    Ok(())
}
