//! Keys: swapped, composite, equal with different bytes, longer than the target takes.

use crossfade_core::piece::{Piece, TargetKey};
use crossfade_postgres::apply::fetch::Fetcher;

use super::scene::{Scene, Table, assert_applied, batch, not_applied};

/// T7: two rows exchange their keys in one piece; both are in both lists.
#[tokio::test]
async fn rows_that_exchange_keys_do_so_at_once() {
    let scene = Scene::new(Table::default()).await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 1, 'one'), (2, 2, 'two'), (3, 3, 'three')")
        .await;
    let deletes = scene.keys("VALUES (1), (2), (3)").await;
    let puts = scene.puts("VALUES (1, 2, 'two'), (2, 1, 'one')").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    assert_eq!(scene.target().await, ["(1,2,two)", "(2,1,one)"]);
}

/// T8: of a composite key every column counts.
#[tokio::test]
async fn a_composite_key_touches_exactly_one_row() {
    let columns = [("a", "integer"), ("b", "text"), ("v", "integer")];
    let scene = Scene::new(Table {
        columns: &columns,
        key: Some(&[1, 0]),
        ..Table::default()
    })
    .await;
    scene
        .run(
            "INSERT INTO shadow.t SELECT a, b::text, 0 FROM generate_series(1, 3) a, generate_series(1, 3) b",
        )
        .await;
    let deletes = scene.keys("VALUES ('2'::text, 1)").await;
    let puts = scene.puts("VALUES (2, '2'::text, 7)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    let changed = scene.texts("SELECT t::text FROM shadow.t WHERE v = 7").await;
    assert_eq!(changed, ["(2,2,7)"]);
    let gone = scene
        .texts("SELECT count(*) || ' ' || count(*) FILTER (WHERE (a, b) = (1, '2')) FROM shadow.t")
        .await;
    assert_eq!(gone, ["8 0"]);
}

/// R12: what the server holds to be equal is one row, and the new bytes are written.
#[tokio::test]
async fn keys_that_are_equal_with_different_bytes_are_one_row() {
    let columns = [("n", "numeric"), ("f", "double precision"), ("v", "integer")];
    let scene = Scene::new(Table {
        columns: &columns,
        key: Some(&[0, 1]),
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1.0, 0, 1), (2.0, 0, 2)")
        .await;
    let mut applier = scene.applier().await;
    let puts = scene.puts("VALUES (1.000, '-0'::float8, 7)").await;
    let deletes = scene.keys("VALUES (2.00, '-0'::float8)").await;
    assert_applied(applier.apply(&batch(2, deletes, puts)).await);
    assert_eq!(scene.target().await, ["(1.000,-0,7)"]);

    let fetcher = Fetcher::prepare(&scene.session, &scene.step.source)
        .await
        .unwrap();
    let keys = "VALUES (1.0, 0::float8), (2, 0), (1.00, '-0'), ('NaN', 1), (1, 1), ('NaN', 1.0)";
    let keys = scene.keys(keys).await;
    let classes = fetcher.classify(&scene.session, &keys).await.unwrap();
    assert_eq!(classes[0], classes[2]);
    assert_eq!(classes[3], classes[5]);
    let mut distinct = classes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{classes:?}");
}

/// A key that the target's type cannot hold must not be cut and hit another row.
#[tokio::test]
async fn a_longer_key_does_not_remove_its_prefix() {
    let columns = [("k", "text"), ("v", "integer")];
    let mut scene = Scene::new(Table {
        columns: &columns,
        ..Table::default()
    })
    .await;
    scene
        .run("ALTER TABLE shadow.t ALTER k TYPE varchar(3); INSERT INTO shadow.t VALUES ('abc', 1)")
        .await;
    scene.step.targets[0].columns[0].type_name = "character varying(3)".to_owned();
    let deletes = scene.keys("VALUES ('abcd'::text)").await;
    let mut applier = scene.applier().await;
    let error = not_applied(applier.apply(&batch(2, deletes, Vec::new())).await);
    assert!(!error.to_string().contains("abcd"), "{error}");
    assert_eq!(scene.target().await, ["(abc,1)"]);
}

/// Without a key rows are appended in order, duplicates included, and a delete is refused.
#[tokio::test]
async fn without_a_key_rows_are_only_appended() {
    let scene = Scene::new(Table {
        key: None,
        ..Table::default()
    })
    .await;
    let mut applier = scene.applier().await;
    let puts = scene.puts("VALUES (2, 1, 'x'), (1, 1, 'x'), (2, 1, 'x')").await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert_eq!(
        scene.texts("SELECT id::text FROM shadow.t").await,
        ["2", "1", "2"]
    );
    let deletes = scene.keys("VALUES (1)").await;
    let error = not_applied(applier.apply(&batch(3, deletes, Vec::new())).await);
    assert!(
        matches!(error, crossfade_applier::ApplyError::NoKey { .. }),
        "{error}"
    );
}

/// A repair knows rows by the target's key only; nothing else is removed, and what is put in the same piece stays.
#[tokio::test]
async fn rows_without_a_counterpart_are_removed_by_the_targets_key() {
    let columns = [("a", "integer"), ("b", "text"), ("v", "integer")];
    let scene = Scene::new(Table {
        columns: &columns,
        key: Some(&[1, 0]),
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO shadow.t VALUES (1, 'it''s', 0), (1, 'x', 0), (2, 'x', 0)")
        .await;
    let key = |b: &str, a: &str| TargetKey {
        target: 0,
        key: vec![b.to_owned(), a.to_owned()],
    };
    let piece = Piece {
        removes: vec![key("it's", "1"), key("x", "2"), key("nobody", "7")],
        ..batch(2, Vec::new(), scene.puts("VALUES (2, 'x'::text, 9)").await)
    };
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&piece).await);
    let left = scene.texts("SELECT t::text FROM shadow.t ORDER BY a").await;
    assert_eq!(left, ["(1,x,0)", "(2,x,9)"]);
}
