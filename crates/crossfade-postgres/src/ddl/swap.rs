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
use crate::ddl::{DdlContext, NewTable, Way, index, lock};
use crate::ident::{self, Ident};

/// The tables that a swap takes out of their places.
#[derive(Clone, Copy, Debug)]
pub struct Leaving<'a> {
    /// All of them: the source, and on the way back every table that came of it.
    pub tables: &'a [&'a Definition],
    /// That of them whose place the successor takes.
    pub predecessor: Option<&'a Definition>,
}

impl<'a> Leaving<'a> {
    /// One table, whose place is taken.
    pub fn alone(table: &'a [&'a Definition; 1]) -> Self {
        Leaving {
            tables: table,
            predecessor: Some(table[0]),
        }
    }

    /// No table.
    pub fn none() -> Self {
        Leaving {
            tables: &[],
            predecessor: None,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'a TableName> + use<'a> {
        self.tables.iter().map(|table| &table.name)
    }
}

/// Stages `LockTarget`, `Lock` and `LockSequences`. First the shadows, in a mode that does not stop our own applier. Tables:
/// one `LOCK` a statement: those that leave, then the tables at the other end of their foreign keys, by name. Then the
/// sequences.
///
/// Those that leave come first because that is how applications go: they write a row, and its foreign keys are looked up
/// behind it. Whoever holds a parent then seldom comes back to the source; in the other order every transaction
/// that has written to the source wants the parent which we hold already, and waits for us while we wait for it.
pub fn locks(context: &DdlContext, leaving: Leaving<'_>, new: &[NewTable<'_>]) -> Vec<Statement> {
    let definitions = || new.iter().map(|new| new.definition);
    let keys = leaving
        .tables
        .iter()
        .copied()
        .chain(definitions())
        .flat_map(foreign_keys);
    let ends = keys.flat_map(|key| [key.referencing.as_ref(), key.referenced.as_ref()]);
    let ours: BTreeSet<&TableName> = leaving.names().collect();
    let others: BTreeSet<&TableName> = ends.flatten().filter(|table| !ours.contains(table)).collect();
    let shadows = definitions().map(|table| {
        let shadow = context.shadow(table);
        let only = render::only(table);
        let sql = format!("LOCK TABLE {only}{shadow} IN SHARE UPDATE EXCLUSIVE MODE");
        context.under_lock(Stage::LockTarget, sql, Vec::new())
    });
    let exclusively = |only: &str, table: &TableName| {
        let sql = format!(
            "LOCK TABLE {only}{} IN ACCESS EXCLUSIVE MODE",
            ident::table(table)
        );
        context.under_lock(Stage::Lock, sql, vec![lock("ACCESS EXCLUSIVE", table)])
    };
    let tables = leaving.tables.iter();
    let tables = tables.map(|table| exclusively(render::only(table), &table.name));
    let others = others.into_iter().map(|table| exclusively("ONLY ", table));
    shadows
        .chain(tables)
        .chain(others)
        .chain(sequence_locks(context, leaving, new))
        .collect()
}

/// Stage `Lock`, of a source that stays: its readers go on.
pub fn lock_writers_out(context: &DdlContext, source: &Definition) -> Statement {
    let sql = format!(
        "LOCK TABLE {}{} IN SHARE ROW EXCLUSIVE MODE",
        render::only(source),
        ident::table(&source.name)
    );
    let locks = vec![lock("SHARE ROW EXCLUSIVE", &source.name)];
    context.under_lock(Stage::Lock, sql, locks)
}

/// Stage `LockSequences`: the move locks the sequences, and whoever has drawn from one holds it to the end of its
/// transaction. `LOCK` takes no sequence; setting what is set already does.
fn sequence_locks(context: &DdlContext, leaving: Leaving<'_>, new: &[NewTable<'_>]) -> Vec<Statement> {
    let own = leaving.tables.iter().flat_map(|table| {
        let sequences = table.sequences.iter();
        sequences.map(|sequence| (&table.name, sequence))
    });
    let returning = new.iter().flat_map(|new| {
        let sequences = match context.way {
            Way::There | Way::ThereWithWayBack => Vec::new(),
            Way::Back => drawn_from(new.definition, leaving),
        };
        sequences
            .into_iter()
            .map(|sequence| (&new.definition.name, sequence))
    });
    let statement = |(table, sequence): (&TableName, &Sequence)| {
        let name = TableName::new(&table.schema, &sequence.name);
        let sql = format!("ALTER SEQUENCE {} CACHE {}", ident::table(&name), sequence.cache);
        let locks = vec![lock("SHARE ROW EXCLUSIVE", &name)];
        context.under_lock(Stage::LockSequences, sql, locks)
    };
    own.chain(returning).map(statement).collect()
}

