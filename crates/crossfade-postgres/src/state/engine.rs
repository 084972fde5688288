//! Who works on a migration, and generations (R24): `kill -9` does not stop statements already sent, so every
//! writing transaction locks the generation's row at its own number, and a starting engine raises the number
//! before it reads anything.

use std::time::Duration;

use crossfade_core::name::MigrationName;
use tokio::time::Instant;

use super::StateError;
use crate::ident::literal;
use crate::session::{Session, SqlClass};

/// Which engine of a migration: each that starts has a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub i64);

/// An engine as the state schema knows it.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Its machine.
    pub host: String,
    /// Its process there.
    pub process: i64,
    /// Its session is still connected, and it was heard of not long ago: of one whose machine is gone the server may
    /// keep the session for hours.
    pub connected: bool,
    /// Since its last heartbeat.
    pub heard_seconds_ago: f64,
    /// What it last wrote about its progress: a document of the coordinator's.
    pub progress: String,
}

/// What to do if another engine is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TakeOver {
    /// Refuse.
    Refuse,
    /// End its sessions.
    Force,
}

/// How long a session may take to end after its process has, or after it was told to.
const ENDING_MAX: Duration = Duration::from_secs(30);
/// How long to wait for the session of a process that may just have been killed.
const DYING_MAX: Duration = Duration::from_secs(3);
/// An engine says something twice a second. One that has said nothing for this long is not waited for.
const HEARD_MAX: Duration = Duration::from_secs(30);
/// A request that nobody has taken for so long was meant for another hour.
const REQUEST_MAX: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The engine that last worked on the migration.
///
/// # Errors
/// As the server says.
pub async fn engine(session: &Session, name: &str) -> Result<Option<Engine>, StateError> {
    let select = "\
SELECT host, process, EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(backend_pid) AS a
                               WHERE a.backend_start = e.backend_started)
       AND heard_at > pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2),
       extract(epoch FROM pg_catalog.clock_timestamp() - heard_at)::float8, progress
  FROM crossfade.engine AS e WHERE migration = $1";
    let row = session
        .query_opt(select, &[&name, &HEARD_MAX.as_secs_f64()])
        .await?;
    Ok(row.map(|row| Engine {
        host: row.get(0),
        process: row.get(1),
        connected: row.get(2),
        heard_seconds_ago: row.get(3),
        progress: row.get(4),
    }))
}

/// Makes this session's process the migration's engine: ends what the former one left behind, raises the
/// generation and returns it. Only afterwards may applied LSN and ledger be read.
///
/// `application_name` is that of the engine's sessions; this session's own does not count.
///
/// # Errors
/// [`StateError::Busy`] if another engine is connected and shall not be forced.
pub async fn raise_generation(
    session: &Session,
    name: &str,
    application_name: &str,
    host: &str,
    take_over: TakeOver,
) -> Result<Generation, StateError> {
    if take_over == TakeOver::Refuse {
        refuse_connected(session, name, host).await?;
    }
    // Before: so that raising does not wait for a long statement of theirs. After: one that began in between has
    // failed or will, at its guard; a slot that is being made is guarded by nothing.
    end_sessions(session, name, application_name).await?;
    // At once: whoever finds itself superseded looks for who is at work now.
    let raise = "\
WITH register AS (
  INSERT INTO crossfade.engine (migration, host, process, backend_pid, backend_started)
  SELECT $1, $2, $3, pid, backend_start FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())
      ON CONFLICT (migration) DO UPDATE SET host = excluded.host, process = excluded.process,
         backend_pid = excluded.backend_pid, backend_started = excluded.backend_started,
         started_at = excluded.started_at, heard_at = excluded.heard_at, progress = excluded.progress
)
INSERT INTO crossfade.generation AS g (migration, generation) VALUES ($1, 1)
    ON CONFLICT (migration) DO UPDATE SET generation = g.generation + 1
RETURNING generation";
    let generation = session
        .query_one(raise, &[&name, &host, &i64::from(std::process::id())])
        .await?
        .get(0);
    end_sessions(session, name, application_name).await?;
    let forget = "\
UPDATE crossfade.request SET taken_at = pg_catalog.clock_timestamp()
 WHERE migration = $1 AND taken_at IS NULL
   AND asked_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $2)";
    session
        .execute(forget, &[&name, &REQUEST_MAX.as_secs_f64()])
        .await?;
    Ok(Generation(generation))
}

async fn refuse_connected(session: &Session, name: &str, host: &str) -> Result<(), StateError> {
    let deadline = Instant::now() + DYING_MAX;
    // A process whose network was gone for a while finds itself.
    let ours = |engine: &Engine| engine.host == host && engine.process == i64::from(std::process::id());
    loop {
        match engine(session, name).await?.filter(|engine| !ours(engine)) {
            Some(engine) if engine.connected && Instant::now() >= deadline => {
                return Err(StateError::Busy {
                    name: name.into(),
                    host: engine.host,
                    process: engine.process,
                });
            }
            Some(engine) if engine.connected => tokio::time::sleep(LOOK_INTERVAL).await,
            Some(_) | None => return Ok(()),
        }
    }
}

/// Ends the sessions of that name, walsenders included, and waits until they are gone.
async fn end_sessions(session: &Session, name: &str, application_name: &str) -> Result<(), StateError> {
    let terminate = "\
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE application_name = $1 AND pid <> pg_catalog.pg_backend_pid() AND usename = current_user
   AND datname = pg_catalog.current_database()";
    let deadline = Instant::now() + ENDING_MAX;
    loop {
        let left = session.query(terminate, &[&application_name]).await?.len();
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(StateError::NotEnding {
                name: name.into(),
                sessions: left,
            });
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The first statement of every writing transaction: locks the generation's row. No row: another engine has taken
/// over. In a transaction with an older snapshot that shows as a serialization failure: nobody but a starting
/// engine updates the row, so that says it too.
pub fn guard_statement(name: &MigrationName, generation: Generation) -> String {
    format!(
        "SELECT FROM crossfade.generation WHERE migration = {} AND generation = {} FOR SHARE",
        literal(name.as_str()),
        generation.0
    )
}

/// Runs [`guard_statement`] in the running transaction.
///
/// # Errors
/// [`StateError::Superseded`]; the transaction must be rolled back.
pub async fn guard(
    session: &Session,
    name: &MigrationName,
    generation: Generation,
) -> Result<(), StateError> {
    let superseded = || StateError::Superseded {
        name: name.to_string(),
        generation: generation.0,
    };
    match session.query_opt(&guard_statement(name, generation), &[]).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(superseded()),
        Err(error) if error.class() == SqlClass::SerializationOrDeadlock => Err(superseded()),
        Err(error) => Err(error.into()),
    }
}

/// Says that the engine lives, and what it is at.
///
/// # Errors
/// As the server says.
pub async fn heartbeat(session: &Session, name: &str, progress: &str) -> Result<(), StateError> {
    let update = "UPDATE crossfade.engine SET heard_at = pg_catalog.clock_timestamp(), progress = $2
                   WHERE migration = $1";
    session.execute(update, &[&name, &progress]).await?;
    Ok(())
}
