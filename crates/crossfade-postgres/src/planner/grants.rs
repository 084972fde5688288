//! The privileges that a change takes, and which of them a role has.

use serde::Serialize;

use super::{PlanError, find};
use crate::change::{ChangeRequest, TypedName};
use crate::session::Session;

const GRANTS: &str = include_str!("grants.sql");

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
    let role = match role {
        Some(role) => role.to_owned(),
        None => session.query_one("SELECT current_user::text", &[]).await?.get(0),
    };
    let schemas = request.map_or(Vec::new(), schemas);
    let membership = match session.version_num() >= SET_SINCE {
        true => "SET",
        false => "MEMBER",
    };
    let rows = session
        .query(GRANTS, &[&role, &found.oid, &schemas, &membership])
        .await?;
    Ok(Grants {
        grants: rows
            .iter()
            .map(|row| Grant {
                statement: row.get(0),
                why: row.get(1),
                optional: row.get(2),
                held: row.get(3),
            })
            .collect(),
        role,
    })
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
