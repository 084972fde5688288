//! The key by which changes are applied: the columns of the source's replica identity (R2).
//!
//! The stream carries no other old values than those of the replica identity. A table without a usable one can
//! be followed only while nothing in it is updated or deleted.

use crossfade_core::plan::ReplicaIdentity;

use crate::catalog::{ConstraintKind, Definition, Index};

/// What identifies a row of the source.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyChoice {
    /// These columns, in index order.
    Columns(Vec<String>),
    /// Nothing does.
    Keyless(NoKey),
}

/// Why no key is usable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// `REPLICA IDENTITY DEFAULT`, and no primary key.
    NoPrimaryKey,
    /// The primary key is deferrable: the server does not use it as an identity.
    DeferrablePrimaryKey,
    /// `REPLICA IDENTITY FULL`, and no index that tells rows apart.
    NoUniqueIndex,
    /// `REPLICA IDENTITY USING INDEX`, and the index is gone or does not tell rows apart.
    UnusableIndex { index: String },
    /// `REPLICA IDENTITY NOTHING`.
    Nothing,
}

impl NoKey {
    /// As the end of "… has no usable key: ".
    pub(crate) fn words(&self) -> String {
        match self {
            NoKey::NoPrimaryKey => "it has no primary key".to_owned(),
            NoKey::DeferrablePrimaryKey => "its primary key is deferrable".to_owned(),
            NoKey::NoUniqueIndex => {
                "no immediate unique index covers columns that are all NOT NULL".to_owned()
            }
            NoKey::UnusableIndex { index } => {
                format!("the index {index} of its replica identity is not an immediate unique one")
            }
            NoKey::Nothing => "its replica identity is NOTHING".to_owned(),
        }
    }
}

/// Finds the key of a table.
pub(crate) fn choose(definition: &Definition) -> KeyChoice {
    match &definition.table.replica_identity {
        ReplicaIdentity::Default => primary_key(definition),
        ReplicaIdentity::Index { name } => {
            let index = definition
                .index(name)
                .and_then(|index| key_columns(definition, index));
            let unusable = || KeyChoice::Keyless(NoKey::UnusableIndex { index: name.clone() });
            index.map_or_else(unusable, KeyChoice::Columns)
        }
        ReplicaIdentity::Full => any_unique_index(definition),
        ReplicaIdentity::Nothing => KeyChoice::Keyless(NoKey::Nothing),
    }
}

fn primary_key(definition: &Definition) -> KeyChoice {
    let constraint = definition
        .constraints
        .iter()
        .find(|constraint| constraint.kind == ConstraintKind::PrimaryKey);
    let Some(constraint) = constraint else {
        return KeyChoice::Keyless(NoKey::NoPrimaryKey);
    };
    let index = constraint
        .index
        .as_deref()
        .and_then(|name| definition.index(name));
    match index.and_then(|index| key_columns(definition, index)) {
        Some(columns) => KeyChoice::Columns(columns),
        None => KeyChoice::Keyless(NoKey::DeferrablePrimaryKey),
    }
}

/// Under FULL any will do: the primary key if there is one, else the index with the fewest columns.
fn any_unique_index(definition: &Definition) -> KeyChoice {
    if let KeyChoice::Columns(columns) = primary_key(definition) {
        return KeyChoice::Columns(columns);
    }
    let usable = definition
        .indexes
        .iter()
        .filter_map(|index| key_columns(definition, index));
    match usable.min_by_key(Vec::len) {
        Some(columns) => KeyChoice::Columns(columns),
        None => KeyChoice::Keyless(NoKey::NoUniqueIndex),
    }
}

/// The columns of an index that tells every two rows apart, at every moment.
fn key_columns(definition: &Definition, index: &Index) -> Option<Vec<String>> {
    let columns = plain_unique_columns(index)?;
    let not_null = |name: &String| definition.column(name).is_some_and(|column| column.not_null);
    columns.iter().all(not_null).then_some(columns)
}

/// The columns of an immediate, complete, unique index without expressions.
pub(super) fn plain_unique_columns(index: &Index) -> Option<Vec<String>> {
    let usable = index.unique && index.valid && index.immediate && index.predicate.is_none();
    usable.then(|| index.columns.iter().cloned().collect()).flatten()
}
