//! The plan's list of statements, in the order in which they run.
//!
//! What the shadow takes is rendered by [`crate::ddl`], what copy and apply send by [`crate::copy`] and
//! [`crate::apply`]; here is the rest (publication and replica identity), and the order.

use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{ReplicaIdentity, Source, Stage, Statement, Target};

use crate::apply;
use crate::apply::fetch::FetchStatements;
use crate::catalog::Definition;
use crate::change::limits::show_milliseconds;
use crate::copy;
use crate::ddl::{self, DdlContext};
use crate::ident::{self, Ident};

/// What the statements are made from.
pub(super) struct Pieces<'a> {
    pub(super) name: &'a MigrationName,
    pub(super) source: &'a Source,
    pub(super) today: &'a Definition,
    pub(super) target: &'a Target,
    pub(super) desired: &'a Definition,
    pub(super) role: &'a str,
    pub(super) limits: &'a Limits,
}

/// All statements.
pub(super) fn list(pieces: &Pieces<'_>) -> Vec<Statement> {
    let context = pieces.context();
    let (today, desired) = (pieces.today, pieces.desired);
    [
        pieces.prepare(),
        ddl::shadow(&context, desired),
        pieces.copy(),
        ddl::key_index(&context, desired),
        pieces.apply(),
        ddl::indexes(&context, desired),
        ddl::analyze(&context, desired),
        ddl::locks(&context, today, desired),
        ddl::swap(&context, today, desired),
        ddl::after_swap(&context, desired),
        pieces.after_swap(),
        pieces.complete(),
        ddl::complete(&context),
        ddl::drop(&context, today),
        pieces.abort(),
        ddl::abort(&context),
    ]
    .concat()
}

impl Pieces<'_> {
    fn context(&self) -> DdlContext {
        let key = self.target.key.iter().flatten();
        DdlContext {
            shadow_schema: self.name.schema(),
            retired_schema: self.name.retired_schema(),
            role: self.role.to_owned(),
            key: key
                .map(|position| self.target.columns[*position].name.clone())
                .collect(),
            hold_budget_ms: self.limits.hold_budget_ms,
        }
    }

    /// The publication before the slot (R3), the identity before anything is published under it.
    fn prepare(&self) -> Vec<Statement> {
        let table = ident::table(&self.source.name);
        let publication = format!(
            "CREATE PUBLICATION {} FOR TABLE ONLY {table} WITH (publish = 'insert, update, delete, truncate')",
            Ident(&self.name.publication()),
        );
        let identity = self.source.identity_to_restore.as_ref().map(|_| {
            let held = format!(
                "a moment, once it is granted; it waits no longer than lock_timeout ({})",
                show_milliseconds(self.limits.lock_timeout_ms)
            );
            let sql = set_identity(&self.source.name, &ReplicaIdentity::Full);
            self.on_source(Stage::Prepare, sql, "ACCESS EXCLUSIVE", &held)
        });
        identity
            .into_iter()
            .chain([self.on_source(Stage::Prepare, publication, "SHARE UPDATE EXCLUSIVE", "a moment")])
            .collect()
    }

    fn copy(&self) -> Vec<Statement> {
        let empty = on_nothing(Stage::Copy, copy::empty(self.target));
        let reads = |sql| {
            let held = "until the snapshot's copy is done";
            self.on_source(Stage::Copy, sql, "ACCESS SHARE", held)
        };
        let lock = reads(copy::lock_for_reading(self.source));
        let copy = reads(copy::copy_template(self.source, self.target));
        vec![empty, lock, copy]
    }

    fn apply(&self) -> Vec<Statement> {
        let templates = apply::apply_templates(self.source, self.target).into_iter();
        let templates = templates.map(|sql| on_nothing(Stage::Apply, sql));
        templates.chain(self.fetch()).collect()
    }

    /// Rows of the source whose change did not carry them whole.
    fn fetch(&self) -> Vec<Statement> {
        let Some(fetch) = FetchStatements::render(self.source) else {
            return Vec::new();
        };
        let on_source = |sql| self.on_source(Stage::Apply, sql, "ACCESS SHARE", "a moment");
        vec![
            on_source(fetch.create_staging),
            on_nothing(Stage::Apply, fetch.copy_keys),
            on_source(fetch.copy_rows),
        ]
    }

    /// The retired table goes back to the identity that it had.
    fn after_swap(&self) -> Vec<Statement> {
        let retired = TableName::new(self.name.retired_schema(), self.source.name.name.as_str());
        let identity = self.source.identity_to_restore.iter();
        identity
            .map(|identity| Statement {
                stage: Stage::AfterSwap,
                sql: set_identity(&retired, identity),
                locks: vec![format!("ACCESS EXCLUSIVE on {retired}")],
                held: "a moment".to_owned(),
            })
            .collect()
    }

    fn complete(&self) -> Vec<Statement> {
        vec![on_nothing(Stage::Complete, self.drop_publication())]
    }

    /// Without the publication an update needs no identity, so it goes first.
    fn abort(&self) -> Vec<Statement> {
        let identity = self.source.identity_to_restore.iter().map(|identity| {
            let sql = set_identity(&self.source.name, identity);
            self.on_source(Stage::Abort, sql, "ACCESS EXCLUSIVE", "a moment")
        });
        std::iter::once(on_nothing(Stage::Abort, self.drop_publication()))
            .chain(identity)
            .collect()
    }

    fn drop_publication(&self) -> String {
        format!("DROP PUBLICATION IF EXISTS {}", Ident(&self.name.publication()))
    }

    fn on_source(&self, stage: Stage, sql: String, lock: &str, held: &str) -> Statement {
        Statement {
            stage,
            sql,
            locks: vec![format!("{lock} on {}", self.source.name)],
            held: held.to_owned(),
        }
    }
}

/// A statement that locks nothing of the user's.
fn on_nothing(stage: Stage, sql: String) -> Statement {
    Statement {
        stage,
        sql,
        locks: Vec::new(),
        held: String::new(),
    }
}

fn set_identity(table: &TableName, identity: &ReplicaIdentity) -> String {
    let identity = match identity {
        ReplicaIdentity::Default => "DEFAULT".to_owned(),
        ReplicaIdentity::Index { name } => format!("USING INDEX {}", Ident(name)),
        ReplicaIdentity::Full => "FULL".to_owned(),
        ReplicaIdentity::Nothing => "NOTHING".to_owned(),
    };
    format!(
        "ALTER TABLE ONLY {} REPLICA IDENTITY {identity}",
        ident::table(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_set_by_name() {
        let table = TableName::new("s", "T");
        let index = ReplicaIdentity::Index {
            name: "t\"i".to_owned(),
        };
        let all = [
            index,
            ReplicaIdentity::Default,
            ReplicaIdentity::Full,
            ReplicaIdentity::Nothing,
        ];
        let lines: Vec<String> = all
            .iter()
            .map(|identity| set_identity(&table, identity))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY USING INDEX "t""i"
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY DEFAULT
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY FULL
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY NOTHING
        "#);
    }
}
