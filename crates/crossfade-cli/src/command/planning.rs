//! From what was asked to a plan: one session that changes nothing, or the reasons why not.

use std::path::Path;

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::operate::{self, MigrationStatus};
use crossfade_core::code::RefusalCode;
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::{Plan, SchemaSource};
use crossfade_core::refusal::Refusal;
use crossfade_postgres::catalog::Difference;
use crossfade_postgres::change::{ChangeRequest, TypedName};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::moves::plan::{self as moves, MoveRequest, Side};
use crossfade_postgres::moves::privileges;
use crossfade_postgres::moves::relations::Selection;
use crossfade_postgres::planner::{self, Grants, PlanError, Planned, ValidityError};
use crossfade_postgres::preflight::server::{self, Findings, Purpose};
use crossfade_postgres::session::{Backend, Session, SessionOptions};
use crossfade_postgres::state::{self, Stored};

use crate::failure::Failure;

/// Plans a change.
pub(super) async fn plan(
    config: &ConnectConfig,
    request: &ChangeRequest,
    name: &MigrationName,
) -> Result<Planned, Failure> {
    let session = unpooled(config).await?;
    let planned = planner::plan(&session, request, name).await;
    planned.map_err(|error| of_planning(Some(name), error))
}

/// Plans a move.
pub(super) async fn plan_move(
    (from, to): (&ConnectConfig, &ConnectConfig),
    request: &MoveRequest,
    name: &MigrationName,
) -> Result<Plan, Failure> {
    let (source, target) = (unpooled(from).await?, unpooled(to).await?);
    let planned = plan_between((&source, from), (&target, to), request, name).await;
    planned.map_err(|error| of_planning(Some(name), error))
}

async fn plan_between(
    (source, from): (&Session, &ConnectConfig),
    (target, to): (&Session, &ConnectConfig),
    request: &MoveRequest,
    name: &MigrationName,
) -> Result<Plan, PlanError> {
    let side = |session, config| Side {
        session,
        place: place(config),
    };
    moves::plan(&side(source, from), &side(target, to), request, name).await
}

/// A server for people.
pub(super) fn place(config: &ConnectConfig) -> String {
    let endpoints: Vec<String> = config.endpoints.iter().map(ToString::to_string).collect();
    format!("{}/{}", endpoints.join(","), config.database)
}

/// A change file to start from.
pub(super) async fn template(config: &ConnectConfig, table: &str) -> Result<String, Failure> {
    let table: TypedName = table.parse().map_err(Failure::usage)?;
    let session = open(config).await?;
    let text = planner::template(&session, &table).await;
    text.map_err(|error| of_planning(None, error))
}

/// What stands in the way of any change, or of this one; and what is good to know.
pub(super) async fn check(
    config: &ConnectConfig,
    change: Option<(&ChangeRequest, &MigrationName)>,
) -> Result<(Backend, Findings), Failure> {
    let session = unpooled(config).await?;
    let looked = server::look(&session, Purpose::Change).await;
    let mut findings = looked.map_err(Failure::no_access)?;
    if let Some((request, name)) = change {
        match planner::plan(&session, request, name).await {
            Ok(planned) => add(&mut findings.notices, planned.plan.notices, |notice| notice.code),
            Err(PlanError::Refused(refusals)) => {
                add(&mut findings.refusals, refusals, |refusal| refusal.code);
            }
            Err(error) => return Err(of_planning(Some(name), error)),
        }
    }
    Ok((session.backend().clone(), findings))
}

/// What stands in the way of any move between two servers, or of this one; and what is good to know.
pub(super) async fn check_move(
    (from, to): (&ConnectConfig, &ConnectConfig),
    request: Option<&MoveRequest>,
    pg_dump: Option<&Path>,
    name: &MigrationName,
) -> Result<MoveFindings, Failure> {
    let (source, target) = (unpooled(from).await?, unpooled(to).await?);
    let looked = moves::look(&source, &target, pg_dump).await;
    let looked = looked.map_err(|error| of_planning(None, error))?;
    let mut tables = Findings {
        refusals: looked.both,
        notices: Vec::new(),
    };
    if let Some(request) = request {
        match plan_between((&source, from), (&target, to), request, name).await {
            Ok(plan) => tables.notices = plan.notices,
            Err(PlanError::Refused(refusals)) => tables.refusals = refusals,
            Err(error) => return Err(of_planning(Some(name), error)),
        }
    }
    // A plan is refused for what was found of the servers, too.
    let of_servers = [&looked.source, &looked.target];
    let known = |refusal: &Refusal| of_servers.iter().any(|one| one.refusals.contains(refusal));
    tables.refusals.retain(|refusal| !known(refusal));
    Ok(MoveFindings {
        source: (source.backend().clone(), looked.source),
        target: (target.backend().clone(), looked.target),
        tables,
    })
}

/// Of the two servers of a move, and of its tables.
pub(super) struct MoveFindings {
    pub(super) source: (Backend, Findings),
    pub(super) target: (Backend, Findings),
    pub(super) tables: Findings,
}

