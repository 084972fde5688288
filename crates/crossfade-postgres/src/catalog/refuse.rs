//! What is not carried over, refused by name.
//!
//! The rule is the other way round than a list of what we cannot do: every edge of `pg_depend` at the table
//! must be explained by a class that is carried over, or it is a refusal. What makes no edge (row security,
//! publications of everything, labels) is asked for one by one.

use std::collections::BTreeSet;

use crossfade_core::code::{NoticeCode, RefusalCode};
use crossfade_core::name::MigrationName;
use crossfade_core::refusal::{Notice, Refusal};

use crate::catalog::definition::{Definition, Edge, ForeignKey, Index, PublishedBy, Table};
use crate::ident::Ident;

/// Every attachment that this release does not carry over, and every role that it would have to be.
/// `own_publications` are those of the migration itself.
pub fn refuse(definition: &Definition, own_publications: &[&str]) -> Vec<Refusal> {
    let mut list = Refusals {
        table: definition.name.to_string(),
        refusals: Vec::new(),
    };
    list.kind(&definition.table);
    list.family(&definition.table);
    list.security(definition);
    list.streams(definition, own_publications);
    list.foreign_keys(definition);
    list.rights(definition);
    list.edges(&definition.depend);
    list.refusals
}

/// What the user should know of what is attached: invalid indexes, event triggers.
pub fn notices(definition: &Definition) -> Vec<Notice> {
    let invalid = definition.indexes.iter().filter(|index| !index.valid);
    let invalid = invalid.map(|index| invalid_index(definition, index));
    let event_triggers = &definition.outside.event_triggers;
    let event_triggers = event_triggers.iter().map(|name| Notice {
        code: NoticeCode::EventTrigger,
        object: format!("event trigger {name}"),
        message: "It fires on the statements of the change too, and may veto them.".to_owned(),
        offer: None,
    });
    invalid.chain(event_triggers).collect()
}

fn invalid_index(definition: &Definition, index: &Index) -> Notice {
    Notice {
        code: NoticeCode::InvalidIndex,
        object: format!("index {} on {}", index.name, definition.name),
        message: "It is invalid, left over by a failed build; the new table will not have it.".to_owned(),
        offer: None,
    }
}

struct Refusals {
    table: String,
    refusals: Vec<Refusal>,
}

const DROP_IT: &str = "Drop it before the change and create it again afterwards.";

impl Refusals {
    fn add(
        &mut self,
        code: RefusalCode,
        object: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.refusals.push(Refusal {
            code,
            object: object.into(),
            message: message.into(),
            remedy: remedy.into(),
        });
    }

    fn on_table(&self, class: &str, name: &str) -> String {
        format!("{class} {name} on {}", self.table)
    }

    fn kind(&mut self, table: &Table) {
        let name = self.table.clone();
        match table.kind.as_str() {
            "r" => {}
            "p" => self.add(
                RefusalCode::PartitionedTable,
                &name,
                "It is partitioned; its rows are in its partitions.",
                "Change the partitions one by one, or wait for a release that serves partitioned tables.",
            ),
            "f" => self.add(
                RefusalCode::ForeignTable,
                &name,
                "It is a foreign table; its rows are on another server.",
                "Run the change on that server.",
            ),
            _ => self.add(
                RefusalCode::NotATable,
                &name,
                "It is no table.",
                "Name an ordinary table.",
            ),
        }
        match table.persistence.as_str() {
            "u" => self.add(
                RefusalCode::UnloggedTable,
                &name,
                "It is unlogged, so its changes are not in the write-ahead log.",
                "Run `ALTER TABLE … SET LOGGED` first; it rewrites the table under an exclusive lock.",
            ),
            "t" => self.add(
                RefusalCode::TemporaryTable,
                &name,
                "It is temporary: no other session can read it.",
                "Run a plain `ALTER TABLE` in its own session.",
            ),
            _ => {}
        }
    }

    fn family(&mut self, table: &Table) {
        let name = self.table.clone();
        if let Some(of_type) = &table.of_type {
            let message = format!("It is a typed table, `OF {of_type}`.");
            self.add(
                RefusalCode::TypedTable,
                &name,
                message,
                "Run `ALTER TABLE … NOT OF` first.",
            );
        }
        if let Some(bound) = &table.partition_bound {
            let message = format!("It is a partition of {} ({bound}).", table.parents.join(", "));
            self.add(
                RefusalCode::Partition,
                &name,
                message,
                "Detach it before the change and attach it afterwards.",
            );
        } else if !table.parents.is_empty() {
            let message = format!("It inherits from {}.", table.parents.join(", "));
            self.add(
                RefusalCode::InheritanceChild,
                &name,
                message,
                "Run `ALTER TABLE … NO INHERIT` first.",
            );
        }
        if table.kind != "p" {
            for child in &table.children {
                let message = format!("{child} inherits from it.");
                self.add(
                    RefusalCode::InheritanceParent,
                    &name,
                    message,
                    "Run `ALTER TABLE … NO INHERIT` on it first.",
                );
            }
        }
        if table
            .options
            .iter()
            .any(|option| option.starts_with("user_catalog_table=") && !option.ends_with("=false"))
        {
            self.add(
                RefusalCode::UserCatalogTable,
                &name,
                "It is marked as a catalog of logical decoding (`user_catalog_table`).",
                "Run `ALTER TABLE … RESET (user_catalog_table)` first.",
            );
        }
    }

