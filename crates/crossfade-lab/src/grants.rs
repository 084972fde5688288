//! What the engine's role is granted: `docs/grants.sql`, the script that users run, with its variables filled in.

use crate::sql::identifier;

const SCRIPT: &str = include_str!("../../../docs/grants.sql");

/// Who may do what on what; see the script.
#[derive(Clone, Copy, Debug)]
pub struct Grants<'a> {
    /// The role that the engine connects as.
    pub engine: &'a str,
    /// The database of the tables.
    pub database: &'a str,
    /// Their schema.
    pub schema: &'a str,
    /// Their owner.
    pub owner: &'a str,
}

impl Grants<'_> {
    /// The script, ready to be run by a superuser in the database.
    pub fn script(&self) -> String {
        [
            ("engine", self.engine),
            ("database", self.database),
            ("schema", self.schema),
            ("owner", self.owner),
        ]
        .into_iter()
        .fold(SCRIPT.to_owned(), |script, (variable, value)| {
            script.replace(&format!(":\"{variable}\""), &identifier(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_variable_is_left() {
        let script = Grants {
            engine: "engine",
            database: "shop",
            schema: "public",
            owner: "it's \"me\"",
        }
        .script();
        assert!(script.contains("GRANT \"it's \"\"me\"\"\" TO \"engine\";"));
        let statements = script.lines().filter(|line| !line.starts_with("--"));
        assert!(!statements.collect::<String>().contains(":\""), "{script}");
    }
}
