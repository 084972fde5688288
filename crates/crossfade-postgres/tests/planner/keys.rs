//! Which columns identify a row.

use crossfade_core::code::NoticeCode;
use crossfade_core::plan::{Plan, ReplicaIdentity, Stage};

use crate::{World, step};

fn key(plan: &Plan) -> Option<Vec<&str>> {
    let source = &step(plan).source;
    let names = |columns: &Vec<usize>| {
        columns
            .iter()
            .map(|at| source.columns[*at].name.as_str())
            .collect()
    };
    source.key.as_ref().map(|key| names(&key.columns))
}

#[tokio::test]
async fn the_replica_identity_decides() {
    let world = World::create().await;
    let pairs = world.plan("pairs", &["ALTER a TYPE bigint"]).await;
    assert_eq!(key(&pairs), Some(vec!["b", "a"]));
    assert_eq!(step(&pairs).targets[0].key, Some(vec![1, 0]));

    let by_index = world.plan("by_index", &["ALTER id TYPE bigint"]).await;
    assert_eq!(key(&by_index), Some(vec!["code"]));
    assert_eq!(step(&by_index).source.identity_to_restore, None);

    let by_full = world.plan("by_full", &["ALTER z TYPE bigint"]).await;
    assert_eq!(key(&by_full), Some(vec!["y", "x"]));
    assert_eq!(step(&by_full).source.identity_to_restore, None);
}

#[tokio::test]
async fn a_table_without_key_is_served_while_it_is_only_inserted_into() {
    let world = World::create().await;
    let log = world
        .plan("log", &["ALTER at TYPE timestamp USING at AT TIME ZONE 'UTC'"])
        .await;
    let step = step(&log);
    assert_eq!(key(&log), None);
    assert_eq!(step.source.identity_to_restore, Some(ReplicaIdentity::Default));
    let of = |stage| {
        step.statements_of(stage)
            .map(|statement| statement.sql.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(Stage::Prepare)[0],
        "ALTER TABLE ONLY \"shop\".\"log\" REPLICA IDENTITY FULL"
    );
    let restore = "ALTER TABLE ONLY \"crossfade_widen_retired\".\"log\" REPLICA IDENTITY DEFAULT";
    assert!(of(Stage::AfterSwap).contains(&restore));
    let restore = "ALTER TABLE ONLY \"shop\".\"log\" REPLICA IDENTITY DEFAULT";
    assert!(of(Stage::Abort).contains(&restore));
    assert!(
        log.notices
            .iter()
            .any(|notice| notice.code == NoticeCode::AppendOnly)
    );

    let codes = world.codes("touched", &["ALTER id TYPE bigint"]).await;
    assert_eq!(codes, ["no_usable_key"]);
    world
        .sql("INSERT INTO shop.late_key VALUES (1); UPDATE shop.late_key SET line = 'x'")
        .await;
    world.counted("shop.late_key").await;
    let refusals = world
        .refusals_of("engine", "late_key", &["ALTER id TYPE bigint"])
        .await;
    insta::assert_snapshot!(crate::shown(&refusals));
}

#[tokio::test]
async fn a_change_that_loses_the_key_is_refused() {
    let world = World::create().await;
    for alter in [
        "DROP COLUMN b",
        "DROP CONSTRAINT pairs_pkey",
        "DROP CONSTRAINT pairs_pkey, ADD PRIMARY KEY (b, a) DEFERRABLE",
        "ALTER a TYPE bigint USING length(c)",
        "ALTER a TYPE bigint USING 7::bigint",
    ] {
        assert_eq!(world.codes("pairs", &[alter]).await, ["key_lost"], "{alter}");
    }
}
