//! Holds the new table against the plan, before the swap is committed.

use crossfade_core::plan::Target;

use super::{CatalogError, Definition, Difference, compare, describe};
use crate::session::{Session, SqlError};

/// Why the catalogs could not be held against the plan.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// They could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The server refused or the connection broke.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The plan's document has another form.
    #[error("understand the definition in the plan: it was made by another release")]
    Document(#[source] serde_json::Error),
}

/// How the table that now has the target's name differs from the plan. Its foreign keys are not validated yet.
///
/// # Errors
/// See [`CheckError`].
pub async fn target_differences(session: &Session, target: &Target) -> Result<Vec<Difference>, CheckError> {
    let desired: Definition = serde_json::from_str(&target.definition).map_err(CheckError::Document)?;
    let desired = desired.with_fks_unvalidated();
    let query = "SELECT c.oid FROM pg_catalog.pg_class AS c
                   JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1::text AND c.relname = $2::text";
    let row = session
        .query_opt(query, &[&target.name.schema, &target.name.name])
        .await?;
    let oid = row
        .map(|row| row.get::<_, u32>(0))
        .ok_or(CatalogError::Missing { oid: 0 })?;
    let actual = describe(session.client(), oid).await?.with_fks_unvalidated();
    Ok(compare(&desired, &actual))
}

/// For messages: the first few, in words.
pub fn in_words(differences: &[Difference]) -> String {
    let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let shown: Vec<String> = differences
        .iter()
        .take(5)
        .map(|difference| {
            format!(
                "{}: {} instead of {}",
                difference.path,
                word(&difference.actual),
                word(&difference.expected)
            )
        })
        .collect();
    match differences.len().saturating_sub(shown.len()) {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_said_in_words() {
        let difference = Difference {
            path: "columns.a".into(),
            expected: Some("int".into()),
            actual: None,
        };
        assert_eq!(
            in_words(std::slice::from_ref(&difference)),
            "columns.a: nothing instead of int"
        );
        assert!(in_words(&vec![difference; 7]).ends_with("; and 2 more"));
    }
}