/// Sequences of `serial` columns of `owner` from which the other tables draw, and that none of them owns.
fn drawn_from<'a>(owner: &'a Definition, others: Leaving<'_>) -> Vec<&'a Sequence> {
    let serial = |sequence: &&Sequence| sequence.owned == Owned::Serial;
    let drawn: BTreeSet<&str> = others
        .tables
        .iter()
        .flat_map(|table| &table.depend)
        .map(|edge| edge.referenced.as_str())
        .collect();
    // Both ends as the server writes them.
    let owned = owner
        .depend
        .iter()
        .filter(|edge| edge.referenced_own && edge.kind == "a");
    let columns: BTreeSet<&str> = owned
        .filter(|edge| drawn.contains(edge.dependent.as_str()))
        .filter_map(|edge| edge.referenced.strip_prefix("column "))
        .collect();
    let shared: BTreeSet<&str> = match others.predecessor {
        Some(other) => other
            .sequences
            .iter()
            .filter(serial)
            .map(|s| s.name.as_str())
            .collect(),
        None => BTreeSet::new(),
    };
    let sequences = owner.sequences.iter().filter(serial);
    sequences
        .filter(|sequence| !shared.contains(sequence.name.as_str()))
        .filter(|sequence| columns.contains(sequence.column.as_str()))
        .collect()
}

fn foreign_keys(definition: &Definition) -> impl Iterator<Item = &ForeignKey> + use<'_> {
    definition.foreign_keys.iter().chain(&definition.incoming)
}

/// Stage `Swap`, in order, in the transaction that has run [`locks`]. The first statements, one for each new table, lock
/// them against everyone.
pub fn swap(context: &DdlContext, leaving: Leaving<'_>, new: &[NewTable<'_>]) -> Vec<Statement> {
    let swap = Swap {
        context,
        leaving,
        new,
        statements: Vec::new(),
    };
    swap.run()
}

struct Swap<'a> {
    context: &'a DdlContext,
    leaving: Leaving<'a>,
    new: &'a [NewTable<'a>],
    statements: Vec<Statement>,
}

impl<'a> Swap<'a> {
    fn run(mut self) -> Vec<Statement> {
        for table in self.definitions() {
            let shadow = self.context.shadow(table);
            let only = render::only(table);
            self.private(format!("LOCK TABLE {only}{shadow} IN ACCESS EXCLUSIVE MODE"));
        }
        self.release_sequences();
        for table in self.leaving.tables {
            self.detach_incoming(table);
        }
        for table in self.leaving.tables {
            self.detach(table);
            match self.context.way {
                Way::There | Way::Back => {}
                Way::ThereWithWayBack => self.let_follow(table),
            }
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

    fn definitions(&self) -> impl Iterator<Item = &'a Definition> + use<'a> {
        self.new.iter().map(|new| new.definition)
    }

    /// What takes over from the source; nothing does if none of the new tables is its successor.
    fn successor(&self) -> Option<&'a Definition> {
        let successor = self.new.iter().find(|new| new.successor);
        successor.map(|new| new.definition)
    }

    fn private(&mut self, sql: String) {
        self.push(sql, Vec::new());
    }

    fn push(&mut self, sql: String, locks: Vec<String>) {
        self.statements
            .push(self.context.under_lock(Stage::Swap, sql, locks));
    }

    /// Sequences of `serial` columns that the successor and the table before it have. Each must be in its owner's schema,
    /// and stays; one whose column the successor does not have goes where its column goes.
    fn shared_sequences(&self) -> Vec<&'a Sequence> {
        let serial = |sequence: &&Sequence| sequence.owned == Owned::Serial;
        let of_source = |name: &String| {
            let predecessor = self.leaving.predecessor.into_iter();
            let mut sequences = predecessor.flat_map(|table| &table.sequences).filter(serial);
            sequences.any(|sequence| sequence.name == *name)
        };
        let of_successor = self.successor().into_iter().flat_map(|table| &table.sequences);
        of_successor
            .filter(serial)
            .filter(|sequence| of_source(&sequence.name))
            .collect()
    }

