//! What is carried over, for display.

use crossfade_core::plan::ReplicaIdentity;

use crate::catalog::definition::{ConstraintKind, Definition, Fires, Owned};

/// One attachment that the new table will have too.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CarriedItem {
    /// Its class: `column`, `index`, `foreign key`, …
    pub class: String,
    /// Its name, with what is special about it.
    pub object: String,
}

/// Everything carried over, by class.
pub fn carried(definition: &Definition) -> Vec<CarriedItem> {
    let item = |class: &str, object: String| CarriedItem {
        class: class.to_owned(),
        object,
    };
    let mut items = Vec::new();
    let columns = definition.columns.iter();
    items.extend(columns.map(|column| item("column", format!("{} {}", column.name, column.type_name))));
    let constraints = definition.constraints.iter();
    items.extend(constraints.map(|constraint| item(class(constraint.kind), constraint.name.clone())));
    let indexes = definition
        .indexes
        .iter()
        .filter(|index| index.valid && index.constraint.is_none());
    items.extend(indexes.map(|index| item("index", index.name.clone())));
    let own = definition.foreign_keys.iter();
    items.extend(own.map(|key| item("foreign key", key.name.clone())));
    // Those of partitioned tables are refused.
    let incoming = definition.incoming.iter();
    let incoming = incoming.filter(|key| key.referencing_kind != "p" && key.inherited.is_none());
    items.extend(incoming.map(|key| {
        let table = key.referencing.as_ref().map(ToString::to_string);
        item(
            "incoming foreign key",
            format!("{} on {}", key.name, table.unwrap_or_default()),
        )
    }));
    items.extend(definition.triggers.iter().map(|trigger| {
        let object = format!("{}{}", trigger.name, fires(trigger.fires));
        item("trigger", object)
    }));
    items.extend(definition.sequences.iter().map(|sequence| {
        let class = match sequence.owned {
            Owned::Serial => "owned sequence",
            Owned::Identity => "identity sequence",
        };
        item(class, sequence.name.clone())
    }));
    items.extend(settings(definition));
    items
}

fn class(kind: ConstraintKind) -> &'static str {
    match kind {
        ConstraintKind::PrimaryKey => "primary key",
        ConstraintKind::Unique => "unique constraint",
        ConstraintKind::Check => "check constraint",
        ConstraintKind::Exclusion => "exclusion constraint",
        ConstraintKind::NotNull => "not-null constraint",
    }
}

fn fires(fires: Fires) -> &'static str {
    match fires {
        Fires::Origin => "",
        Fires::Disabled => " (disabled)",
        Fires::Replica => " (replica)",
        Fires::Always => " (always)",
    }
}

/// What the table has beside named objects.
fn settings(definition: &Definition) -> Vec<CarriedItem> {
    let table = &definition.table;
    let mut items = vec![("owner", table.owner.clone())];
    items.extend(
        table
            .grants
            .iter()
            .filter(|grant| grant.grantee.as_ref() != Some(&table.owner))
            .map(|grant| {
                let grantee = grant.grantee.as_deref().unwrap_or("PUBLIC");
                ("grant", format!("{} to {grantee}", grant.privilege))
            }),
    );
    for column in &definition.columns {
        items.extend(column.grants.iter().map(|grant| {
            let grantee = grant.grantee.as_deref().unwrap_or("PUBLIC");
            (
                "column grant",
                format!("{} ({}) to {grantee}", grant.privilege, column.name),
            )
        }));
    }
    items.extend(
        table
            .options
            .iter()
            .map(|option| ("storage parameter", option.clone())),
    );
    items.extend(
        table
            .toast_options
            .iter()
            .map(|option| ("storage parameter", format!("toast.{option}"))),
    );
    items.extend(
        table
            .clustered_index
            .iter()
            .map(|index| ("cluster mark", index.clone())),
    );
    items.extend(replica_identity(&table.replica_identity).map(|identity| ("replica identity", identity)));
    let comments = comments(definition);
    if comments > 0 {
        items.push(("comments", comments.to_string()));
    }
    items
        .into_iter()
        .map(|(class, object)| CarriedItem {
            class: class.to_owned(),
            object,
        })
        .collect()
}

fn replica_identity(identity: &ReplicaIdentity) -> Option<String> {
    match identity {
        ReplicaIdentity::Default => None,
        ReplicaIdentity::Index { name } => Some(format!("index {name}")),
        ReplicaIdentity::Full => Some("full".to_owned()),
        ReplicaIdentity::Nothing => Some("nothing".to_owned()),
    }
}

fn comments(definition: &Definition) -> usize {
    let own = [&definition.table.comment, &definition.row_type.comment];
    own.into_iter()
        .chain(definition.columns.iter().map(|column| &column.comment))
        .chain(
            definition
                .constraints
                .iter()
                .map(|constraint| &constraint.comment),
        )
        .chain(definition.foreign_keys.iter().map(|key| &key.comment))
        .chain(definition.incoming.iter().map(|key| &key.comment))
        .chain(definition.indexes.iter().map(|index| &index.comment))
        .chain(definition.triggers.iter().map(|trigger| &trigger.comment))
        .chain(definition.sequences.iter().map(|sequence| &sequence.comment))
        .flatten()
        .count()
}
