//! What a plan says.

use std::fmt::Write as _;

use crossfade_core::plan::{Expression, Plan};
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::planner;

use crate::{World, step};

const ORDERS: [&str; 2] = [
    "ALTER COLUMN id TYPE bigint, ALTER COLUMN status DROP DEFAULT, \
     ALTER COLUMN status TYPE order_status USING status::order_status, \
     ALTER COLUMN status SET DEFAULT 'new', ALTER COLUMN amount TYPE bigint USING cents(amount)",
    "ADD COLUMN source text NOT NULL DEFAULT 'web', ADD COLUMN seen timestamptz DEFAULT now()",
];

#[tokio::test]
async fn orders_are_retyped() {
    let world = World::create().await;
    // A generated column reads amount: it stays as it is.
    let alters = [ORDERS[0].rsplit_once(", ").unwrap().0, ORDERS[1]];
    let plan = world.plan("orders", &alters).await;
    let _bound = world.by_version();
    insta::assert_snapshot!(as_text(&plan));
}

#[tokio::test]
async fn names_are_quoted_wherever_they_are_used() {
    let world = World::create().await;
    let table = "shop.\"Ordér \"\"Lines\"\"\"";
    let alters = [
        "ALTER COLUMN \"select\" TYPE bigint, ALTER \"Größe\" TYPE order_status USING \"Größe\"::order_status",
    ];
    let plan = world.plan(table, &alters).await;
    let _bound = world.by_version();
    insta::assert_snapshot!(as_text(&plan));
}

#[tokio::test]
async fn columns_keep_their_origin_through_renames_drops_and_additions() {
    let world = World::create().await;
    world.sql("CREATE TABLE shop.t (id int PRIMARY KEY, a text, b text, c int, d int); ALTER TABLE shop.t OWNER TO app").await;
    let alters = [
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
        "DROP COLUMN c, ADD COLUMN c text, ALTER d TYPE text USING a || '/' || b || d -- as named now",
        "RENAME d TO e",
    ];
    let plan = world.plan("t", &alters).await;
    insta::assert_snapshot!(columns(&plan));
}

#[tokio::test]
async fn a_plan_has_a_digest_and_holds_until_the_table_changes() {
    let world = World::create().await;
    let session = world.session("engine").await;
    let (one, two) = (
        world.plan("orders", &ORDERS[1..]).await,
        world.plan("orders", &ORDERS[1..]).await,
    );
    assert_eq!(planner::digest(&one), planner::digest(&two));
    assert_eq!(planner::digest(&one).len(), 64);
    assert_eq!(planner::still_valid(&session, &one).await.unwrap(), []);

    world
        .sql("SET ROLE app; CREATE PUBLICATION crossfade_widen FOR TABLE ONLY shop.orders; RESET ROLE")
        .await;
    assert_eq!(planner::still_valid(&session, &one).await.unwrap(), []);

    world
        .sql("ALTER TABLE shop.orders ALTER note SET DEFAULT 'x'")
        .await;
    let differences = planner::still_valid(&session, &one).await.unwrap();
    let paths: Vec<&str> = differences
        .iter()
        .map(|difference| difference.path.as_str())
        .collect();
    assert!(paths.contains(&"columns.note.default"), "{differences:?}");

    world.sql("ALTER TABLE shop.orders RENAME TO gone").await;
    let differences = planner::still_valid(&session, &one).await.unwrap();
    assert_eq!(differences[0].path, "oid");
}

#[tokio::test]
async fn a_template_parses_and_plans_to_nothing() {
    let world = World::create().await;
    let session = world.session("engine").await;
    for table in ["orders", "shop.\"Ordér \"\"Lines\"\"\""] {
        let text = planner::template(&session, &table.parse().unwrap())
            .await
            .unwrap();
        insta::assert_snapshot!(text);
        let request = ChangeRequest::from_toml("change.toml", &text).unwrap();
        let planned = planner::plan(&session, &request, &"x".parse().unwrap())
            .await
            .unwrap();
        let codes: Vec<&str> = planned
            .plan
            .notices
            .iter()
            .map(|notice| notice.code.word())
            .collect();
        assert_eq!(codes, ["metadata_only"]);
    }
}

/// Everything but what differs from server to server.
fn as_text(plan: &Plan) -> String {
    let step = step(plan);
    let mut text = format!("{}\n\n", columns(plan));
    let _ = writeln!(text, "search_path {}", plan.search_path);
    let _ = writeln!(
        text,
        "estimate {} rows\n{}",
        step.estimate.rows, step.copy_mode_reason
    );
    for notice in &plan.notices {
        let _ = writeln!(text, "\n{}: {}\n  {}", notice.code, notice.object, notice.message);
        if let Some(offer) = &notice.offer {
            let _ = writeln!(text, "  {offer}");
        }
    }
    for statement in &step.statements {
        let _ = writeln!(text, "\n[{:?}]\n{}", statement.stage, statement.sql);
        for lock in &statement.locks {
            let _ = writeln!(text, "  -- {lock}, {}", statement.held);
        }
    }
    text
}

fn columns(plan: &Plan) -> String {
    let step = step(plan);
    let (source, target) = (&step.source, &step.targets[0]);
    let name = |position: &usize| source.columns[*position].name.as_str();
    let reads = |value: &Expression| value.reads.iter().map(name).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "{} (binary {}) into {}\n",
        source.name, source.binary, target.shadow
    );
    for column in &source.columns {
        let _ = writeln!(
            text,
            "  {} {} {:?}",
            column.name, column.type_name, column.equality
        );
    }
    let key = |positions: &Vec<usize>| positions.iter().map(name).collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        text,
        "key {:?} -> {:?}",
        source.key.as_ref().map(|found| key(&found.columns)),
        target.key
    );
    for column in &target.columns {
        let _ = writeln!(
            text,
            "  {} {} = {} (reads {})",
            column.name,
            column.type_name,
            column.value.sql,
            reads(&column.value)
        );
    }
    text
}
