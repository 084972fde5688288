//! The end of a move, from anywhere that reaches both servers.

use crossfade_core::code::FailureCode;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::phase::Phase;
use crossfade_core::plan::SchemaSource;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::ident::{self, Ident};
use crossfade_postgres::moves::lockout;
use crossfade_postgres::planner::table_oid;
use crossfade_postgres::session::Session;
use crossfade_postgres::slot;
use crossfade_postgres::state::{self, TakeOver};

use super::begin::{Begun, begin};
use super::shared::{Shared, Side};
use super::{enter, prepare};
use crate::conclude::end;
use crate::ended::Ended;
use crate::failure::Failure;
use crate::hands::SLOT_RELEASE_MAX;

/// Removes every trace of a move that was not handed over, but for the audit trails: slot, publication and lockout, and the
/// target's tables if the move made them.
///
/// # Errors
/// [`Ended::NeedsOperator`] if it was handed over, and what the servers say.
pub async fn abort(from: &ConnectConfig, to: &ConnectConfig, name: &MigrationName) -> Result<Ended, Ended> {
    remove(from, to, name).await.map_err(end)?;
    Ok(Ended::Aborted)
}

async fn remove(from: &ConnectConfig, to: &ConnectConfig, name: &MigrationName) -> Result<(), Failure> {
    let Begun { shared, stored, home } = begin(from, to, name, TakeOver::Force).await?;
    if shared.leg > 0 || stored.phase >= Phase::Swapped {
        return Err(Failure::needs_operator(
            FailureCode::AlreadySwapped,
            format!("`{name}` has been handed over: there is nothing left to abort"),
            "Go back with `crossfade rollback`, or end the move with `crossfade complete`.",
        ));
    }
    unpublish(&shared, Direction::Forward).await?;
    unpublish(&shared, Direction::Back).await?;
    let destination = shared.destination()?;
    let made = destination.schema == SchemaSource::Dump
        && state::done_statements(&home, name.as_str())
            .await?
            .contains(&prepare::RESTORED);
    let session = shared.target.session(name).await?;
    shared.target.begin(&session, name).await?;
    if made {
        let tables: Vec<String> = destination.relations.iter().map(ident::table).collect();
        // Together, since they may refer to each other; and nothing that was not there with them.
        let drop = format!("DROP TABLE IF EXISTS {} CASCADE", tables.join(", "));
        session.batch_execute(&drop).await?;
    } else {
        for table in there(&shared, &session).await? {
            session.batch_execute(&lockout::remove(&table)).await?;
        }
    }
    state::forget_statements(&session, name.as_str()).await?;
    state::set_phase(&session, name.as_str(), Phase::Aborted).await?;
    shared.audit(&session, "aborted", None).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Those of the move's tables that nobody has dropped meanwhile.
async fn there(shared: &Shared, session: &Session) -> Result<Vec<TableName>, Failure> {
    let mut there = Vec::new();
    for table in &shared.destination()?.relations {
        if table_oid(session, table).await?.is_some() {
            there.push(table.clone());
        }
    }
    Ok(there)
}

/// Slot and publication of that direction, and the identities that it took.
async fn unpublish(shared: &Shared, direction: Direction) -> Result<(), Failure> {
    let side: &Side = match direction {
        Direction::Forward => &shared.source,
        Direction::Back => &shared.target,
    };
    let session = side.session(shared.name()).await?;
    slot::drop(&session, &shared.slot(direction), SLOT_RELEASE_MAX).await?;
    side.begin(&session, shared.name()).await?;
    let drop = format!(
        "DROP PUBLICATION IF EXISTS {}",
        Ident(&shared.publication(direction))
    );
    session.batch_execute(&drop).await?;
    let mut identities = Vec::new();
    for (table, sql) in prepare::restore_identities(shared) {
        if table_oid(&session, &table).await?.is_some() {
            identities.push(sql);
        }
    }
    shared.audit(&session, "unpublished", Some(&drop)).await?;
    session.batch_execute("COMMIT").await?;
    for sql in identities {
        enter::run_patiently(shared, side, &session, &sql).await?;
    }
    Ok(())
}

/// Ends a move that was handed over: slots and publications go, and the server that follows keeps its lockout, or with `drop`
/// loses its tables.
///
/// # Errors
/// As [`abort`]; a move that was not handed over has nothing to complete.
pub async fn complete(
    from: &ConnectConfig,
    to: &ConnectConfig,
    name: &MigrationName,
    drop: bool,
) -> Result<Ended, Ended> {
    let report = finish(from, to, name, drop).await.map_err(end)?;
    Ok(Ended::Done(Box::new(report)))
}

async fn finish(
    from: &ConnectConfig,
    to: &ConnectConfig,
    name: &MigrationName,
    drop: bool,
) -> Result<crate::report::Report, Failure> {
    // While its session lives, an engine that has lost its own does not come back.
    let Begun {
        shared,
        stored,
        home: _known,
    } = begin(from, to, name, TakeOver::Force).await?;
    if shared.leg == 0 && stored.phase < Phase::Swapped {
        return Err(Failure::stopped(
            FailureCode::NotHandedOver,
            format!(
                "`{name}` is {}: it has not been handed over",
                stored.phase.as_str()
            ),
            "`crossfade cutover` hands it over, `crossfade abort` gives up.",
        ));
    }
    let report = serde_json::from_str(&stored.report).unwrap_or_default();
    if stored.phase == Phase::Completed && !drop {
        // Its tables may be another move's by now.
        return Ok(report);
    }
    if drop && shared.is_copy_only() {
        return Err(Failure::stopped(
            FailureCode::NotHandedOver,
            format!("`{name}` is a copy, and nothing follows it that could be dropped"),
            "Leave --drop out; drop what you do not want by hand.",
        ));
    }
    enter::complete_hand_over(&shared).await?;
    complete_move(&shared, drop).await?;
    Ok(report)
}

/// Once it is decided which server has the tables that applications use.
pub(crate) async fn complete_move(shared: &Shared, drop: bool) -> Result<(), Failure> {
    let name = shared.name();
    let side = match shared.is_copy_only() {
        true => &shared.target,
        false => shared.leader(),
    };
    enter::validate(shared, side).await?;
    let session = side.session(name).await?;
    for table in there(shared, &session).await? {
        let remove = lockout::remove(&table);
        enter::run_patiently(shared, side, &session, &remove).await?;
    }
    unpublish(shared, Direction::Forward).await?;
    unpublish(shared, Direction::Back).await?;
    if drop {
        let side = shared.follower();
        let session = side.session(name).await?;
        side.begin(&session, name).await?;
        let tables: Vec<String> = shared.destination()?.relations.iter().map(ident::table).collect();
        session
            .batch_execute(&format!("DROP TABLE IF EXISTS {}", tables.join(", ")))
            .await?;
        shared
            .audit(&session, "dropped the tables that follow", None)
            .await?;
        session.batch_execute("COMMIT").await?;
    }
    let home = shared.target.session(name).await?;
    shared.target.begin(&home, name).await?;
    state::set_phase(&home, name.as_str(), Phase::Completed).await?;
    shared.audit(&home, "completed", None).await?;
    Ok(home.batch_execute("COMMIT").await?)
}
