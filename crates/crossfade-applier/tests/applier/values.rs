//! Every kind of value, in binary and in text, there and back.

use crossfade_core::change::Row;
use crossfade_postgres::apply::fetch::Fetcher;

use super::scene::{Scene, Table, assert_applied, batch, expression};

const TYPES: &str = "\
CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"');
CREATE DOMAIN small AS integer CHECK (VALUE < 100);
CREATE TYPE pair AS (a integer, b text)";

/// A column of each kind, and three of its values that are known to cause trouble.
const KINDS: &[(&str, &str, [&str; 3])] = &[
    ("bytes", "bytea", [r"''", r"'\x00ff00'", r"'\x5c4e'"]),
    (
        "text",
        "text",
        [r"''", r"E'tab\t nl\n cr\r bs\\ \\N \\. '", "'0xab ünï 😀'"],
    ),
    ("fixed", "character(5)", ["'ab'", "''", "'a b'"]),
    ("short", "character varying(3)", ["'abc'", "''", "'  '"]),
    ("one", "\"char\"", ["'a'", "''", "'z'"]),
    ("bool", "boolean", ["true", "false", "null"]),
    ("i2", "smallint", ["-32768", "32767", "0"]),
    (
        "i8",
        "bigint",
        ["-9223372036854775808", "9223372036854775807", "0"],
    ),
    ("f4", "real", ["'NaN'", "'-0'", "'-Infinity'"]),
    ("f8", "double precision", ["0.1::float8 + 0.2", "'-0'", "1e-310"]),
    ("num", "numeric", ["repeat('9', 1000)::numeric", "'NaN'", "1.10"]),
    ("num2", "numeric(10,2)", ["-0.01", "12345678.90", "'NaN'"]),
    ("money", "money", ["'-1.23'", "'0'", "null"]),
    ("date", "date", ["'infinity'", "'20000-01-01'", "'0044-03-15 BC'"]),
    (
        "ts",
        "timestamp",
        ["'-infinity'", "'20000-01-01 00:00:00.000001'", "'0001-01-01 BC'"],
    ),
    (
        "tz",
        "timestamptz",
        ["'infinity'", "'2024-02-29 23:59:59.999999+14'", "'epoch'"],
    ),
    (
        "time",
        "timetz",
        ["'24:00:00-15:59'", "'00:00:00.000001+01'", "null"],
    ),
    (
        "span",
        "interval",
        [
            "'-1 year 2 mons -3 days 04:05:06.789'",
            "'178000000 years'",
            "'0'",
        ],
    ),
    ("mood", "mood", ["'sad'", r#"'it''s "ok"'"#, "null"]),
    ("small", "small", ["99", "-1", "null"]),
    (
        "list",
        "integer[]",
        ["'{}'", "'{1,NULL,3}'", "'[0:1][2:3]={{1,2},{3,4}}'"],
    ),
    (
        "texts",
        "text[]",
        [r#"'{"a,b","",NULL,"NULL"}'"#, r#"ARRAY[E'\\', '"', '{']"#, "null"],
    ),
    ("moods", "mood[]", ["'{sad}'", "'{}'", "null"]),
    ("pair", "pair", [r#"'(1,"a,)b")'"#, "'(,)'", "'(,\"\")'"]),
    ("range", "int4range", ["'empty'", "'(,)'", "'[1,10)'"]),
    (
        "json",
        "json",
        [r#"'{"a": 1.10, "a":  2}'"#, r#"'"\u0041"'"#, "'null'"],
    ),
    (
        "jsonb",
        "jsonb",
        [r#"'{"b": 1.10, "a": 1e3}'"#, r#"'[1, "\"", null]'"#, "'null'"],
    ),
    (
        "uuid",
        "uuid",
        [
            "'00000000-0000-0000-0000-000000000000'",
            "gen_random_uuid()",
            "null",
        ],
    ),
    ("inet", "inet", ["'::1'", "'10.0.0.1/8'", "'10.0.0.1'"]),
    ("bits", "bit varying", ["B''", "B'1'", "B'101010101'"]),
    ("point", "point", ["'(NaN,-0)'", "'(1e300,1)'", "'(0,0)'"]),
    ("words", "tsvector", ["'a:1A b:2,3'", "''", "$$'it''s'$$"]),
    ("xml", "xml", ["'<a>&lt;</a>'", "'text'", "null"]),
];

async fn every_kind_arrives(binary: bool) {
    let columns: Vec<(&str, &str)> = [("id", "integer")]
        .into_iter()
        .chain(KINDS.iter().map(|(name, kind, _)| (*name, *kind)))
        .collect();
    let scene = Scene::new(Table {
        before: TYPES,
        columns: &columns,
        binary,
        ..Table::default()
    })
    .await;
    for row in 0..3 {
        let values: Vec<&str> = KINDS.iter().map(|(.., values)| values[row]).collect();
        scene
            .run(&format!("INSERT INTO t VALUES ({row}, {})", values.join(", ")))
            .await;
    }
    scene.run("INSERT INTO t (id) VALUES (3)").await;

    let mut applier = scene.applier().await;
    let puts = scene.puts("SELECT * FROM t").await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    scene.assert_same().await;

    // The same again through a fetch, over the rows that are there.
    scene.run("UPDATE shadow.t SET bytes = NULL").await;
    let fetcher = Fetcher::prepare(&scene.session, &scene.step.source)
        .await
        .unwrap();
    let keys = scene.keys("SELECT id FROM generate_series(0, 4) AS id").await;
    let fetched = fetcher.fetch(&scene.session, &keys).await.unwrap();
    assert_eq!(fetched.rows.last(), Some(&None), "a row that is not there");
    let rows = fetched.rows.into_iter().flatten();
    let puts = rows.map(|row| crossfade_core::piece::Put { row }).collect();
    assert_applied(applier.apply(&batch(3, Vec::new(), puts)).await);
    scene.assert_same().await;
}

#[tokio::test]
async fn every_kind_of_value_arrives_in_binary() {
    every_kind_arrives(true).await;
}

#[tokio::test]
async fn every_kind_of_value_arrives_in_text() {
    every_kind_arrives(false).await;
}

/// Rows that are too heavy to be held at once are answered from the first key on, and each row whole.
async fn heavy_rows_come_in_parts(binary: bool) {
    let scene = Scene::new(Table {
        columns: &[("id", "integer"), ("body", "text")],
        binary,
        ..Table::default()
    })
    .await;
    scene
        .run("INSERT INTO t SELECT id, repeat('x', 1000000) FROM generate_series(20, 2, -1) AS id")
        .await;
    let fetcher = Fetcher::prepare(&scene.session, &scene.step.source)
        .await
        .unwrap();
    // The first one is not there.
    let mut keys = scene
        .keys("SELECT id FROM generate_series(1, 20) AS id ORDER BY id")
        .await;
    let mut found = Vec::new();
    while !keys.is_empty() {
        let fetched = fetcher.fetch(&scene.session, &keys).await.unwrap();
        let bytes: usize = fetched.rows.iter().flatten().map(Row::size).sum();
        assert!((1..10_000_000).contains(&bytes), "{bytes}");
        keys.drain(..fetched.rows.len());
        found.extend(fetched.rows);
    }
    let expected = scene.puts("SELECT * FROM t ORDER BY id").await;
    let expected = expected.into_iter().map(|put| Some(put.row));
    assert_eq!(found, std::iter::once(None).chain(expected).collect::<Vec<_>>());

    scene.run("UPDATE t SET body = repeat('x', 20000000)").await;
    let keys = scene.keys("VALUES (2), (3)").await;
    let fetched = fetcher.fetch(&scene.session, &keys).await.unwrap();
    assert_eq!(fetched.rows.len(), 1, "one at least");
}

#[tokio::test]
async fn heavy_rows_come_in_parts_in_binary() {
    heavy_rows_come_in_parts(true).await;
}

#[tokio::test]
async fn heavy_rows_come_in_parts_in_text() {
    heavy_rows_come_in_parts(false).await;
}

/// T6: a null is a value, and no default takes its place.
#[tokio::test]
async fn nulls_are_written_over_values_and_defaults() {
    let scene = Scene::new(Table::default()).await;
    scene.run("ALTER TABLE shadow.t ALTER note SET DEFAULT 'default'; INSERT INTO shadow.t VALUES (1, 1, 'old')").await;
    let puts = scene.puts("VALUES (1, 1, NULL), (2, NULL, NULL)").await;
    let mut applier = scene.applier().await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    assert_eq!(scene.target().await, ["(1,1,)", "(2,,)"]);
}

/// The transform is evaluated over the staged row; columns that nothing fills keep their default, also on update.
#[tokio::test]
async fn expressions_are_evaluated_and_added_columns_left_alone() {
    let mut scene = Scene::new(Table::default()).await;
    scene
        .run("ALTER TABLE shadow.t ADD added text DEFAULT 'default', ALTER u TYPE text, ALTER id TYPE bigint")
        .await;
    let target = &mut scene.step.targets[0];
    target.columns[1].value = expression("coalesce(t.u::text, 'none') || '/' || id", &[0, 1]);
    let mut applier = scene.applier().await;
    let puts = scene.puts("VALUES (1, 5, 'a'), (2, NULL, 'b')").await;
    assert_applied(applier.apply(&batch(2, Vec::new(), puts)).await);
    scene
        .run("UPDATE shadow.t SET added = 'changed' WHERE id = 1")
        .await;
    let puts = scene.puts("VALUES (1, 6, 'a')").await;
    assert_applied(applier.apply(&batch(3, Vec::new(), puts)).await);
    assert_eq!(
        scene.target().await,
        ["(1,6/1,a,changed)", "(2,none/2,b,default)"]
    );
}
