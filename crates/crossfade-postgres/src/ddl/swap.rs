//! The cutover transaction: the locks (R27), and the swap in the order that works (R30).
//!
//! Texts that name the table were deparsed while the source had its name; they run after the move, when the
//! new table has it.

use std::collections::BTreeSet;

use crossfade_core::name::TableName;
use crossfade_core::plan::{Stage, Statement};

use crate::catalog::{Definition, Fires, ForeignKey, Identity, Owned, Sequence, Trigger};
use crate::ddl::render::{self, GrantTarget};
use crate::ddl::shadow::{given_by, late_comments, late_constraints};
use crate::ddl::{DdlContext, KEY_INDEX, Way, index, lock};
use crate::ident::{self, Ident};

/// Stages `LockTarget`, `Lock` and `LockSequences`. First the shadow, in a mode that does not stop our own applier. Tables:
/// one `LOCK` a statement: the source, then the tables at the other end of its foreign keys, by name. Then the source's
/// sequences.
///
/// The source comes first because that is how applications go: they write a row, and its foreign keys are looked up
/// behind it. Whoever holds a parent then seldom comes back to the source; in the other order every transaction
/// that has written to the source wants the parent which we hold already, and waits for us while we wait for it.
pub fn locks(context: &DdlContext, source: &Definition, desired: &Definition) -> Vec<Statement> {
    let keys = foreign_keys(source).chain(foreign_keys(desired));
    let ends = keys.flat_map(|key| [key.referencing.as_ref(), key.referenced.as_ref()]);
    let others: BTreeSet<&TableName> = ends.flatten().filter(|table| **table != source.name).collect();
    let shadow = context.shadow(desired);
    let shadow = format!("LOCK TABLE ONLY {shadow} IN SHARE UPDATE EXCLUSIVE MODE");
    let tables = [&source.name].into_iter().chain(others).map(|table| {
        let sql = format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", ident::table(table));
        context.under_lock(Stage::Lock, sql, vec![lock("ACCESS EXCLUSIVE", table)])
    });
    [context.under_lock(Stage::LockTarget, shadow, Vec::new())]
        .into_iter()
        .chain(tables)
        .chain(sequence_locks(context, source))
        .collect()
}

/// Stage `LockSequences`: the move locks the source's sequences, and whoever has drawn from one holds it to the end of
/// its transaction. `LOCK` takes no sequence; setting what is set already does.
fn sequence_locks(context: &DdlContext, source: &Definition) -> impl Iterator<Item = Statement> {
    source.sequences.iter().map(|sequence| {
        let name = TableName::new(&source.name.schema, &sequence.name);
        let sql = format!("ALTER SEQUENCE {} CACHE {}", ident::table(&name), sequence.cache);
        context.under_lock(
            Stage::LockSequences,
            sql,
            vec![lock("SHARE ROW EXCLUSIVE", &name)],
        )
    })
}

fn foreign_keys(definition: &Definition) -> impl Iterator<Item = &ForeignKey> {
    definition.foreign_keys.iter().chain(&definition.incoming)
}

/// Stage `Swap`, in order, in the transaction that has run [`locks`].
pub fn swap(context: &DdlContext, source: &Definition, desired: &Definition) -> Vec<Statement> {
    let swap = Swap {
        context,
        source,
        desired,
        statements: Vec::new(),
    };
    swap.run()
}

struct Swap<'a> {
    context: &'a DdlContext,
    source: &'a Definition,
    desired: &'a Definition,
    statements: Vec<Statement>,
}

