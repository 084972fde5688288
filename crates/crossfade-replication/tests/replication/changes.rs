//! What an application does to a row, and what arrives.

use bytes::Bytes;
use crossfade_core::change::{Cell, Change, Row};
use crossfade_core::piece::MESSAGE_PREFIX;

use crate::scene::{Following, Scene, narrow};

fn text(value: &str) -> Cell {
    Cell::Text(Bytes::copy_from_slice(value.as_bytes()))
}

fn row(cells: &[Cell]) -> Row {
    Row(cells.into())
}

/// Wide and random enough to be stored out of line.
const TOASTED: &str = "(SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i)";

#[tokio::test]
async fn every_kind_of_change_arrives_as_it_was_made() {
    let scene = Scene::new().await;
    let mut following = scene.follow().await;
    scene.run("INSERT INTO t VALUES (1, 'a'), (2, NULL)").await;
    let part = following.part().await.unwrap();
    let inserted = [[text("1"), text("a")], [text("2"), Cell::Null]];
    let inserted = inserted.map(|cells| Change::Insert { new: row(&cells) });
    assert_eq!(part.changes, inserted);
    assert!(part.first && part.commit_lsn > Some(part.final_lsn));

    scene.run("UPDATE t SET note = 'b' WHERE id = 1").await;
    let new = row(&[text("1"), text("b")]);
    assert_eq!(following.change().await, Change::Update { old_key: None, new });

    scene.run("UPDATE t SET id = 3 WHERE id = 1").await;
    let old_key = Some(row(&[text("1"), Cell::Null]));
    let new = row(&[text("3"), text("b")]);
    assert_eq!(following.change().await, Change::Update { old_key, new });

    scene
        .run("BEGIN; INSERT INTO t VALUES (9, 'never'); ROLLBACK")
        .await;
    scene.run("DELETE FROM t WHERE id = 3").await;
    let old_key = row(&[text("3"), Cell::Null]);
    assert_eq!(following.change().await, Change::Delete { old_key });

    scene.run("TRUNCATE t RESTART IDENTITY").await;
    assert_eq!(
        following.change().await,
        Change::Truncate {
            restart_identity: true
        }
    );
    following.stop().await;
}

#[tokio::test]
async fn an_untouched_toasted_value_is_unchanged_or_under_full_identity_filled_in() {
    let scene = Scene::new().await;
    scene
        .run(&format!(
            "ALTER TABLE t ADD big text; INSERT INTO t VALUES (1, 'a', {TOASTED})"
        ))
        .await;
    let mut following = scene.follow().await;
    let Change::Insert { new } = following.change().await else {
        panic!("an insert was made");
    };
    assert_eq!(new.0[2].size(), 6400);

    scene.run("UPDATE t SET note = 'b'").await;
    let new = row(&[text("1"), text("b"), Cell::Unchanged]);
    assert_eq!(following.change().await, Change::Update { old_key: None, new });
    following.stop().await;
}

#[tokio::test]
async fn under_full_identity_nothing_is_missing() {
    let scene = Scene::new().await;
    scene.run(&format!(
        "ALTER TABLE t ADD big text; ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a', {TOASTED})"
    )).await;
    let mut following = scene.follow().await;
    let Change::Insert { new } = following.change().await else {
        panic!("an insert was made");
    };
    let big = new.0[2].clone();
    scene.run("UPDATE t SET note = 'b'").await;
    let new = row(&[text("1"), text("b"), big.clone()]);
    assert_eq!(following.change().await, Change::Update { old_key: None, new });
    scene.run("UPDATE t SET id = 2").await;
    let old_key = Some(row(&[text("1"), text("b"), big.clone()]));
    let new = row(&[text("2"), text("b"), big]);
    assert_eq!(following.change().await, Change::Update { old_key, new });
    following.stop().await;
}

