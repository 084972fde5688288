//! Indexes of the shadow: the key first, the others when the copy is done, then what hangs on them.

use std::collections::BTreeSet;

use crossfade_core::plan::{Stage, Statement};

use crate::catalog::{Definition, Index};
use crate::ddl::render::{self, builds_its_index, constraint_of};
use crate::ddl::{DdlContext, KEY_INDEX, NewTable, SOURCE_KEY_INDEX, private, shadow};
use crate::ident::{self, Ident};

/// Stage `KeyIndex`: the unique index by which changes are applied, and the one by which the rows of a source row are
/// found; our own where the new table has none.
pub fn key_index(context: &DdlContext, new: &NewTable<'_>) -> Vec<Statement> {
    let table = context.shadow(new.definition);
    let mut sql = Vec::new();
    if let Some(index) = key_of(new) {
        sql.push(create(&table, new.definition, index));
        sql.extend(attach(&table, new.definition, index));
    }
    sql.extend(own(new).into_iter().map(|own| {
        let unique = if own.unique { "UNIQUE " } else { "" };
        let columns = ident::list(own.columns.iter().map(String::as_str));
        format!("CREATE {unique}INDEX {} ON {table} ({columns})", Ident(&own.name))
    }));
    sql.into_iter().map(|sql| private(Stage::KeyIndex, sql)).collect()
}

/// An index of ours.
pub(super) struct Own<'a> {
    pub(super) name: String,
    unique: bool,
    columns: &'a [String],
}

/// Those that [`key_index`] makes.
pub(super) fn own<'a>(new: &'a NewTable<'_>) -> Vec<Own<'a>> {
    // One schema has all new tables.
    let named = |prefix: &str| match new.number {
        0 => prefix.to_owned(),
        number => format!("{prefix}_{number}"),
    };
    let key = (!new.row_key.is_empty() && key_of(new).is_none()).then(|| Own {
        name: named(KEY_INDEX),
        unique: true,
        columns: &new.row_key,
    });
    let source_key = new
        .source_key
        .as_ref()
        .filter(|columns| !is_found_by(new, columns));
    let source_key = source_key.map(|columns| Own {
        name: named(SOURCE_KEY_INDEX),
        unique: false,
        columns,
    });
    key.into_iter().chain(source_key).collect()
}

/// Whether the first columns of the index to apply by are these.
fn is_found_by(new: &NewTable<'_>, columns: &[String]) -> bool {
    let wanted: BTreeSet<&str> = columns.iter().map(String::as_str).collect();
    let first: Option<BTreeSet<&str>> = match key_of(new) {
        Some(index) => {
            let first = index.columns.iter().take(columns.len());
            first.map(Option::as_deref).collect()
        }
        None => Some(
            new.row_key
                .iter()
                .take(columns.len())
                .map(String::as_str)
                .collect(),
        ),
    };
    first == Some(wanted)
}

/// The index to apply by: the replica identity's if it has the key's columns, else the first that has.
fn key_of<'a>(new: &NewTable<'a>) -> Option<&'a Index> {
    let key: BTreeSet<&str> = new.row_key.iter().map(String::as_str).collect();
    let fits = |index: &&Index| {
        let columns: Option<BTreeSet<&str>> = index.columns.iter().map(Option::as_deref).collect();
        let plain = index.unique && index.immediate && index.valid && index.predicate.is_none();
        plain && columns.as_ref() == Some(&key) && index.definition.starts_with("btree ")
    };
    let candidates = || new.definition.indexes.iter().filter(fits);
    candidates()
        .find(|index| index.replica_identity)
        .or_else(|| candidates().next())
}