    fn security(&mut self, definition: &Definition) {
        let table = &definition.table;
        let name = self.table.clone();
        if table.row_security || table.force_row_security {
            self.add(
                RefusalCode::RowSecurity,
                &name,
                "Row security is enabled: it would hide rows from the copy, and the new table would not have it.",
                "Disable it before the change, and set it up again on the new table.",
            );
        }
        for policy in &definition.policies {
            let object = self.on_table("policy", &policy.name);
            self.add(
                RefusalCode::Policy,
                object,
                "Policies are not carried over.",
                DROP_IT,
            );
        }
        for rule in &definition.rules {
            let object = self.on_table("rule", &rule.name);
            self.add(RefusalCode::Rule, object, "Rules are not carried over.", DROP_IT);
        }
        for label in &table.security_labels {
            let object = format!("security label of {name} {label}");
            self.add(
                RefusalCode::SecurityLabel,
                object,
                "Security labels are not carried over.",
                "Remove it first.",
            );
        }
        if !definition.row_type.grants.is_empty() {
            let object = format!("type {name}");
            let message = "Its row type has privileges of its own, which are not carried over.";
            self.add(
                RefusalCode::RowTypeGrants,
                object,
                message,
                "Bring the type's privileges back to the default.",
            );
        }
    }

    fn streams(&mut self, definition: &Definition, own: &[&str]) {
        let foreign = |name: &str| !own.contains(&name);
        for publication in definition
            .publications
            .iter()
            .filter(|publication| foreign(&publication.name))
        {
            if let Some(migration) = MigrationName::of_publication(&publication.name) {
                let message = format!("Migration `{migration}` works on it, or is not complete yet.");
                let remedy = "See `crossfade status`; end it with `crossfade complete` or `crossfade abort`.";
                self.add(RefusalCode::TableTaken, self.table.clone(), &message, remedy);
                continue;
            }
            let message = match publication.by {
                PublishedBy::AllTables => {
                    "It publishes all tables: its subscribers would be sent the shadow."
                }
                PublishedBy::Schema => {
                    "It publishes the table's schema; after the swap it would send other rows."
                }
                PublishedBy::Table => "It would go on sending the retired table.",
            };
            let object = format!("publication {} of {}", publication.name, self.table);
            let remedy = "Drop it, or take the table out of it, before the change.";
            self.add(RefusalCode::Publication, object, message, remedy);
        }
        for name in &definition.subscriptions {
            let object = format!("subscription {name} to {}", self.table);
            let message = "It writes to the table; after the swap it would skip the new one in silence.";
            self.add(
                RefusalCode::Subscription,
                object,
                message,
                "Stop replicating into the table before the change.",
            );
        }
    }

    fn foreign_keys(&mut self, definition: &Definition) {
        for key in &definition.foreign_keys {
            let object = self.on_table("foreign key", &key.name);
            if key.referenced_kind == "p" || key.inherited.is_some() {
                let message = "It refers to a partitioned table.";
                self.add(RefusalCode::PartitionedReferencedTable, &object, message, DROP_IT);
            }
            self.internal_triggers(key, &object);
        }
        for key in &definition.incoming {
            let table = key
                .referencing
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let object = format!("foreign key {} on {table}", key.name);
            if key.referencing_kind == "p" || key.inherited.is_some() {
                let message = format!("The table that refers to {} is partitioned.", self.table);
                self.add(
                    RefusalCode::PartitionedReferencingTable,
                    &object,
                    message,
                    DROP_IT,
                );
            }
            self.internal_triggers(key, &object);
        }
    }

    fn internal_triggers(&mut self, key: &ForeignKey, object: &str) {
        for trigger in &key.triggers {
            let message = format!("Its trigger {} is not in its usual state.", trigger.function);
            let remedy = "Run `ALTER TABLE … ENABLE TRIGGER ALL` as a superuser first.";
            self.add(RefusalCode::ForeignKeyTriggerState, object, message, remedy);
        }
    }

    fn rights(&mut self, definition: &Definition) {
        for role in &definition.outside.roles_not_ours {
            let message = format!(
                "What belongs to {} is owned or was granted by it, and we are no member.",
                self.table
            );
            let remedy = format!(
                "Run `GRANT {} TO …` for the role that runs the change (from 16 on WITH INHERIT TRUE, SET TRUE); `crossfade \
                 grants` prints it.",
                Ident(role)
            );
            self.add(RefusalCode::NotAMember, format!("role {role}"), message, remedy);
        }
        for privilege in &definition.outside.privileges_not_ours {
            let remedy = format!("Run `GRANT {}` to the role that runs the change.", privilege);
            self.add(
                RefusalCode::PrivilegeMissing,
                privilege,
                "The change needs this privilege.",
                remedy,
            );
        }
    }

