//! The empty shadow, and the clone on which the planner tries the user's `ALTER`.

use std::collections::BTreeSet;

use crossfade_core::plan::{ReplicaIdentity, Stage, Statement};

use crate::catalog::{Constraint, ConstraintKind, Definition, Grant, Identity, Owned};
use crate::ddl::render::{self, GrantTarget};
use crate::ddl::{DdlContext, NewTable, index, private};
use crate::ident::{self, Ident};

/// Statements that create an empty clone of the source in `schema`: columns, defaults, checks, all indexes and
/// their constraints, options and comments; no foreign keys, triggers, owner or privileges (see
/// [`crate::catalog::desired`]). For a transaction that is rolled back.
pub fn probe_clone(source: &Definition, schema: &str) -> Vec<String> {
    let table = ident::qualified(schema, &source.name.name);
    let mut sql = vec![format!("CREATE SCHEMA {}", Ident(schema))];
    sql.extend(table_itself(schema, source));
    let late = late_constraints(source);
    sql.extend(late.map(|constraint| render::add_constraint(&table, constraint)));
    let indexes: Vec<_> = source.indexes.iter().filter(|index| index.valid).collect();
    sql.extend(indexes.iter().map(|index| index::create(&table, source, index)));
    sql.extend(
        indexes
            .iter()
            .filter_map(|index| index::attach(&table, source, index)),
    );
    sql.extend(index::properties(schema, source));
    sql.extend(late_comments(&table, source));
    sql
}

/// What whoever comes upon the new tables before the swap should know.
const MARK: &str = "New tables of a crossfade migration. Until the swap they follow another table: read them, write nothing.";

