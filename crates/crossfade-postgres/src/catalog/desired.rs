//! The definition that the table shall have after the change.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use crate::catalog::definition::{Column, Definition, Edge, ForeignKey, Grant, Owned, Sequence, Table};

/// Joins what the user's `ALTER` made of the empty clone (`probe`, see [`crate::ddl::probe_clone`]) with what a
/// clone does not have: name, owner, privileges, foreign keys, triggers, owned sequences. An attachment whose
/// columns the change drops goes with them where PostgreSQL would let it go.
///
/// # Errors
/// All reasons why PostgreSQL itself would have refused the change for the sake of such an attachment.
pub fn desired(source: &Definition, probe: &Definition) -> Result<Definition, Vec<Refusal>> {
    let refusals = refusals(source, probe);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    let foreign_keys: Vec<ForeignKey> = source
        .foreign_keys
        .iter()
        .filter(|key| has_all(probe, &key.columns))
        .cloned()
        .collect();
    let mut desired = Definition {
        name: source.name.clone(),
        table: Table {
            owner: source.table.owner.clone(),
            grants: source.table.grants.clone(),
            ..probe.table.clone()
        },
        row_type: source.row_type.clone(),
        columns: columns(source, probe),
        constraints: probe.constraints.clone(),
        depend: depend(source, probe, &foreign_keys),
        foreign_keys,
        incoming: source.incoming.clone(),
        indexes: probe.indexes.clone(),
        triggers: source.triggers.clone(),
        rules: source.rules.clone(),
        policies: source.policies.clone(),
        sequences: sequences(source, probe),
        publications: source.publications.clone(),
        subscriptions: source.subscriptions.clone(),
        outside: source.outside.clone(),
    };
    desired.sort();
    Ok(desired)
}

fn has_all(probe: &Definition, columns: &[String]) -> bool {
    columns.iter().all(|column| probe.column(column).is_some())
}

fn columns(source: &Definition, probe: &Definition) -> Vec<Column> {
    let with_grants = |column: &Column| Column {
        grants: source
            .column(&column.name)
            .map(|old| old.grants.clone())
            .unwrap_or_default(),
        ..column.clone()
    };
    probe.columns.iter().map(with_grants).collect()
}

fn sequences(source: &Definition, probe: &Definition) -> Vec<Sequence> {
    let serial = source
        .sequences
        .iter()
        .filter(|sequence| sequence.owned == Owned::Serial && probe.column(&sequence.column).is_some());
    let identity = probe
        .sequences
        .iter()
        .filter(|sequence| sequence.owned == Owned::Identity);
    serial
        .cloned()
        .chain(identity.map(|sequence| identity_sequence(source, sequence)))
        .collect()
}

/// The sequence of the same column takes over owner, privileges and comment; a new one belongs to the table's
/// owner.
fn identity_sequence(source: &Definition, probed: &Sequence) -> Sequence {
    let old = source
        .sequences
        .iter()
        .find(|sequence| sequence.owned == Owned::Identity && sequence.column == probed.column);
    let owner = &source.table.owner;
    let fresh = ["SELECT", "UPDATE", "USAGE"].map(|privilege| Grant {
        grantor: owner.clone(),
        grantee: Some(owner.clone()),
        privilege: privilege.to_owned(),
        grantable: false,
    });
    Sequence {
        owner: owner.clone(),
        grants: old.map_or_else(|| fresh.to_vec(), |old| old.grants.clone()),
        comment: old.and_then(|old| old.comment.clone()),
        ..probed.clone()
    }
}

/// The probe's edges, and the source's of all that the probe does not have.
fn depend(source: &Definition, probe: &Definition, foreign_keys: &[ForeignKey]) -> Vec<Edge> {
    let triggers = source.triggers.iter().map(|trigger| trigger.name.as_str());
    let keys = foreign_keys.iter().map(|key| key.name.as_str());
    // A constraint trigger has both: the trigger and a constraint of its name.
    let kept: BTreeSet<String> = triggers
        .clone()
        .map(|name| format!("trigger {name}"))
        .chain(keys.chain(triggers).map(|name| format!("constraint {name}")))
        .collect();
    let from_source = source.depend.iter().filter(|edge| {
        if edge.dependent_own {
            return kept.contains(&edge.dependent) || edge.kind == "e" || edge.kind == "x";
        }
        column_of(edge).is_none_or(|column| probe.column(column).is_some())
    });
    probe
        .depend
        .iter()
        .filter(|edge| edge.dependent_own)
        .chain(from_source)
        .cloned()
        .collect()
}

fn column_of(edge: &Edge) -> Option<&str> {
    let own = edge.referenced_own.then_some(edge.referenced.as_str());
    own.and_then(|referenced| referenced.strip_prefix("column "))
}

fn refusals(source: &Definition, probe: &Definition) -> Vec<Refusal> {
    let incoming = source
        .incoming
        .iter()
        .filter_map(|key| lost_key(source, probe, key));
    let own = source
        .foreign_keys
        .iter()
        .filter(|key| has_all(probe, &key.columns));
    let to_itself = own.filter(|key| key.referenced.is_none());
    let to_itself = to_itself.filter_map(|key| lost_key(source, probe, key));
    incoming
        .chain(to_itself)
        .chain(lost_columns(source, probe))
        .collect()
}

fn lost_key(source: &Definition, probe: &Definition, key: &ForeignKey) -> Option<Refusal> {
    let index = key.index.as_ref().and_then(|name| probe.index(name));
    let relies = |column: &String| index.is_some_and(|index| index.columns.contains(&Some(column.clone())));
    if key.referenced_columns.iter().all(relies) {
        return None;
    }
    let table = key.referencing.as_ref().unwrap_or(&source.name);
    Some(Refusal {
        code: RefusalCode::ForeignKeyLosesKey,
        object: format!("foreign key {} on {table}", key.name),
        message: "The change drops the column or the unique index that it refers to.".to_owned(),
        remedy: "Drop the foreign key first, or keep the key.".to_owned(),
    })
}

fn lost_columns(source: &Definition, probe: &Definition) -> Vec<Refusal> {
    let lost = |edge: &&Edge| {
        edge.dependent.starts_with("trigger ")
            && edge.dependent_own
            && column_of(edge).is_some_and(|column| probe.column(column).is_none())
    };
    let triggers = source.depend.iter().filter(lost);
    triggers
        .map(|edge| Refusal {
            code: RefusalCode::TriggerLosesColumn,
            object: format!("{} on {}", edge.dependent, source.name),
            message: format!("The change drops the {} that it names.", edge.referenced),
            remedy: "Drop the trigger first.".to_owned(),
        })
        .collect()
}
