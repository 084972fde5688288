//! Which expressions may fill a column.

use crate::{World, step};

#[tokio::test]
async fn what_would_not_give_the_same_value_twice_is_refused() {
    let world = World::create().await;
    let cases = [
        ("note", "text", "note || random()", "expression_volatile"),
        ("note", "text", "note || now()", "expression_changes"),
        ("note", "text", "note || current_timestamp", "expression_changes"),
        ("note", "text", "note || current_user", "expression_changes"),
        ("note", "text", "note || age(placed)", "expression_changes"),
        ("note", "text", "note::regclass::text", "expression_changes"),
        ("note", "tsvector", "to_tsvector(note)", "expression_changes"),
        ("amount", "numeric", "amount * rate()", "expression_not_immutable"),
        (
            "note",
            "text",
            "(SELECT max(name) FROM customers)",
            "expression_has_subquery",
        ),
        ("note", "text", "orders::text", "expression_reads_row"),
        ("note", "text", "tableoid::text", "expression_reads_row"),
        ("note", "text", "total::text", "expression_reads_generated"),
        ("note", "text", "NULL", "expression_untyped"),
        ("note", "text", "nope(note)", "alter_rejected"),
        ("note", "text", "ctid::text", "expression_not_over_source"),
    ];
    for (column, kind, using, code) in cases {
        let alter = format!("ALTER {column} TYPE {kind} USING {using}");
        let refusals = world
            .refusals_of("engine", "by_index", &["DROP COLUMN nope"])
            .await;
        assert_eq!(refusals.len(), 1);
        let codes = world
            .codes(
                "orders",
                &["DROP COLUMN total", &alter][usize::from(using.contains("total"))..],
            )
            .await;
        assert_eq!(codes, [code], "{alter}");
    }
}

#[tokio::test]
async fn what_depends_on_the_row_alone_is_written_down_in_full() {
    let world = World::create().await;
    let cases = [
        ("note", "text", "lower(note)", "lower(note)"),
        ("note", "text", "orders.note || 'x' -- why", "(note || 'x'::text)"),
        (
            "status",
            "text",
            "status::order_status::text",
            "((status)::shop.order_status)::text",
        ),
        ("amount", "bigint", "cents(amount)", "shop.cents(amount)"),
        (
            "note",
            "text",
            "coalesce(note, details ->> 'note', '')",
            "COALESCE(note, (details ->> 'note'::text), ''::text)",
        ),
        (
            "placed",
            "timestamptz",
            "placed at time zone 'Europe/Berlin'",
            "(placed AT TIME ZONE 'Europe/Berlin'::text)",
        ),
        ("note", "boolean", "note is null", "(note IS NULL)"),
        (
            "note",
            "text",
            "to_char(placed, 'YYYY')",
            "to_char(placed, 'YYYY'::text)",
        ),
    ];
    for (column, kind, using, expected) in cases {
        let alter = format!("ALTER {column} DROP DEFAULT, ALTER {column} TYPE {kind} USING {using}");
        let plan = world.plan("orders", &["DROP COLUMN total", &alter]).await;
        let target = &step(&plan).targets[0];
        let found = target
            .columns
            .iter()
            .find(|target| target.name == column)
            .unwrap();
        assert_eq!(found.value.sql, expected, "{alter}");
    }
}

#[tokio::test]
async fn statements_that_read_each_others_results_are_refused() {
    let world = World::create().await;
    let cases: [(&[&str], &str); 5] = [
        (
            &[
                "ALTER note TYPE bytea USING note::bytea",
                "ALTER status TYPE text USING note::text",
            ],
            "expression_reads_retyped",
        ),
        (
            &["ALTER note TYPE varchar(9)", "ALTER note TYPE text"],
            "retyped_twice",
        ),
        (
            &["ADD COLUMN x text", "ALTER x TYPE int USING x::int"],
            "retypes_added_column",
        ),
        (
            &["ADD COLUMN x text", "ALTER note TYPE text USING x"],
            "expression_not_over_source",
        ),
        (
            &["DROP COLUMN note", "ALTER status TYPE text USING note"],
            "alter_rejected",
        ),
    ];
    for (alters, code) in cases {
        assert_eq!(world.codes("orders", alters).await, [code], "{alters:?}");
    }
    // Within one statement all of them read the table as it was.
    let alter = "ALTER note TYPE bytea USING note::bytea, ALTER status TYPE text USING note";
    let plan = world.plan("orders", &[alter]).await;
    let target = &step(&plan).targets[0];
    let status = target
        .columns
        .iter()
        .find(|column| column.name == "status")
        .unwrap();
    assert_eq!(status.value.sql, "note");
}