/// Stage `Prepare`: the two schemas and the empty new tables, without indexes.
pub fn shadow(context: &DdlContext, new: &[NewTable<'_>]) -> Vec<Statement> {
    let mut sql = vec![
        format!("CREATE SCHEMA {}", Ident(&context.shadow_schema)),
        format!("CREATE SCHEMA {}", Ident(&context.retired_schema)),
        format!(
            "COMMENT ON SCHEMA {} IS {}",
            Ident(&context.shadow_schema),
            ident::literal(MARK)
        ),
    ];
    let owners: BTreeSet<&String> = new.iter().map(|new| &new.definition.table.owner).collect();
    let schema = Ident(&context.shadow_schema);
    for owner in owners.into_iter().filter(|owner| **owner != context.role) {
        // An owner must be able to create in the table's schema.
        sql.push(format!(
            "GRANT USAGE, CREATE ON SCHEMA {schema} TO {}",
            Ident(owner)
        ));
    }
    sql.extend(new.iter().flat_map(|new| one_shadow(context, new.definition)));
    sql.into_iter().map(|sql| private(Stage::Prepare, sql)).collect()
}

fn one_shadow(context: &DdlContext, desired: &Definition) -> Vec<String> {
    let table = context.shadow(desired);
    let owner = &desired.table.owner;
    let mut sql = table_itself(&context.shadow_schema, &following(desired));
    sql.extend(render::create_partitions(&context.shadow_schema, desired));
    if *owner != context.role {
        let partitions = desired.partition_names();
        let partitions = partitions.map(|name| ident::qualified(&context.shadow_schema, name));
        for table in std::iter::once(table).chain(partitions) {
            sql.push(format!("ALTER TABLE {table} OWNER TO {}", Ident(owner)));
        }
    }
    sql.extend(privileges(context, desired));
    sql.extend(partitions_kept_private(context, desired));
    sql
}

/// Rows are reached through the table; a partition's own privileges are its owner's.
fn partitions_kept_private(context: &DdlContext, desired: &Definition) -> Vec<String> {
    let roles = desired.outside.default_grantees.iter().map(|role| match role {
        Some(role) => Ident(role).to_string(),
        None => "PUBLIC".to_owned(),
    });
    let roles: Vec<String> = roles.collect();
    if roles.is_empty() {
        return Vec::new();
    }
    let revoke = |name: &str| {
        let name = ident::qualified(&context.shadow_schema, name);
        format!("REVOKE ALL ON TABLE {name} FROM {}", roles.join(", "))
    };
    desired.partition_names().map(revoke).collect()
}

/// As the shadow is while it follows: changes write identity columns, and the server lets nobody update one that
/// is GENERATED ALWAYS. It becomes that in the swap.
fn following(desired: &Definition) -> Definition {
    let mut following = desired.clone();
    let identities = following
        .columns
        .iter_mut()
        .filter_map(|column| column.identity.as_mut());
    identities.for_each(|identity| *identity = Identity::ByDefault);
    following
}

/// The table with all that can be there before its rows.
fn table_itself(schema: &str, definition: &Definition) -> Vec<String> {
    let table = ident::qualified(schema, &definition.name.name);
    let checks: Vec<&Constraint> = definition
        .constraints
        .iter()
        .filter(|constraint| constraint.kind == ConstraintKind::Check && constraint.validated)
        .collect();
    let mut sql = vec![render::create_table(schema, definition, &checks)];
    sql.extend(render::column_attributes(&table, &definition.columns));
    match definition.table.replica_identity {
        ReplicaIdentity::Full => sql.push(format!("ALTER TABLE {table} REPLICA IDENTITY FULL")),
        ReplicaIdentity::Nothing => sql.push(format!("ALTER TABLE {table} REPLICA IDENTITY NOTHING")),
        ReplicaIdentity::Default | ReplicaIdentity::Index { .. } => {}
    }
    sql.extend(comments(schema, definition));
    sql
}

fn comments(schema: &str, definition: &Definition) -> Vec<String> {
    let table = ident::qualified(schema, &definition.name.name);
    let own = render::comment(&format!("TABLE {table}"), definition.table.comment.as_ref());
    let row_type = render::comment(&format!("TYPE {table}"), definition.row_type.comment.as_ref());
    let columns = definition.columns.iter().filter_map(|column| {
        let object = format!("COLUMN {table}.{}", Ident(&column.name));
        render::comment(&object, column.comment.as_ref())
    });
    let there = |constraint: &&Constraint| constraint.index.is_none() && constraint.validated;
    let constraints = definition
        .constraints
        .iter()
        .filter(there)
        .filter_map(|constraint| constraint_comment(&table, constraint));
    let identity = definition
        .sequences
        .iter()
        .filter(|sequence| sequence.owned == Owned::Identity)
        .filter_map(|sequence| {
            let object = format!("SEQUENCE {}", ident::qualified(schema, &sequence.name));
            render::comment(&object, sequence.comment.as_ref())
        });
    own.into_iter()
        .chain(row_type)
        .chain(columns)
        .chain(constraints)
        .chain(identity)
        .collect()
}

pub(super) fn constraint_comment(table: &str, constraint: &Constraint) -> Option<String> {
    let object = format!("CONSTRAINT {} ON {table}", Ident(&constraint.name));
    render::comment(&object, constraint.comment.as_ref())
}

/// Constraints that existing rows need not satisfy: they would refuse rows that the copy must bring over.
pub(super) fn late_constraints(definition: &Definition) -> impl Iterator<Item = &Constraint> {
    let late = |constraint: &&Constraint| constraint.index.is_none() && !constraint.validated;
    definition.constraints.iter().filter(late)
}

pub(super) fn late_comments(table: &str, definition: &Definition) -> Vec<String> {
    late_constraints(definition)
        .filter_map(|constraint| constraint_comment(table, constraint))
        .collect()
}

/// Privileges on the table, its columns and its identity sequences, as far as its owner gave them: others
/// cannot name the table before it is in its place.
fn privileges(context: &DdlContext, desired: &Definition) -> Vec<String> {
    let schema = &context.shadow_schema;
    let owner = &desired.table.owner;
    let table = context.shadow(desired);
    let mut sql = on_object(desired, "TABLE", &table, &desired.table.grants);
    for column in &desired.columns {
        let target = GrantTarget {
            class: "TABLE",
            name: &table,
            column: Some(&column.name),
        };
        sql.extend(render::grants(
            &target,
            owner,
            &given_by(owner, &column.grants, true),
        ));
    }
    for sequence in desired
        .sequences
        .iter()
        .filter(|sequence| sequence.owned == Owned::Identity)
    {
        let name = ident::qualified(schema, &sequence.name);
        sql.extend(on_object(desired, "SEQUENCE", &name, &sequence.grants));
    }
    sql
}

/// Nothing where the privileges are those that a new object has anyway. Else everything is taken away first,
/// what `ALTER DEFAULT PRIVILEGES` added included.
fn on_object(desired: &Definition, class: &str, name: &str, grants: &[Grant]) -> Vec<String> {
    let owner = &desired.table.owner;
    let defaults = &desired.outside.default_grantees;
    if defaults.is_empty() && is_default(desired, class, grants) {
        return Vec::new();
    }
    let roles = defaults.iter().cloned().chain([Some(owner.clone()), None]);
    let roles: BTreeSet<Option<String>> = roles.collect();
    let role = |role: &Option<String>| {
        let quoted = role.as_ref().map(|role| Ident(role).to_string());
        quoted.unwrap_or_else(|| "PUBLIC".to_owned())
    };
    let roles: Vec<String> = roles.iter().map(role).collect();
    let target = GrantTarget {
        class,
        name,
        column: None,
    };
    let mut sql = vec![format!("REVOKE ALL ON {class} {name} FROM {}", roles.join(", "))];
    sql.extend(render::grants(&target, owner, &given_by(owner, grants, true)));
    sql
}

/// A new object's privileges: its owner's, all of them.
fn is_default(desired: &Definition, class: &str, grants: &[Grant]) -> bool {
    let owner = &desired.table.owner;
    let full = match class {
        "SEQUENCE" => 3,
        // 17 brought MAINTAIN.
        _ if desired.outside.version_num >= 170_000 => 8,
        _ => 7,
    };
    let owners = |grant: &Grant| {
        grant.grantor == *owner && grant.grantee.as_deref() == Some(owner.as_str()) && !grant.grantable
    };
    grants.len() == full && grants.iter().all(owners)
}

/// Grants by the owner, or those by all others.
pub(super) fn given_by<'a>(owner: &str, grants: &'a [Grant], by_owner: bool) -> Vec<&'a Grant> {
    grants
        .iter()
        .filter(|grant| (grant.grantor == owner) == by_owner)
        .collect()
}
