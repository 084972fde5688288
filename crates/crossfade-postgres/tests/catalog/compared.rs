//! Every planted difference is found, where it is; what nobody thought of is refused.

use crossfade_postgres::catalog::{self, Definition, Edge, Fires};

use crate::differences;
use crate::statements::SOURCE;

fn source() -> Definition {
    serde_json::from_str(SOURCE).unwrap()
}

type Plant = fn(&mut Definition);

#[test]
fn each_planted_difference_is_found_where_it_is() {
    let expected = source();
    let planted: [(&str, Plant); 12] = [
        ("columns.doc.type_name", |d| {
            d.columns[7].type_name = "bytea".to_owned()
        }),
        ("columns.doc.position", |d| d.columns[7].position = 8_000),
        ("columns.doc", |d| drop(d.columns.remove(7))),
        ("table.options", |d| drop(d.table.options.pop())),
        ("table.grants", |d| drop(d.table.grants.pop())),
        ("indexes.order_also", |d| drop(d.indexes.remove(0))),
        ("constraints.order_key.deferrable", |d| {
            d.constraints[1].deferrable = true
        }),
        ("incoming.child_order_id_fkey on s.child.validated", |d| {
            d.incoming[0].validated = false
        }),
        ("foreign_keys.order_boss.columns", |d| {
            d.foreign_keys[0].columns.push("id".to_owned())
        }),
        ("triggers.constrained.fires", |d| {
            d.triggers[0].fires = Fires::Always
        }),
        ("sequences.Order_id_seq.cache", |d| d.sequences[1].cache = 99),
        ("depend.trigger touch --n--> function s.touch()", |d| {
            d.depend.retain(|edge| edge.referenced != "function s.touch()");
        }),
    ];
    for (path, plant) in planted {
        let mut actual = source();
        plant(&mut actual);
        for (one, other) in [(&expected, &actual), (&actual, &expected)] {
            let found = differences(one, other);
            assert_eq!(found.len(), 1, "{path}: {found:?}");
            assert!(found[0].starts_with(path), "{path}: {found:?}");
        }
    }
}

#[test]
fn what_is_seen_beside_the_definition_is_not_compared() {
    let mut actual = source();
    actual.outside.oid += 1;
    actual.outside.relfilenode += 1;
    assert_eq!(differences(&source(), &actual), [""; 0]);
}

#[test]
fn an_edge_of_a_class_that_nobody_thought_of_is_refused() {
    let edge = |dependent: &str, kind: &str, referenced: &str| Edge {
        dependent: dependent.to_owned(),
        dependent_own: false,
        kind: kind.to_owned(),
        referenced: referenced.to_owned(),
        referenced_own: true,
    };
    let planted = [
        ("unknown_dependency", edge("property graph s.g", "n", "table")),
        ("unknown_dependency", edge("index s.other", "n", "column id")),
        ("unknown_dependency", edge("sequence s.other", "q", "column id")),
        (
            "unknown_dependency",
            edge("table constraint c on s.other", "n", "row type"),
        ),
        (
            "identity_sequence_used",
            edge("default value for s.other.id", "n", "identity sequence of id"),
        ),
        ("typed_table_elsewhere", edge("table s.other", "n", "row type")),
        ("extension_member", edge("view s.v", "e", "table")),
    ];
    for (code, edge) in planted {
        let mut definition = source();
        definition.depend.push(edge);
        let refusals = catalog::refuse(&definition, &[]);
        let codes: Vec<&str> = refusals.iter().map(|refusal| refusal.code.word()).collect();
        assert_eq!(codes, [code]);
    }
}

#[test]
fn what_alter_table_would_refuse_for_an_attachments_sake_is_refused() {
    let mut probe = source();
    probe.columns.retain(|column| column.name != "the name");
    probe.indexes.retain(|index| index.name != "order_key");
    let refusals = catalog::desired(&source(), &probe).unwrap_err();
    let found: Vec<String> = refusals
        .iter()
        .map(|refusal| format!("{}: {}", refusal.code, refusal.object))
        .collect();
    let expected = [
        "foreign_key_loses_key: foreign key child_order_id_fkey on s.child",
        "foreign_key_loses_key: foreign key elder_order on s.elder",
        "foreign_key_loses_key: foreign key order_boss on s.Order",
        "trigger_loses_column: trigger touch on s.Order",
    ];
    assert_eq!(found, expected);
}