    /// Other sequences of the source's from which the new tables draw: nobody owns them any more, so that they do not go
    /// with the retired table.
    fn orphaned_sequences(&self) -> Vec<(&'a TableName, &'a Sequence)> {
        let definitions: Vec<&Definition> = self.definitions().collect();
        let new = Leaving {
            tables: &definitions,
            predecessor: self.successor(),
        };
        let of = |table: &&'a Definition| {
            let drawn = drawn_from(table, new).into_iter();
            drawn.map(|sequence| (&table.name, sequence)).collect::<Vec<_>>()
        };
        match self.context.way {
            Way::There | Way::ThereWithWayBack => self.leaving.tables.iter().flat_map(of).collect(),
            Way::Back => Vec::new(),
        }
    }

    fn release_sequences(&mut self) {
        let shared = self.shared_sequences().into_iter();
        let predecessor = self.leaving.predecessor.map(|table| &table.name);
        let names: Vec<TableName> = shared
            .filter_map(|sequence| Some((predecessor?, sequence)))
            .chain(self.orphaned_sequences())
            .map(|(table, sequence)| TableName::new(&table.schema, &sequence.name))
            .collect();
        for name in names {
            let sql = format!("ALTER SEQUENCE {} OWNED BY NONE", ident::table(&name));
            self.push(sql, vec![lock("SHARE ROW EXCLUSIVE", &name)]);
        }
    }

    /// Also, on the way back, those that nobody has owned since the swap.
    fn own_sequences(&mut self) {
        let Some(successor) = self.successor() else {
            return;
        };
        let table = ident::table(&successor.name);
        let returning = match self.context.way {
            Way::There | Way::ThereWithWayBack => Vec::new(),
            Way::Back => drawn_from(successor, self.leaving),
        };
        for sequence in self.shared_sequences().into_iter().chain(returning) {
            let name = TableName::new(&successor.name.schema, &sequence.name);
            let sql = format!(
                "ALTER SEQUENCE {} OWNED BY {table}.{}",
                ident::table(&name),
                Ident(&sequence.column)
            );
            self.push(sql, vec![lock("SHARE ROW EXCLUSIVE", &name)]);
        }
    }

    fn detach_incoming(&mut self, leaving: &Definition) {
        let context = self.context;
        for key in &leaving.incoming {
            let (child, parent) = render::ends(leaving, key);
            let sql = format!(
                "ALTER TABLE {} DROP CONSTRAINT {}",
                ident::table(child),
                Ident(&key.name)
            );
            let locks = vec![lock("ACCESS EXCLUSIVE", child), lock("ACCESS EXCLUSIVE", parent)];
            self.statements.push(context.under_lock(Stage::Swap, sql, locks));
        }
    }

    /// A table that leaves keeps nothing that would act on it or on others (R30).
    fn detach(&mut self, leaving: &Definition) {
        let table = ident::table(&leaving.name);
        let exclusively = || vec![lock("ACCESS EXCLUSIVE", &leaving.name)];
        let late = late_constraints(leaving).map(|constraint| constraint.name.as_str());
        let keys = leaving.foreign_keys.iter().map(|key| key.name.as_str());
        let dropped: Vec<String> = keys
            .chain(late)
            .map(|name| format!("DROP CONSTRAINT {}", Ident(name)))
            .collect();
        if !dropped.is_empty() {
            let mut locks = exclusively();
            let parents = leaving
                .foreign_keys
                .iter()
                .filter_map(|key| key.referenced.as_ref());
            let parents: BTreeSet<&TableName> = parents.collect();
            locks.extend(parents.into_iter().map(|parent| lock("ACCESS EXCLUSIVE", parent)));
            self.push(format!("ALTER TABLE {table} {}", dropped.join(", ")), locks);
        }
        for trigger in &leaving.triggers {
            let sql = format!("DROP TRIGGER {} ON {table}", Ident(&trigger.name));
            self.push(sql, exclusively());
        }
        self.revoke_writes(leaving);
    }

    /// Nobody writes to a table that has left, its owner included. `CASCADE` takes what others passed on.
    fn revoke_writes(&mut self, leaving: &Definition) {
        let writes = ["INSERT", "UPDATE", "DELETE", "TRUNCATE"];
        let columns = leaving.columns.iter().flat_map(|column| &column.grants);
        let grants = leaving.table.grants.iter().chain(columns);
        let roles: BTreeSet<String> = grants
            .filter(|grant| {
                grant.grantor == leaving.table.owner && writes.contains(&grant.privilege.as_str())
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
        let table = ident::table(&leaving.name);
        let (writes, roles) = (writes.join(", "), roles.join(", "));
        self.private(format!("REVOKE {writes} ON TABLE {table} FROM {roles} CASCADE"));
    }

    /// The retired table becomes a target (R30): nobody but the engine's role writes to it, and it takes every value
    /// of an identity column, as the shadow does while it follows.
    fn let_follow(&mut self, leaving: &Definition) {
        let table = ident::table(&leaving.name);
        let role = Ident(&self.context.role);
        self.private(format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLE {table} TO {role}"
        ));
        let always = leaving
            .columns
            .iter()
            .filter(|column| column.identity == Some(Identity::Always));
        for column in always {
            let column = Ident(&column.name);
            let sql = format!("ALTER TABLE {table} ALTER COLUMN {column} SET GENERATED BY DEFAULT");
            self.push(sql, vec![lock("ACCESS EXCLUSIVE", &leaving.name)]);
        }
    }

    /// Gives everyone back what [`Swap::revoke_writes`] took, and takes from the engine's role what it was given to
    /// follow.
    fn grant_as_before(&mut self) {
        for table in self.definitions() {
            let owner = &table.table.owner;
            let name = ident::table(&table.name);
            if *owner != self.context.role {
                let role = Ident(&self.context.role);
                self.private(format!("REVOKE ALL ON TABLE {name} FROM {role} CASCADE"));
            }
            self.grant(table, true);
        }
    }

    /// Grants on the table and on its columns, by its owner or by all others.
    fn grant(&mut self, table: &Definition, by_owner: bool) {
        let owner = &table.table.owner;
        let columns = table.columns.iter();
        let of_columns = columns.map(|column| (Some(column.name.as_str()), &column.grants));
        let mut sql = Vec::new();
        for (column, grants) in std::iter::once((None, &table.table.grants)).chain(of_columns) {
            let target = GrantTarget {
                class: "TABLE",
                name: &ident::table(&table.name),
                column,
            };
            sql.extend(render::grants(&target, owner, &given_by(owner, grants, by_owner)));
        }
        sql.into_iter().for_each(|sql| self.private(sql));
    }

    fn move_tables(&mut self) {
        let context = self.context;
        for own in self.new.iter().flat_map(index::own) {
            let name = ident::qualified(&context.shadow_schema, &own.name);
            self.private(format!("DROP INDEX {name}"));
        }
        let retired = Ident(&context.retired_schema);
        for table in self.leaving.tables {
            let locks = || vec![lock("ACCESS EXCLUSIVE", &table.name)];
            let away = format!("ALTER TABLE {} SET SCHEMA {retired}", ident::table(&table.name));
            self.push(away, locks());
            for partition in table.partition_names() {
                let partition = ident::qualified(&table.name.schema, partition);
                let away = format!("ALTER TABLE IF EXISTS {partition} SET SCHEMA {retired}");
                self.push(away, locks());
            }
        }
        for table in self.definitions() {
            let schema = Ident(&table.name.schema);
            self.private(format!(
                "ALTER TABLE {} SET SCHEMA {schema}",
                context.shadow(table)
            ));
            for partition in table.partition_names() {
                let partition = ident::qualified(&context.shadow_schema, partition);
                self.private(format!("ALTER TABLE {partition} SET SCHEMA {schema}"));
            }
        }
    }

    /// See [`super::shadow`]: while they followed, every identity was BY DEFAULT.
    fn identities_always(&mut self) {
        for table in self.definitions() {
            let columns = table.columns.iter();
            let always = columns.filter(|column| column.identity == Some(Identity::Always));
            for column in always {
                self.private(format!(
                    "ALTER TABLE {} ALTER COLUMN {} SET GENERATED ALWAYS",
                    ident::table(&table.name),
                    Ident(&column.name)
                ));
            }
        }
    }

    /// The move has locked the old sequences, so nothing can be drawn from them after this was read. Those of a table that is
    /// not the predecessor count something else, whatever their columns are called.
    fn set_identities(&mut self) {
        let context = self.context;
        let Some(successor) = self.successor() else {
            return;
        };
        let identity = |sequence: &&Sequence| sequence.owned == Owned::Identity;
        for sequence in successor.sequences.iter().filter(identity) {
            let predecessor = self.leaving.predecessor.into_iter();
            let mut old = predecessor.flat_map(|table| &table.sequences).filter(identity);
            let Some(old) = old.find(|old| old.column == sequence.column) else {
                self.set_beyond_rows(successor, sequence);
                continue;
            };
            self.private(format!(
                "SELECT pg_catalog.setval({new}, last_value, is_called) FROM {old}",
                new = ident::literal(&ident::qualified(&successor.name.schema, &sequence.name)),
                old = ident::qualified(&context.retired_schema, &old.name),
            ));
        }
    }

    /// On the way back of a split the table before may not have had a sequence of its own: rows say how far it has come. Only
    /// by an index, since the lock is held.
    fn set_beyond_rows(&mut self, table: &Definition, sequence: &Sequence) {
        let by_index = table.indexes.iter().any(|index| {
            let first = index.columns.first().and_then(Option::as_ref);
            index.predicate.is_none() && first == Some(&sequence.column)
        });
        if self.context.way != Way::Back || !by_index {
            return;
        }
        let name = ident::qualified(&table.name.schema, &sequence.name);
        let (most, beyond) = if sequence.increment > 0 {
            ("max", ">")
        } else {
            ("min", "<")
        };
        self.private(format!(
            "SELECT pg_catalog.setval({}, r.last, true)\n  FROM (SELECT pg_catalog.{most}({})::int8 AS last FROM ONLY {}) AS r, \
             {name} AS s\n WHERE r.last {beyond} s.last_value",
            ident::literal(&name),
            Ident(&sequence.column),
            ident::table(&table.name),
        ));
    }

    fn attach_constraints(&mut self) {
        for table in self.definitions() {
            let name = ident::table(&table.name);
            for constraint in late_constraints(table) {
                self.private(render::add_constraint(&name, constraint));
            }
            for comment in late_comments(&name, table) {
                self.private(comment);
            }
            for key in foreign_keys(table) {
                self.attach_foreign_key(table, key);
            }
        }
    }

    fn attach_foreign_key(&mut self, table: &Definition, key: &ForeignKey) {
        let (child, parent) = render::ends(table, key);
        let ours: BTreeSet<&TableName> = self.definitions().map(|table| &table.name).collect();
        let others = [child, parent].into_iter().filter(|end| !ours.contains(end));
        let locks = others.map(|end| lock("SHARE ROW EXCLUSIVE", end)).collect();
        self.push(render::add_foreign_key(table, key), locks);
        let object = format!("CONSTRAINT {} ON {}", Ident(&key.name), ident::table(child));
        if let Some(sql) = render::comment(&object, key.comment.as_ref()) {
            self.private(sql);
        }
    }

    fn attach_triggers(&mut self) {
        let triggers = self.definitions().flat_map(|table| {
            let triggers = table.triggers.iter();
            triggers.map(move |trigger| (ident::table(&table.name), trigger))
        });
        for (table, trigger) in triggers {
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
        for table in self.definitions() {
            let owner = &table.table.owner;
            self.grant(table, false);
            let mut sql = Vec::new();
            let identity = |sequence: &&Sequence| sequence.owned == Owned::Identity;
            for sequence in table.sequences.iter().filter(identity) {
                let target = GrantTarget {
                    class: "SEQUENCE",
                    name: &ident::qualified(&table.name.schema, &sequence.name),
                    column: None,
                };
                let grants = given_by(owner, &sequence.grants, false);
                sql.extend(render::grants(&target, owner, &grants));
            }
            sql.into_iter().for_each(|sql| self.private(sql));
        }
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