/// Stage `Index`: all other indexes and exclusion constraints, each independent of the others. Those that
/// foreign keys rely on come first: of several with the same columns the server takes the oldest.
pub fn indexes(context: &DdlContext, new: &NewTable<'_>) -> Vec<Statement> {
    let desired = new.definition;
    let table = context.shadow(desired);
    let keys = desired.incoming.iter().chain(&desired.foreign_keys);
    let relied_on: BTreeSet<&String> = keys.filter_map(|key| key.index.as_ref()).collect();
    let (first, then): (Vec<&Index>, Vec<&Index>) =
        side_by_side(new).partition(|index| relied_on.contains(&index.name));
    first
        .into_iter()
        .chain(then)
        .map(|index| private(Stage::Index, create(&table, desired, index)))
        .collect()
}

fn others<'a>(new: &NewTable<'a>) -> impl Iterator<Item = &'a Index> + use<'a> {
    let key = key_of(new).map(|index| &index.name);
    new.definition
        .indexes
        .iter()
        .filter(move |index| index.valid && Some(&index.name) != key)
}

/// All but the constraints of a partitioned table, which lock it while they build their index.
fn side_by_side<'a>(new: &NewTable<'a>) -> impl Iterator<Item = &'a Index> + use<'a> {
    let definition = new.definition;
    others(new).filter(move |index| !is_built_in_order(definition, index))
}

fn is_built_in_order(definition: &Definition, index: &Index) -> bool {
    definition.table.kind == "p" && constraint_of(definition, index).is_some()
}

/// Stage `Analyze`, in order: constraints made of their indexes, what is attached to indexes, `ANALYZE`.
/// Making a constraint of an index takes an exclusive lock on the shadow, so it must not run beside another
/// index build, as the statements of stage `Index` do.
pub fn analyze(context: &DdlContext, new: &NewTable<'_>) -> Vec<Statement> {
    let desired = new.definition;
    let table = context.shadow(desired);
    let in_order = others(new).filter(|index| is_built_in_order(desired, index));
    let in_order = in_order.map(|index| create(&table, desired, index));
    let attached = others(new).filter_map(|index| attach(&table, desired, index));
    in_order
        .chain(attached)
        .chain(properties(&context.shadow_schema, desired))
        .chain([format!("ANALYZE {table}")])
        .map(|sql| private(Stage::Analyze, sql))
        .collect()
}

/// The statement that builds an index, alone or with the constraint that insists on building it.
pub(super) fn create(table: &str, definition: &Definition, index: &Index) -> String {
    match constraint_of(definition, index) {
        Some(constraint) if builds_its_index(definition, constraint, index) => {
            render::add_constraint(table, constraint)
        }
        Some(_) | None => render::create_index(table, index),
    }
}

/// The statement that makes a constraint of a built index, if it belongs to one.
pub(super) fn attach(table: &str, definition: &Definition, index: &Index) -> Option<String> {
    let constraint = constraint_of(definition, index)?;
    (!builds_its_index(definition, constraint, index))
        .then(|| render::constraint_using_index(table, constraint, index))
}

/// Everything that is attached to indexes and not part of their `CREATE`.
pub(super) fn properties(schema: &str, definition: &Definition) -> Vec<String> {
    let table = ident::qualified(schema, &definition.name.name);
    let mut sql = Vec::new();
    for index in definition.indexes.iter().filter(|index| index.valid) {
        let name = ident::qualified(schema, &index.name);
        let constraint = constraint_of(definition, index);
        if let (Some(constraint), Some(tablespace)) = (constraint, &index.tablespace)
            && builds_its_index(definition, constraint, index)
        {
            sql.push(format!("ALTER INDEX {name} SET TABLESPACE {}", Ident(tablespace)));
        }
        sql.extend(index.statistics.iter().map(|(column, target)| {
            format!("ALTER INDEX {name} ALTER COLUMN {column} SET STATISTICS {target}")
        }));
        sql.extend(render::comment(&format!("INDEX {name}"), index.comment.as_ref()));
        sql.extend(constraint.and_then(|constraint| shadow::constraint_comment(&table, constraint)));
        if index.clustered {
            sql.push(format!("ALTER TABLE {table} CLUSTER ON {}", Ident(&index.name)));
        }
        if index.replica_identity {
            let index = Ident(&index.name);
            sql.push(format!(
                "ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}"
            ));
        }
    }
    sql
}
