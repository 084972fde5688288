//! Whether a plan still describes the table it was made for, and its digest.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::{Plan, ReplicaIdentity, Source, Step};
use sha2::{Digest as _, Sha256};

use crate::catalog::{self, CatalogError, Definition, Difference};
use crate::ident;
use crate::session::{Session, SqlError};

/// Why a plan could not be compared with its table.
#[derive(Debug, thiserror::Error)]
pub enum ValidityError {
    /// The server refused, or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The table could not be described.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The plan holds no definition of this release.
    #[error("understand the definition of {table} in the plan")]
    Document {
        /// The table.
        table: String,
        /// Where it went wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Compares each source with what its plan says of it. What a started migration has done to the source itself
/// (publication, replica identity) is not a difference. Empty: the plan still holds.
///
/// # Errors
/// When the comparison could not be made.
pub async fn still_valid(session: &Session, plan: &Plan) -> Result<Vec<Difference>, ValidityError> {
    let mut differences = Vec::new();
    for step in &plan.steps {
        let Step::CopyIntoTables(step) = step;
        differences.extend(compare(session, &step.source, &plan.name).await?);
    }
    Ok(differences)
}

async fn compare(
    session: &Session,
    source: &Source,
    name: &MigrationName,
) -> Result<Vec<Difference>, ValidityError> {
    let planned: Definition =
        serde_json::from_str(&source.definition).map_err(|error| ValidityError::Document {
            table: source.name.to_string(),
            source: error,
        })?;
    let found = session
        .query_one("SELECT to_regclass($1)::oid", &[&ident::table(&source.name)])
        .await?
        .get::<_, Option<u32>>(0);
    if found != Some(source.oid) {
        return Ok(vec![Difference {
            path: "oid".to_owned(),
            expected: Some(source.oid.to_string()),
            actual: found.map(|oid| oid.to_string()),
        }]);
    }
    let today = catalog::describe(session.client(), source.oid).await?;
    Ok(catalog::compare(&planned, &as_planned(today, source, name)))
}

/// Takes off a description what the migration itself did to its source: its publications, and the replica
/// identity that it set.
pub fn as_planned(today: Definition, source: &Source, name: &MigrationName) -> Definition {
    let mut today = without_publications(today, name);
    match &source.identity_to_restore {
        Some(identity) if today.table.replica_identity == ReplicaIdentity::Full => {
            today.table.replica_identity = identity.clone();
        }
        Some(_) | None => {}
    }
    today
}

/// Takes the migration's own publications off.
pub(super) fn without_publications(today: Definition, name: &MigrationName) -> Definition {
    today
        .without_publication(&name.publication())
        .without_publication(&name.back_publication())
}

/// A plan's fingerprint: the same if and only if the plans are. SHA-256 of its JSON, whose fields and lists have
/// one order.
pub fn digest(plan: &Plan) -> String {
    // Strings, numbers and lists of them only: nothing that could fail.
    let text = serde_json::to_vec(plan).unwrap_or_default();
    let bytes = Sha256::digest(&text);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
