//! Names of things in the database. Unquoted here; the shell quotes them where they meet SQL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A table's (or index's, or sequence's) schema and name, exactly as the catalogs hold them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    /// The schema.
    pub schema: String,
    /// The name within it.
    pub name: String,
}

impl TableName {
    /// Both parts.
    pub fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        TableName {
            schema: schema.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}

/// A migration's name: 1 to 40 characters of `a-z`, `0-9` and `_`, starting with a letter. Slot, publication
/// and schemas are named after it, with our own endings: a name that ends like one of these would be another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MigrationName(String);

/// What is appended to a migration's name for the way back and for the retired table.
const ENDINGS: [&str; 2] = ["_back", "_retired"];

impl MigrationName {
    /// The migration whose publication, there or back, has that name.
    pub fn of_publication(publication: &str) -> Option<MigrationName> {
        let name = publication.strip_prefix("crossfade_")?;
        name.strip_suffix("_back").unwrap_or(name).parse().ok()
    }

    /// The longest name, in bytes: leaves room for our prefix and suffixes within PostgreSQL's 63.
    pub const MAX_LEN: usize = 40;

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the state schema knows a table of a move by: the move's name and the table's number in its plan.
    pub fn of_table(&self, number: usize) -> MigrationName {
        MigrationName(format!("{}.{number}", self.0))
    }

    /// The schema in which the shadow lives until the swap.
    pub fn schema(&self) -> String {
        format!("crossfade_{}", self.0)
    }

    /// The schema to which the retired table moves at the swap.
    pub fn retired_schema(&self) -> String {
        format!("crossfade_{}_retired", self.0)
    }

    /// The logical replication slot.
    pub fn slot(&self) -> String {
        format!("crossfade_{}", self.0)
    }

    /// The publication.
    pub fn publication(&self) -> String {
        format!("crossfade_{}", self.0)
    }

    /// The slot of the reverse stream.
    pub fn back_slot(&self) -> String {
        format!("crossfade_{}_back", self.0)
    }

    /// The publication of the new table, for the reverse stream.
    pub fn back_publication(&self) -> String {
        format!("crossfade_{}_back", self.0)
    }

    /// `application_name` of every session of the engine.
    pub fn application_name(&self) -> String {
        format!("crossfade {}", self.0)
    }
}

impl fmt::Display for MigrationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that cannot name a migration.
#[derive(Debug, thiserror::Error)]
#[error(
    "use `{text}` as a migration's name: 1 to 40 of a-z, 0-9 and _, starting with a letter, not ending in _back or _retired"
)]
pub struct InvalidMigrationName {
    /// What was given.
    pub text: String,
}

impl FromStr for MigrationName {
    type Err = InvalidMigrationName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        let rest = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        let ours = ENDINGS.iter().any(|ending| text.ends_with(ending));
        if first && rest && !ours && text.len() <= Self::MAX_LEN {
            Ok(MigrationName(text.to_owned()))
        } else {
            Err(InvalidMigrationName {
                text: text.to_owned(),
            })
        }
    }
}

impl From<MigrationName> for String {
    fn from(name: MigrationName) -> Self {
        name.0
    }
}

impl TryFrom<String> for MigrationName {
    type Error = InvalidMigrationName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_and_fit_the_servers_limit() {
        let longest = "a".repeat(MigrationName::MAX_LEN);
        let name: MigrationName = longest.parse().unwrap();
        assert!(name.retired_schema().len() <= 63);
        for bad in [
            "",
            "1a",
            "A",
            "a-b",
            "a b",
            "é",
            "a_back",
            "a_retired",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<MigrationName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_publication_tells_its_migration() {
        let name: MigrationName = "orders".parse().unwrap();
        for publication in [name.publication(), name.back_publication()] {
            assert_eq!(MigrationName::of_publication(&publication), Some(name.clone()));
        }
        assert_eq!(MigrationName::of_publication("orders"), None);
    }
}
