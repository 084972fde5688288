//! Verification from elsewhere: asked of the running engine through the state schema, and waited for there.

use crossfade_core::name::MigrationName;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state;

use crate::conclude::end;
use crate::ended::Ended;
use crate::failure::Failure;
use crate::operate::{MigrationStatus, Request, request, status};
use crate::report::Verification;

/// A verification that was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    name: MigrationName,
    /// By the server's clock: only a verification that begins later is an answer.
    since: String,
}

/// How far it is.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It has ended.
    Verified(Box<Verification>),
    /// Not yet; this is what its engine is at.
    Waiting(Box<MigrationStatus>),
    /// The engine has ended before it.
    EngineGone,
}

/// Asks for a comparison of all rows, and with `repair` for one more after rows that differ were repaired; `None` if no
/// engine is there to do it.
///
/// # Errors
/// As [`status`].
pub async fn ask(config: &ConnectConfig, name: &MigrationName, repair: bool) -> Result<Option<Asked>, Ended> {
    let since = now(config).await.map_err(end)?;
    let what = if repair { Request::Repair } else { Request::Verify };
    let taken = request(config, name, what).await?;
    let name = name.clone();
    Ok(taken.then_some(Asked { name, since }))
}

async fn now(config: &ConnectConfig) -> Result<String, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    Ok(state::server_time(&session).await?)
}

/// Looks for the result.
///
/// # Errors
/// As [`status`].
pub async fn look(config: &ConnectConfig, asked: &Asked) -> Result<Answer, Ended> {
    // First what the engine is at, so that a result of its last moment is not missed.
    let mut found = status(config, Some(&asked.name)).await?;
    if let Some(verification) = result(config, asked).await.map_err(end)? {
        return Ok(Answer::Verified(Box::new(verification)));
    }
    match found.pop() {
        Some(migration) if migration.engine.is_some() => Ok(Answer::Waiting(Box::new(migration))),
        Some(_) | None => Ok(Answer::EngineGone),
    }
}

async fn result(config: &ConnectConfig, asked: &Asked) -> Result<Option<Verification>, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await?;
    let found = state::last_verification(&session, asked.name.as_str(), Some(&asked.since)).await?;
    Ok(found.map(|stored| Verification::new(stored.direction, &stored.found, stored.unverified)))
}