#[tokio::test]
async fn a_key_stored_out_of_line_is_always_there() {
    let scene = Scene::new().await;
    scene
        .run(&format!(
            "ALTER TABLE t ALTER id TYPE text, ALTER id SET STORAGE EXTERNAL; \
         ALTER TABLE t SET (toast_tuple_target = 128); INSERT INTO t VALUES (left({TOASTED}, 2000), 'a')"
        ))
        .await;
    let mut following = scene.follow().await;
    let Change::Insert { new } = following.change().await else {
        panic!("an insert was made");
    };
    let key = new.0[0].clone();
    scene.run("UPDATE t SET note = 'b'").await;
    let new = row(&[key, text("b")]);
    assert_eq!(following.change().await, Change::Update { old_key: None, new });
    following.stop().await;
}

#[tokio::test]
async fn rows_come_in_binary_where_the_types_allow_it() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.binary = true;
    let mut following = Following::start(options);
    scene.run("INSERT INTO t VALUES (258, 'a')").await;
    let new = row(&[
        Cell::Binary(Bytes::from_static(&[0, 0, 1, 2])),
        Cell::Binary(Bytes::from_static(b"a")),
    ]);
    assert_eq!(following.change().await, Change::Insert { new });
    following.stop().await;
}

#[tokio::test]
async fn text_does_not_depend_on_the_settings_of_the_database() {
    let scene = Scene::new().await;
    scene.run(
        "ALTER TABLE t ADD at timestamptz, ADD lasts interval, ADD f float8, ADD b bytea, ADD r regclass; \
         ALTER DATABASE app SET TimeZone = 'Asia/Tokyo'; ALTER DATABASE app SET DateStyle = 'German'; \
         ALTER DATABASE app SET IntervalStyle = 'iso_8601'; ALTER DATABASE app SET extra_float_digits = -5; \
         ALTER DATABASE app SET bytea_output = 'escape'; ALTER DATABASE app SET statement_timeout = '1ms'",
    ).await;
    let mut following = scene.follow().await;
    scene.run("INSERT INTO t VALUES (1, 'ä', '2024-02-29 12:00+00', '1 day 2 h', 0.1::float8 + 0.2, '\\x00ff', 't')")
        .await;
    let expected = [
        "1",
        "ä",
        "2024-02-29 12:00:00+00",
        "1 day 02:00:00",
        "0.30000000000000004",
        "\\x00ff",
        "public.t",
    ];
    let new = row(&expected.map(text));
    assert_eq!(following.change().await, Change::Insert { new });
    following.stop().await;
}

#[tokio::test]
async fn messages_of_ours_come_with_their_transaction_and_others_do_not() {
    let scene = Scene::new().await;
    let mut following = scene.follow().await;
    scene
        .run(&format!(
            "SELECT pg_logical_emit_message(true, 'other', 'x'); \
         SELECT pg_logical_emit_message(false, '{MESSAGE_PREFIX}', 'lonely')"
        ))
        .await;
    scene
        .run(&format!(
            "BEGIN; SELECT pg_logical_emit_message(true, '{MESSAGE_PREFIX}', 'fence a 1'); \
         INSERT INTO t VALUES (1, 'a'); COMMIT"
        ))
        .await;
    let part = following.part().await.unwrap();
    assert_eq!(part.messages, [Bytes::from_static(b"fence a 1")]);
    assert_eq!(part.changes.len(), 1);
    following.stop().await;
}

#[tokio::test]
async fn a_large_transaction_comes_in_parts() {
    let scene = Scene::new().await;
    let mut options = scene.options().await;
    options.limits = narrow();
    let mut following = Following::start(options);
    scene
        .run("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 5) i")
        .await;
    let mut parts = Vec::new();
    while parts.last().is_none_or(|(_, _, commit)| !commit) {
        let part = following.part().await.unwrap();
        parts.push((part.first, part.changes.len(), part.commit_lsn.is_some()));
    }
    assert_eq!(parts, [(true, 2, false), (false, 2, false), (false, 1, true)]);
    following.stop().await;
}
