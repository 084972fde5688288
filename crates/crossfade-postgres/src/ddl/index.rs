//! Indexes of the shadow: the key first, the others when the copy is done, then what hangs on them.

use std::collections::BTreeSet;

use crossfade_core::plan::{Stage, Statement};

use crate::catalog::{Definition, Index};
use crate::ddl::render::{self, builds_its_index, constraint_of};
use crate::ddl::{DdlContext, KEY_INDEX, private, shadow};
use crate::ident::{self, Ident};

/// Stage `KeyIndex`: the unique index by which changes are applied; our own if the new table has none on
/// exactly the key's columns.
pub fn key_index(context: &DdlContext, desired: &Definition) -> Vec<Statement> {
    let table = context.shadow(desired);
    let sql = match key_of(context, desired) {
        Some(index) => {
            let mut sql = vec![create(&table, desired, index)];
            sql.extend(attach(&table, desired, index));
            sql
        }
        None if needs_own_key(context, desired) => {
            let columns = ident::list(context.key.iter().map(String::as_str));
            vec![format!(
                "CREATE UNIQUE INDEX {} ON {table} ({columns})",
                Ident(KEY_INDEX)
            )]
        }
        None => Vec::new(),
    };
    sql.into_iter().map(|sql| private(Stage::KeyIndex, sql)).collect()
}

/// Whether [`key_index`] makes an index of our own.
pub(super) fn needs_own_key(context: &DdlContext, desired: &Definition) -> bool {
    !context.key.is_empty() && key_of(context, desired).is_none()
}

/// The index to apply by: the replica identity's if it has the key's columns, else the first that has.
fn key_of<'a>(context: &DdlContext, desired: &'a Definition) -> Option<&'a Index> {
    let key: BTreeSet<&str> = context.key.iter().map(String::as_str).collect();
    let fits = |index: &&Index| {
        let columns: Option<BTreeSet<&str>> = index.columns.iter().map(Option::as_deref).collect();
        let plain = index.unique && index.immediate && index.valid && index.predicate.is_none();
        plain && columns.as_ref() == Some(&key) && index.definition.starts_with("btree ")
    };
    let candidates = || desired.indexes.iter().filter(fits);
    candidates()
        .find(|index| index.replica_identity)
        .or_else(|| candidates().next())
}

/// Stage `Index`: all other indexes and exclusion constraints, each independent of the others. Those that
/// foreign keys rely on come first: of several with the same columns the server takes the oldest.
pub fn indexes(context: &DdlContext, desired: &Definition) -> Vec<Statement> {
    let table = context.shadow(desired);
    let keys = desired.incoming.iter().chain(&desired.foreign_keys);
    let relied_on: BTreeSet<&String> = keys.filter_map(|key| key.index.as_ref()).collect();
    let (first, then): (Vec<&Index>, Vec<&Index>) =
        others(context, desired).partition(|index| relied_on.contains(&index.name));
    first
        .into_iter()
        .chain(then)
        .map(|index| private(Stage::Index, create(&table, desired, index)))
        .collect()
}

fn others<'a>(context: &DdlContext, desired: &'a Definition) -> impl Iterator<Item = &'a Index> {
    let key = key_of(context, desired).map(|index| &index.name);
    desired
        .indexes
        .iter()
        .filter(move |index| index.valid && Some(&index.name) != key)
}

/// Stage `Analyze`, in order: constraints made of their indexes, what is attached to indexes, `ANALYZE`.
/// Making a constraint of an index takes an exclusive lock on the shadow, so it must not run beside another
/// index build, as the statements of stage `Index` do.
pub fn analyze(context: &DdlContext, desired: &Definition) -> Vec<Statement> {
    let table = context.shadow(desired);
    let attached = others(context, desired).filter_map(|index| attach(&table, desired, index));
    attached
        .chain(properties(&context.shadow_schema, desired))
        .chain([format!("ANALYZE {table}")])
        .map(|sql| private(Stage::Analyze, sql))
        .collect()
}

/// The statement that builds an index, alone or with the constraint that insists on building it.
pub(super) fn create(table: &str, definition: &Definition, index: &Index) -> String {
    match constraint_of(definition, index) {
        Some(constraint) if builds_its_index(constraint, index) => render::add_constraint(table, constraint),
        Some(_) | None => render::create_index(table, index),
    }
}

/// The statement that makes a constraint of a built index, if it belongs to one.
pub(super) fn attach(table: &str, definition: &Definition, index: &Index) -> Option<String> {
    let constraint = constraint_of(definition, index)?;
    (!builds_its_index(constraint, index)).then(|| render::constraint_using_index(table, constraint, index))
}

/// Everything that is attached to indexes and not part of their `CREATE`.
pub(super) fn properties(schema: &str, definition: &Definition) -> Vec<String> {
    let table = ident::qualified(schema, &definition.name.name);
    let mut sql = Vec::new();
    for index in definition.indexes.iter().filter(|index| index.valid) {
        let name = ident::qualified(schema, &index.name);
        let constraint = constraint_of(definition, index);
        if let (Some(constraint), Some(tablespace)) = (constraint, &index.tablespace)
            && builds_its_index(constraint, index)
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