    /// One refusal a dependent, however many edges it has.
    fn edges(&mut self, edges: &[Edge]) {
        let mut seen = BTreeSet::new();
        for edge in edges {
            let Some((code, object)) = unexplained(edge) else {
                continue;
            };
            if !seen.insert((code, object)) {
                continue;
            }
            let (message, remedy) = match code {
                RefusalCode::ExtensionMember => (
                    format!("The {} belongs to the {}.", edge.dependent, edge.referenced),
                    "Only the extension's own scripts may change it.",
                ),
                RefusalCode::ExtensionDependency => (
                    format!(
                        "The {} is marked to depend on the {}.",
                        edge.dependent, edge.referenced
                    ),
                    "Run `ALTER … NO DEPENDS ON EXTENSION` first.",
                ),
                RefusalCode::IdentitySequenceUsed => (
                    format!("It uses the {}, which the new table gets anew.", edge.referenced),
                    "Let it use a sequence that no identity column owns.",
                ),
                RefusalCode::RowTypeUser => (
                    format!(
                        "It uses the row type of {}, which changes with the table.",
                        self.table
                    ),
                    DROP_IT,
                ),
                RefusalCode::UnknownDependency => (
                    format!(
                        "Nobody has thought of it: {} depends ({}) on {}.",
                        edge.dependent, edge.kind, edge.referenced
                    ),
                    "Drop it before the change, and tell us of it.",
                ),
                _points_to_it => (
                    format!(
                        "After the swap it would still point to the retired {}.",
                        self.table
                    ),
                    DROP_IT,
                ),
            };
            self.add(code, self.named(edge, object), message, remedy);
        }
    }

    fn named(&self, edge: &Edge, object: &str) -> String {
        if edge.dependent_own && object == edge.dependent {
            format!("{object} of {}", self.table)
        } else {
            object.to_owned()
        }
    }
}

/// The refusal's code and the object that it is about, if no carried class explains the edge.
fn unexplained(edge: &Edge) -> Option<(RefusalCode, &str)> {
    match edge.kind.as_str() {
        "e" => return Some((RefusalCode::ExtensionMember, &edge.dependent)),
        "x" => return Some((RefusalCode::ExtensionDependency, &edge.dependent)),
        // Partition edges are those of a partition, which is refused by its bound.
        "n" | "a" | "i" | "P" | "S" => {}
        _ => return Some((RefusalCode::UnknownDependency, &edge.dependent)),
    }
    if edge.dependent_own {
        let default = edge.dependent.starts_with("default of ");
        let identity = edge.referenced_own && edge.referenced.starts_with("identity sequence of ");
        return (default && identity).then_some((RefusalCode::IdentitySequenceUsed, &*edge.dependent));
    }
    incoming(edge).map(|code| (code, &*edge.dependent))
}

/// An edge from something that is not the table's own: explained only for foreign keys and owned sequences,
/// and where another list of the definition names it.
fn incoming(edge: &Edge) -> Option<RefusalCode> {
    let referenced = |prefix: &str| edge.referenced.starts_with(prefix);
    if referenced("identity sequence of ") {
        return Some(RefusalCode::IdentitySequenceUsed);
    }
    match class(&edge.dependent) {
        "table constraint" if referenced("column ") || referenced("index ") => None,
        "sequence" if referenced("column ") && edge.kind == "a" => None,
        "publication relation" => None,
        "table" if edge.referenced == "table" => None,
        "table" => Some(RefusalCode::TypedTableElsewhere),
        "view" => Some(RefusalCode::View),
        "materialized view" => Some(RefusalCode::MaterializedView),
        "rule" => Some(RefusalCode::RuleElsewhere),
        "policy" => Some(RefusalCode::PolicyElsewhere),
        "trigger" => Some(RefusalCode::TriggerElsewhere),
        "statistics object" => Some(RefusalCode::ExtendedStatistics),
        "function" | "procedure" | "aggregate" => Some(RefusalCode::Function),
        "cast" | "transform" => Some(RefusalCode::Cast),
        "type"
        | "table column"
        | "view column"
        | "materialized view column"
        | "foreign table column"
        | "composite type column" => Some(RefusalCode::RowTypeUser),
        _ => Some(RefusalCode::UnknownDependency),
    }
}

/// The class that an object's name begins with.
fn class(object: &str) -> &str {
    const OF_SEVERAL_WORDS: [&str; 9] = [
        "table constraint",
        "table column",
        "view column",
        "materialized view column",
        "materialized view",
        "foreign table column",
        "composite type column",
        "publication relation",
        "statistics object",
    ];
    let several = OF_SEVERAL_WORDS
        .into_iter()
        .find(|class| object.starts_with(class));
    several.unwrap_or_else(|| object.split(' ').next().unwrap_or_default())
}
