//! The privileges that a change takes, and which of them a role has; of these what a move takes, too.

use serde::Serialize;
use tokio_postgres::Row;

use super::{PlanError, find};
use crate::change::{ChangeRequest, TypedName};
use crate::session::{Session, SqlError};

const OF_ROLE: &str = include_str!("grants/role.sql");
const OF_TABLE: &str = include_str!("grants.sql");

/// Whether a membership lets its member act as the role is told apart since.
const SET_SINCE: u32 = 160_000;

/// One privilege.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The statement that gives it.
    pub statement: String,
    /// What it is for.
    pub why: String,
    /// The change works without it, but not as well.
    pub optional: bool,
    /// The role has it.
    pub held: bool,
}

/// What a role needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grants {
    /// The role.
    pub role: String,
    /// In the order in which they are given.
    pub grants: Vec<Grant>,
}

/// What `role` needs to change a table, by `request` if there is one yet; without a role, our own. Changes nothing, and takes no privilege but to look at the
/// catalogs.
///
/// # Errors
/// [`PlanError::Refused`] when there is no such table, or what went wrong on the way.
pub async fn grants(
    session: &Session,
    table: &TypedName,
    request: Option<&ChangeRequest>,
    role: Option<&str>,
) -> Result<Grants, PlanError> {
    session.batch_execute("BEGIN").await?;
    let search_path = request.and_then(|request| request.search_path.as_deref());
    let found = find(session, table, search_path).await;
    session.batch_execute("ROLLBACK").await?;
    let found = found?;
    let role = or_ours(session, role).await?;
    let schemas = request.map_or(Vec::new(), schemas);
    let mut grants = of_role(
        session,
        &role,
        "the schemas of its state, of the new table until the swap and of the old one behind it, and the publication.",
    )
    .await?;
    let rows = session
        .query(OF_TABLE, &[&role, &found.oid, &schemas, &membership(session)])
        .await?;
    grants.extend(rows.iter().map(placed));
    Ok(Grants {
        grants: in_order(grants),
        role,
    })
}

/// That role, or the one that connects.
pub(crate) async fn or_ours(session: &Session, role: Option<&str>) -> Result<String, SqlError> {
    match role {
        Some(role) => Ok(role.to_owned()),
        None => Ok(session.query_one("SELECT current_user::text", &[]).await?.get(0)),
    }
}

/// What a role needs on any server, each with its place; `makes` ends the sentence that says what for.
pub(crate) async fn of_role(
    session: &Session,
    role: &str,
    makes: &str,
) -> Result<Vec<(i32, Grant)>, SqlError> {
    let rows = session.query(OF_ROLE, &[&role, &makes]).await?;
    Ok(rows.iter().map(placed).collect())
}

/// What membership in an owner must allow.
pub(crate) fn membership(session: &Session) -> &'static str {
    match session.version_num() >= SET_SINCE {
        true => "SET",
        false => "MEMBER",
    }
}

/// A grant from the first columns of its row: place, statement, why, optional, held.
pub(crate) fn placed(row: &Row) -> (i32, Grant) {
    let grant = Grant {
        statement: row.get(1),
        why: row.get(2),
        optional: row.get(3),
        held: row.get(4),
    };
    (row.get(0), grant)
}

/// As they are given one after the other.
pub(crate) fn in_order(mut grants: Vec<(i32, Grant)>) -> Vec<Grant> {
    grants.sort_by_key(|(place, _)| *place);
    grants.into_iter().map(|(_, grant)| grant).collect()
}

/// Of the new tables and the view, where they are named.
fn schemas(request: &ChangeRequest) -> Vec<&str> {
    let tables = request.tables.iter().map(|table| &table.name);
    let old_shape = request.way_back.old_shape.iter();
    let view = old_shape.filter_map(|shape| shape.view.as_ref().map(|(name, _)| name));
    tables
        .chain(view)
        .filter_map(|name| name.schema.as_deref())
        .collect()
}