/// What was found of the change goes before what was found of any.
fn add<T, C: PartialEq>(findings: &mut Vec<T>, of_change: Vec<T>, code: impl Fn(&T) -> C) {
    findings.retain(|one| of_change.iter().all(|other| code(one) != code(other)));
    let general = std::mem::replace(findings, of_change);
    findings.extend(general);
}

/// What a role needs for a change.
pub(super) async fn grants(
    config: &ConnectConfig,
    table: &TypedName,
    request: Option<&ChangeRequest>,
    role: Option<&str>,
) -> Result<Grants, Failure> {
    let session = open(config).await?;
    let grants = planner::grants(&session, table, request, role).await;
    grants.map_err(|error| of_planning(None, error))
}

/// What a role needs for a move, on the source and on the target.
pub(super) async fn grants_of_move(
    (from, to): (&ConnectConfig, &ConnectConfig),
    what: (&Selection, SchemaSource),
    role: Option<&str>,
) -> Result<[Grants; 2], Failure> {
    let (source, target) = (open(from).await?, open(to).await?);
    let grants = privileges::grants(&source, &target, what, role).await;
    grants.map_err(Failure::no_access)
}

/// The plan of the migration of that name, if `change` goes on with it.
pub(super) async fn stored(
    config: &ConnectConfig,
    name: &MigrationName,
    change: &str,
) -> Result<Option<Plan>, Failure> {
    let session = open(config).await?;
    let stored = match state::exists(&session).await.map_err(Failure::no_access)? {
        true => state::load(&session, name.as_str())
            .await
            .map_err(Failure::no_access)?,
        false => None,
    };
    let going_on = stored.filter(|stored| stored.phase != Phase::Aborted && goes_on(stored, change));
    Ok(going_on.map(|stored| stored.plan))
}

/// Of those that have ended only the same change: a complete one stays complete, one that was rolled back begins again.
/// To any other change the name is free.
fn goes_on(stored: &Stored, change: &str) -> bool {
    !stored.phase.is_final() || stored.plan.change == change
}

/// The name belongs to a migration that was begun with another change.
pub(super) fn other_change(name: &MigrationName) -> Failure {
    let refusal = Refusal {
        code: RefusalCode::NameTaken,
        object: format!("migration {name}"),
        message: "It was begun with another change.".to_owned(),
        remedy: format!("Choose another --name, or go on with `crossfade continue {name}`."),
    };
    refused(Some(name), vec![refusal])
}

async fn open(config: &ConnectConfig) -> Result<Session, Failure> {
    let session = Session::open(config, &SessionOptions::default()).await;
    session.map_err(Failure::no_session)
}

/// A session of our own, and not a pooler's.
async fn unpooled(config: &ConnectConfig) -> Result<Session, Failure> {
    let session = open(config).await?;
    session.refuse_pooler().await.map_err(Failure::no_session)?;
    Ok(session)
}

fn of_planning(name: Option<&MigrationName>, error: PlanError) -> Failure {
    match error {
        PlanError::Refused(refusals) => refused(name, refusals),
        PlanError::Sql(_) | PlanError::Catalog(_) | PlanError::Facts(_) | PlanError::Document(_) => {
            Failure::no_access(error)
        }
    }
}

fn refused(name: Option<&MigrationName>, refusals: Vec<Refusal>) -> Failure {
    Failure::Engine {
        name: name.cloned(),
        ended: Ended::Refused(refusals),
    }
}

/// Refuses a plan whose table is no longer the one that was planned. A migration that was begun with it is
/// compared by the engine.
pub(super) async fn still_valid(config: &ConnectConfig, plan: &Plan) -> Result<(), Failure> {
    let stored = operate::status(config, None).await;
    let stored = stored.map_err(|ended| Failure::Engine {
        name: Some(plan.name.clone()),
        ended,
    })?;
    let is_begun =
        |migration: &MigrationStatus| migration.name == plan.name && migration.phase != Phase::Aborted;
    if stored.iter().any(is_begun) {
        return Ok(());
    }
    let session = open(config).await?;
    match planner::still_valid(&session, plan).await {
        Ok(differences) if differences.is_empty() => Ok(()),
        Ok(differences) => Err(refused(
            Some(&plan.name),
            differences.iter().map(|found| outdated(plan, found)).collect(),
        )),
        Err(error @ ValidityError::Document { .. }) => Err(Failure::usage(error)),
        Err(error @ (ValidityError::Sql(_) | ValidityError::Catalog(_))) => Err(Failure::no_access(error)),
    }
}

fn outdated(plan: &Plan, found: &Difference) -> Refusal {
    Refusal {
        code: RefusalCode::PlanOutdated,
        object: format!("plan {}", plan.name),
        message: format!("The table is no longer the one that was planned: {found}."),
        remedy: "Make the plan again with `crossfade plan --out`, and read it.".to_owned(),
    }
}
