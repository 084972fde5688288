//! The beginning of an engine: takes the move over on both servers, and finds out which of them leads.

use crossfade_core::code::{FailureCode, RefusalCode};
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::ServerIdentity;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Mark, Stored, TakeOver};

use super::shared::{Shared, Side};
use crate::context::host;
use crate::failure::Failure;

/// A move that was taken over.
pub(crate) struct Begun {
    pub(crate) shared: Shared,
    pub(crate) stored: Stored,
    /// The session that the state schema knows the engine by, on the target.
    pub(crate) home: Session,
}

/// Takes it over: from here on nothing that an earlier engine sent can commit on either server (R24).
pub(crate) async fn begin(
    from: &ConnectConfig,
    to: &ConnectConfig,
    name: &MigrationName,
    take_over: TakeOver,
) -> Result<Begun, Failure> {
    let application = name.application_name();
    let (from, to) = (
        from.clone().with_application_name(&application),
        to.clone().with_application_name(&application),
    );
    let home = Session::open(&to, &SessionOptions::default()).await?;
    let stored = find(&home, name).await?;
    let Some(destination) = stored.plan.destination.clone() else {
        return Err(Failure::Refused {
            code: RefusalCode::NameTaken,
            object: format!("migration {name}"),
            reason: "It is a change of tables in their place, and no move.".to_owned(),
            remedy: "Go on with it by `crossfade continue`, or choose another --name.",
        });
    };
    let (of_source, of_target) = (stored.plan.server.clone(), destination.server.clone());
    let (from, to) = (
        from.to_cluster(of_source.system_identifier),
        to.to_cluster(of_target.system_identifier),
    );
    let target = take(&home, &to, name, &of_target, &destination.to_place, take_over).await?;
    let there = Session::open(&from, &SessionOptions::default()).await?;
    state::ensure(&there).await?;
    // Whoever was the engine there has been superseded on the target already.
    let source = take(
        &there,
        &from,
        name,
        &of_source,
        &destination.from_place,
        TakeOver::Force,
    )
    .await?;
    let tables = stored.plan.steps.len();
    state::raise_generation_of_tables(&home, name, tables, target.generation).await?;
    state::raise_generation_of_tables(&there, name, tables, source.generation).await?;
    // Nobody else changes it any more.
    let stored = find(&home, name).await?;
    if stored.phase == Phase::Planned {
        // Of a former move of that name, which may have had another server.
        state::forget_tables(&there, name.as_str()).await?;
        state::forget_tables(&home, name.as_str()).await?;
    }
    let leg = leg(name, &there, &home).await?;
    let shared = Shared {
        plan: stored.plan.clone(),
        source,
        target,
        leg,
    };
    let line = format!(
        "engine began, generation {}, leg {}",
        shared.target.generation.0, shared.leg
    );
    shared.audit(&home, &line, None).await?;
    Ok(Begun { shared, stored, home })
}

/// The last hand-over that was decided: written down on the server that was left, and then on the one that was entered.
async fn leg(name: &MigrationName, there: &Session, home: &Session) -> Result<i32, Failure> {
    let name = name.as_str();
    let (mut left, mut entered) = (0, 0);
    for session in [there, home] {
        left = left.max(state::marked(session, name, Mark::Left).await?.unwrap_or(0));
        entered = entered.max(state::marked(session, name, Mark::Entered).await?.unwrap_or(0));
    }
    match entered > left {
        false => Ok(left),
        true => Err(Failure::needs_operator(
            FailureCode::SwapUnresolved,
            format!(
                "leg {entered} was entered, and the server that was left does not know of it: it has lost its last \
                 transactions (a failover, or a restore)"
            ),
            "Both servers may take writes now. Shut applications out of the one that was left, and judge which rows are \
             missing there; the one that was entered is complete.",
        )),
    }
}

async fn find(home: &Session, name: &MigrationName) -> Result<Stored, Failure> {
    let unknown = || state::StateError::Unknown {
        name: name.to_string(),
    };
    if !state::exists(home).await? {
        return Err(unknown().into());
    }
    state::ensure(home).await?;
    let stored = state::load(home, name.as_str()).await?.ok_or_else(unknown)?;
    if stored.phase == Phase::Aborted {
        return Err(Failure::Refused {
            code: RefusalCode::Aborted,
            object: format!("migration {name}"),
            reason: "It was aborted.".to_owned(),
            remedy: "Start it anew with `crossfade move`.",
        });
    }
    Ok(stored)
}

async fn take(
    session: &Session,
    config: &ConnectConfig,
    name: &MigrationName,
    server: &ServerIdentity,
    place: &str,
    take_over: TakeOver,
) -> Result<Side, Failure> {
    let found = session.system_identifier();
    if found != server.system_identifier {
        return Err(Failure::needs_operator(
            FailureCode::OtherServer,
            format!(
                "the system identifier at {config} is {found} and not {}",
                server.system_identifier
            ),
            "Give --from and --to the servers that the move began with.",
        ));
    }
    let database: String = session
        .query_one("SELECT pg_catalog.current_database()::text", &[])
        .await?
        .get(0);
    if database != server.database {
        return Err(Failure::needs_operator(
            FailureCode::OtherServer,
            format!(
                "the database at {config} is {database} and not {}",
                server.database
            ),
            "Give --from and --to the databases that the move began with.",
        ));
    }
    let application = name.application_name();
    let generation =
        state::raise_generation(session, name.as_str(), &application, &host(), take_over).await?;
    Ok(Side {
        config: config.clone(),
        server: server.clone(),
        place: place.to_owned(),
        generation,
    })
}