impl Swap<'_> {
    fn run(mut self) -> Vec<Statement> {
        let shadow = self.context.shadow(self.desired);
        self.private(format!("LOCK TABLE ONLY {shadow} IN ACCESS EXCLUSIVE MODE"));
        self.release_sequences();
        self.detach_incoming();
        self.detach_source();
        match self.context.way {
            Way::There | Way::Back => {}
            Way::ThereWithWayBack => self.let_source_follow(),
        }
        self.move_tables();
        self.own_sequences();
        self.set_identities();
        self.identities_always();
        self.attach_constraints();
        self.attach_triggers();
        match self.context.way {
            Way::There | Way::ThereWithWayBack => {}
            Way::Back => self.grant_as_before(),
        }
        self.grant_as_others();
        self.statements
    }

    fn private(&mut self, sql: String) {
        self.push(sql, Vec::new());
    }

    fn push(&mut self, sql: String, locks: Vec<String>) {
        self.statements
            .push(self.context.under_lock(Stage::Swap, sql, locks));
    }

    fn on_source(&self) -> Vec<String> {
        vec![lock("ACCESS EXCLUSIVE", &self.source.name)]
    }

    /// Sequences of `serial` columns that both tables have. Each must be in its owner's schema, and stays; one
    /// whose column the other table does not have goes where its column goes.
    fn shared_sequences(&self) -> Vec<&Sequence> {
        let serial = |sequence: &&Sequence| sequence.owned == Owned::Serial;
        let of_source = |name: &String| {
            let mut sequences = self.source.sequences.iter().filter(serial);
            sequences.any(|sequence| sequence.name == *name)
        };
        let desired = self.desired.sequences.iter().filter(serial);
        desired.filter(|sequence| of_source(&sequence.name)).collect()
    }

    fn sequence(&self, sequence: &Sequence) -> TableName {
        TableName::new(&self.source.name.schema, &sequence.name)
    }

    fn release_sequences(&mut self) {
        let names: Vec<TableName> = self
            .shared_sequences()
            .into_iter()
            .map(|s| self.sequence(s))
            .collect();
        for name in names {
            let sql = format!("ALTER SEQUENCE {} OWNED BY NONE", ident::table(&name));
            self.push(sql, vec![lock("SHARE ROW EXCLUSIVE", &name)]);
        }
    }

    fn own_sequences(&mut self) {
        let table = ident::table(&self.desired.name);
        let owned: Vec<(TableName, String)> = self
            .shared_sequences()
            .into_iter()
            .map(|sequence| (self.sequence(sequence), sequence.column.clone()))
            .collect();
        for (name, column) in owned {
            let sql = format!(
                "ALTER SEQUENCE {} OWNED BY {table}.{}",
                ident::table(&name),
                Ident(&column)
            );
            self.push(sql, vec![lock("SHARE ROW EXCLUSIVE", &name)]);
        }
    }

    fn detach_incoming(&mut self) {
        let (source, context) = (self.source, self.context);
        for key in &source.incoming {
            let (child, parent) = render::ends(source, key);
            let sql = format!(
                "ALTER TABLE {} DROP CONSTRAINT {}",
                ident::table(child),
                Ident(&key.name)
            );
            let locks = vec![lock("ACCESS EXCLUSIVE", child), lock("ACCESS EXCLUSIVE", parent)];
            self.statements.push(context.under_lock(Stage::Swap, sql, locks));
        }
    }

    /// The retired table keeps nothing that would act on it or on others (R30).
    fn detach_source(&mut self) {
        let source = self.source;
        let table = ident::table(&source.name);
        let late = late_constraints(source).map(|constraint| constraint.name.as_str());
        let keys = source.foreign_keys.iter().map(|key| key.name.as_str());
        let dropped: Vec<String> = keys
            .chain(late)
            .map(|name| format!("DROP CONSTRAINT {}", Ident(name)))
            .collect();
        if !dropped.is_empty() {
            let mut locks = self.on_source();
            let parents = source
                .foreign_keys
                .iter()
                .filter_map(|key| key.referenced.as_ref());
            let parents: BTreeSet<&TableName> = parents.collect();
            locks.extend(parents.into_iter().map(|parent| lock("ACCESS EXCLUSIVE", parent)));
            self.push(format!("ALTER TABLE {table} {}", dropped.join(", ")), locks);
        }
        for trigger in &source.triggers {
            let sql = format!("DROP TRIGGER {} ON {table}", Ident(&trigger.name));
            self.push(sql, self.on_source());
        }
        self.revoke_writes();
    }

    /// Nobody writes to the retired table, its owner included. `CASCADE` takes what others passed on.
    fn revoke_writes(&mut self) {
        let writes = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];
        let columns = self.source.columns.iter().flat_map(|column| &column.grants);
        let grants = self.source.table.grants.iter().chain(columns);
        let roles: BTreeSet<String> = grants
            .filter(|grant| {
                grant.grantor == self.source.table.owner && writes.contains(&grant.privilege.as_str())
            })
            .map(|grant| {
                grant
                    .grantee
                    .as_ref()
                    .map_or_else(|| "PUBLIC".to_owned(), |role| Ident(role).to_string())
            })
            .collect();
        if roles.is_empty() {
            return;
        }
        let roles: Vec<String> = roles.into_iter().collect();
        let table = ident::table(&self.source.name);
        let (writes, roles) = (writes.join(", "), roles.join(", "));
        self.private(format!("REVOKE {writes} ON TABLE {table} FROM {roles} CASCADE"));
    }

    /// The retired table becomes a target (R30): nobody but the engine's role writes to it, and it takes every value
    /// of an identity column, as the shadow does while it follows.
    fn let_source_follow(&mut self) {
        let source = self.source;
        let table = ident::table(&source.name);
        let role = Ident(&self.context.role);
        self.private(format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE {table} TO {role}"
        ));
        let always = source
            .columns
            .iter()
            .filter(|column| column.identity == Some(Identity::Always));
        for column in always {
            let column = Ident(&column.name);
            let sql = format!("ALTER TABLE {table} ALTER COLUMN {column} SET GENERATED BY DEFAULT");
            self.push(sql, self.on_source());
        }
    }

    /// Gives everyone back what [`Swap::revoke_writes`] took, and takes from the engine's role what it was given to
    /// follow.
    fn grant_as_before(&mut self) {
        let desired = self.desired;
        let owner = &desired.table.owner;
        let table = ident::table(&desired.name);
        if *owner != self.context.role {
            let role = Ident(&self.context.role);
            self.private(format!("REVOKE ALL ON TABLE {table} FROM {role} CASCADE"));
        }
        let mut sql = Vec::new();
        let columns = desired.columns.iter();
        let of_columns = columns.map(|column| (Some(column.name.as_str()), &column.grants));
        for (column, grants) in std::iter::once((None, &desired.table.grants)).chain(of_columns) {
            let target = GrantTarget {
                class: "TABLE",
                name: &table,
                column,
            };
            sql.extend(render::grants(&target, owner, &given_by(owner, grants, true)));
        }
        sql.into_iter().for_each(|sql| self.private(sql));
    }

    fn move_tables(&mut self) {
        let (context, source, desired) = (self.context, self.source, self.desired);
        if index::needs_own_key(context, desired) {
            let key = ident::qualified(&context.shadow_schema, KEY_INDEX);
            self.private(format!("DROP INDEX {key}"));
        }
        let retired = Ident(&context.retired_schema);
        let away = format!("ALTER TABLE {} SET SCHEMA {retired}", ident::table(&source.name));
        self.push(away, self.on_source());
        let schema = Ident(&desired.name.schema);
        self.private(format!(
            "ALTER TABLE {} SET SCHEMA {schema}",
            context.shadow(desired)
        ));
    }

    /// See [`super::shadow`]: while it followed, every identity was BY DEFAULT.
    fn identities_always(&mut self) {
        let desired = self.desired;
        let always = desired
            .columns
            .iter()
            .filter(|column| column.identity == Some(Identity::Always));
        for column in always {
            self.private(format!(
                "ALTER TABLE {} ALTER COLUMN {} SET GENERATED ALWAYS",
                ident::table(&desired.name),
                Ident(&column.name)
            ));
        }
    }

    /// The move has locked the old sequence, so nothing can be drawn from it after this was read.
    fn set_identities(&mut self) {
        let (context, source, desired) = (self.context, self.source, self.desired);
        let identity = |sequence: &&Sequence| sequence.owned == Owned::Identity;
        for new in desired.sequences.iter().filter(identity) {
            let of_same_column = |old: &&Sequence| old.column == new.column;
            let Some(old) = source.sequences.iter().filter(identity).find(of_same_column) else {
                continue;
            };
            let new = ident::literal(&ident::qualified(&desired.name.schema, &new.name));
            let old = ident::qualified(&context.retired_schema, &old.name);
            self.private(format!(
                "SELECT pg_catalog.setval({new}, last_value, is_called) FROM {old}"
            ));
        }
    }

    fn attach_constraints(&mut self) {
        let desired = self.desired;
        let table = ident::table(&desired.name);
        for constraint in late_constraints(desired) {
            self.private(render::add_constraint(&table, constraint));
        }
        for comment in late_comments(&table, desired) {
            self.private(comment);
        }
        for key in foreign_keys(desired) {
            let (child, parent) = render::ends(desired, key);
            let others = [child, parent].into_iter().filter(|end| **end != desired.name);
            let locks = others.map(|end| lock("SHARE ROW EXCLUSIVE", end)).collect();
            self.push(render::add_foreign_key(desired, key), locks);
            let object = format!("CONSTRAINT {} ON {}", Ident(&key.name), ident::table(child));
            if let Some(sql) = render::comment(&object, key.comment.as_ref()) {
                self.private(sql);
            }
        }
    }

    fn attach_triggers(&mut self) {
        let desired = self.desired;
        let table = ident::table(&desired.name);
        for trigger in &desired.triggers {
            self.private(trigger.definition.clone());
            if let Some(sql) = fires(&table, trigger) {
                self.private(sql);
            }
            let object = format!("TRIGGER {} ON {table}", Ident(&trigger.name));
            if let Some(sql) = render::comment(&object, trigger.comment.as_ref()) {
                self.private(sql);
            }
        }
    }

    /// What others than the owner passed on is given as them, now that they can name the table.
    fn grant_as_others(&mut self) {
        let desired = self.desired;
        let owner = &desired.table.owner;
        let table = ident::table(&desired.name);
        let on_table = |column| GrantTarget {
            class: "TABLE",
            name: &table,
            column,
        };
        let mut sql = render::grants(
            &on_table(None),
            owner,
            &given_by(owner, &desired.table.grants, false),
        );
        for column in &desired.columns {
            let grants = given_by(owner, &column.grants, false);
            sql.extend(render::grants(&on_table(Some(&column.name)), owner, &grants));
        }
        for sequence in desired
            .sequences
            .iter()
            .filter(|sequence| sequence.owned == Owned::Identity)
        {
            let target = GrantTarget {
                class: "SEQUENCE",
                name: &ident::qualified(&desired.name.schema, &sequence.name),
                column: None,
            };
            sql.extend(render::grants(
                &target,
                owner,
                &given_by(owner, &sequence.grants, false),
            ));
        }
        sql.into_iter().for_each(|sql| self.private(sql));
    }
}

/// When a trigger fires is no part of its `CREATE`.
fn fires(table: &str, trigger: &Trigger) -> Option<String> {
    let action = match trigger.fires {
        Fires::Origin => return None,
        Fires::Disabled => "DISABLE TRIGGER",
        Fires::Replica => "ENABLE REPLICA TRIGGER",
        Fires::Always => "ENABLE ALWAYS TRIGGER",
    };
    Some(format!("ALTER TABLE {table} {action} {}", Ident(&trigger.name)))
}
