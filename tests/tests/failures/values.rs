//! Values: what of a row must arrive bit for bit, whatever its type, size or encoding.

use crossfade_coordinator::run::What;
use crossfade_core::limits::Limits;

use super::kinds::{KINDS, TEXT_ONLY, TYPES};
use super::scene::{GATED, How, MANUAL, Scene, both, gated_table, shared_server, twins};

/// A table whose `big` is always out of line, uncompressed: 1 MB a row.
async fn megabytes(rows: u32) -> Scene {
    let scene = Scene::new(&gated_table("n integer, big text, mix text, UNIQUE (n)")).await;
    both(
        &scene.app,
        "ALTER TABLE {t} ALTER COLUMN big SET STORAGE EXTERNAL",
    )
    .await;
    let insert = format!(
        "INSERT INTO {{t}} SELECT i, 0, i, {}, 'm' || i FROM generate_series(1, {rows}) i",
        big("i")
    );
    both(&scene.app, &insert).await;
    scene
}

/// An expression for 1 MB.
fn big(seed: &str) -> String {
    format!("repeat(md5(({seed})::text), 32768)")
}

/// Of each row `big` is unchanged, and so not in the stream, in one of its changes at least.
fn changes_around_big_values() -> Vec<String> {
    let new = big("-1");
    vec![
        // Other columns, once, and several rows in one transaction.
        "UPDATE {t} SET n = 1001 WHERE id = 1".into(),
        "UPDATE {t} SET n = n + 2000 WHERE id BETWEEN 2 AND 4; UPDATE {t} SET mix = 'again' WHERE id BETWEEN 3 AND 5".into(),
        // Written and then changed beside it, in one transaction and in two.
        format!("INSERT INTO {{t}} VALUES (100, 0, 100, {new}, 'new'); UPDATE {{t}} SET n = 3100 WHERE id = 100"),
        format!("UPDATE {{t}} SET big = {new} WHERE id = 6"),
        "UPDATE {t} SET mix = NULL WHERE id = 6".into(),
        format!("UPDATE {{t}} SET n = 3007 WHERE id = 7; UPDATE {{t}} SET big = {new} WHERE id = 7; UPDATE {{t}} SET n = 3008 WHERE id = 7"),
        "UPDATE {t} SET big = NULL WHERE id = 8; UPDATE {t} SET n = 3009 WHERE id = 8".into(),
        // Deleted and written again: nothing of the old row may come back.
        "DELETE FROM {t} WHERE id = 9; INSERT INTO {t} VALUES (9, 0, 9, NULL, 'z'); UPDATE {t} SET n = 3010 WHERE id = 9".into(),
        // The key changes, and the value goes along.
        "UPDATE {t} SET id = 200 WHERE id = 10".into(),
        "UPDATE {t} SET id = 201, n = 4000 WHERE id = 11; UPDATE {t} SET mix = 'moved' WHERE id = 201".into(),
        "UPDATE {t} SET id = -1 WHERE id = 12; UPDATE {t} SET id = 12 WHERE id = 13; UPDATE {t} SET id = 13 WHERE id = -1".into(),
        // Unique values change places between rows that keep theirs.
        "UPDATE {t} SET n = -1 WHERE id = 14; UPDATE {t} SET n = 14 WHERE id = 15; UPDATE {t} SET n = 15 WHERE id = 14".into(),
        // What was fetched may be gone already.
        "UPDATE {t} SET n = 5000 WHERE id = 16".into(),
        "DELETE FROM {t} WHERE id = 16".into(),
    ]
}

async fn around_big_values(alters: &[&str], expected: &str, full: bool) -> u64 {
    let scene = megabytes(17).await;
    if full {
        both(&scene.app, "ALTER TABLE {t} REPLICA IDENTITY FULL").await;
    }
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 17").await;
    let plan = scene.plan("public.t", alters, Limits::default()).await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    copying.reached(&scene).await;
    let changes = changes_around_big_values();
    for change in &changes[..7] {
        both(&scene.app, change).await;
    }
    copying.open().await;
    engine.until_ready().await;
    for change in &changes[7..] {
        both(&scene.app, change).await;
    }
    scene.cut_over().await;
    let report = engine.done().await;
    scene
        .assert_same(
            "SELECT id, gate, n, md5(big), length(big), mix FROM public.t",
            expected,
        )
        .await;
    report.rows_fetched
}

const AS_IS: &str = "SELECT id, gate, n, md5(big), length(big), mix FROM twin.t";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_unchanged_big_values_are_kept() {
    around_big_values(&[GATED], AS_IS, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_unchanged_big_values_that_an_expression_reads_are_fetched() {
    let mixed = "ALTER COLUMN mix TYPE text USING left(big, 10) || coalesce(mix, 'none')";
    let expected =
        "SELECT id, gate, n, md5(big), length(big), left(big, 10) || coalesce(mix, 'none') FROM twin.t";
    let fetched = around_big_values(&[GATED, mixed], expected, false).await;
    assert!(fetched > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_unchanged_big_values_under_replica_identity_full() {
    around_big_values(&[GATED], AS_IS, true).await;
}

/// What the stream leaves out would be staged as NULL, which these take nowhere: in the source's type, or in the target's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t10_unchanged_big_values_of_domains_that_take_no_null() {
    let domains = "CREATE DOMAIN public.page AS text NOT NULL;
                   CREATE DOMAIN public.checked AS text CHECK (VALUE IS NOT NULL);";
    let columns = "n integer, html public.page DEFAULT '', body text";
    let scene = Scene::new(&format!("{domains}{}", gated_table(columns))).await;
    let rows = format!(
        "INSERT INTO {{t}} SELECT i, 0, i, {0}, {0} FROM generate_series(1, 6) i",
        big("i")
    );
    both(&scene.app, &rows).await;
    let alters = [GATED, "ALTER COLUMN body TYPE public.checked"];
    let plan = scene.plan("public.t", &alters, Limits::default()).await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    engine.until_ready().await;
    both(
        &scene.app,
        "UPDATE {t} SET n = n + 10; UPDATE {t} SET id = 9 WHERE id = 3",
    )
    .await;
    both(
        &scene.app,
        "UPDATE {t} SET body = 'small' WHERE id = 4; UPDATE {t} SET n = 0 WHERE id = 4",
    )
    .await;
    scene.cut_over().await;
    let report = engine.done().await;
    assert!(report.rows_fetched >= 6, "{} fetched", report.rows_fetched);
    let select = |table: &str| format!("SELECT id, gate, n, md5(html), md5(body) FROM {table}");
    scene.assert_same(&select("public.t"), &select("twin.t")).await;
}

/// A table with a column of every kind, and for every value a row that holds it.
async fn kinds(kinds: &[(&str, &[&str])]) -> Scene {
    let scene = Scene::new("").await;
    scene.admin().await.batch_execute(TYPES).await.unwrap();
    let columns: Vec<String> = (0..)
        .zip(kinds)
        .map(|(n, (kind, _)): (u32, _)| format!("c{n} {kind}"))
        .collect();
    let table = gated_table(&format!(
        "note text, made text GENERATED ALWAYS AS (note || '!') STORED, {}",
        columns.join(", ")
    ));
    scene.app.batch_execute(&table).await.unwrap();
    scene
}

/// Writes every value into a row of its own, from this key on.
async fn write_kinds(scene: &Scene, kinds: &[(&str, &[&str])], first: usize) {
    let mut statements = format!("INSERT INTO {{t}} (id, note) VALUES ({first}, NULL);");
    let mut id = first;
    for (n, (_, values)) in kinds.iter().enumerate() {
        for value in *values {
            id += 1;
            statements += &format!("INSERT INTO {{t}} (id, note, c{n}) VALUES ({id}, 'n', {value});");
        }
    }
    both(&scene.app, &statements).await;
}

/// Changes every value to another of its kind, or away.
async fn rewrite_kinds(scene: &Scene, kinds: &[(&str, &[&str])], first: usize) {
    let mut statements = format!("UPDATE {{t}} SET note = '' WHERE id = {first};");
    let mut id = first;
    for (n, (_, values)) in kinds.iter().enumerate() {
        for place in 0..values.len() {
            id += 1;
            statements += &match place {
                0 => format!(
                    "UPDATE {{t}} SET c{n} = {} WHERE id = {id};",
                    values[values.len() - 1]
                ),
                1 => format!("UPDATE {{t}} SET note = NULL WHERE id = {id};"),
                2 => format!("UPDATE {{t}} SET id = id + 50000 WHERE id = {id};"),
                _ => format!("UPDATE {{t}} SET c{n} = NULL WHERE id = {id};"),
            };
        }
    }
    both(&scene.app, &statements).await;
}

async fn all_kinds(list: &[(&str, &[&str])]) {
    let scene = kinds(list).await;
    let copying = scene.shut(1).await;
    write_kinds(&scene, list, 1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    write_kinds(&scene, list, 1001).await;
    rewrite_kinds(&scene, list, 1).await;
    copying.open().await;
    engine.until_ready().await;
    write_kinds(&scene, list, 2001).await;
    rewrite_kinds(&scene, list, 1001).await;
    both(&scene.app, "DELETE FROM {t} WHERE id % 7 = 0").await;
    scene.cut_over().await;
    engine.done().await;
    write_kinds(&scene, list, 3001).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_values_of_all_kinds_in_binary() {
    all_kinds(KINDS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_values_of_all_kinds_as_text() {
    let all: Vec<_> = KINDS.iter().chain(TEXT_ONLY).copied().collect();
    all_kinds(&all).await;
}

/// Runs changes of a table with this key, before, during and after the copy.
async fn key_of(definition: &str, rows: &str, changes: &[&str]) {
    let scene = Scene::new("").await;
    scene.admin().await.batch_execute(TYPES).await.unwrap();
    scene.app.batch_execute(&twins(definition)).await.unwrap();
    both(&scene.app, rows).await;
    let copying = scene.shut(1).await;
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    let (during, after) = changes.split_at(changes.len() / 2);
    for change in during {
        both(&scene.app, change).await;
    }
    copying.open().await;
    engine.until_ready().await;
    for change in after {
        both(&scene.app, change).await;
    }
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_an_enum_in_the_primary_key() {
    key_of(
        "m mood, d date, gate integer NOT NULL DEFAULT 0, n integer, PRIMARY KEY (m, d)",
        "INSERT INTO {t} SELECT m, 'epoch'::date + i, (i / 9) * (m = 'sad')::int, i FROM unnest(enum_range(NULL::mood)) m, generate_series(1, 9) i",
        &[
            "UPDATE {t} SET m = 'sad', d = 'infinity' WHERE m = 'so-so' AND n = 3",
            "DELETE FROM {t} WHERE m = 'so-so' AND n = 4",
            "UPDATE {t} SET d = '20000-01-01' WHERE d = 'infinity'; INSERT INTO {t} VALUES ('sad', '-infinity', 0, 0)",
            "DELETE FROM {t} WHERE n = 5; UPDATE {t} SET n = -n WHERE m <> 'sad'",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m09_equal_keys_of_different_bytes() {
    key_of(
        "k numeric, c citext, f float8, gate integer NOT NULL DEFAULT 0, n integer, PRIMARY KEY (k, c, f)",
        "INSERT INTO {t} SELECT i, 'Key', 0, i / 20, i FROM generate_series(1, 20) i",
        &[
            "UPDATE {t} SET k = 1.00 WHERE k = 1; UPDATE {t} SET n = -1 WHERE k = 1",
            "UPDATE {t} SET c = 'KEY' WHERE k IN (2, 3); UPDATE {t} SET f = '-0' WHERE k IN (3, 4)",
            "DELETE FROM {t} WHERE k = 5; INSERT INTO {t} VALUES (5.000, 'kEY', '-0', 0, 55)",
            "UPDATE {t} SET k = 1.0, c = 'key', f = '-0' WHERE k = 1; UPDATE {t} SET n = 0 WHERE k = 1",
            "UPDATE {t} SET c = lower(c) WHERE k BETWEEN 2 AND 9; UPDATE {t} SET k = k + 0.0 WHERE k = 7",
            "DELETE FROM {t} WHERE k = 8; INSERT INTO {t} VALUES (8.0, 'KEY', 0, 0, 88); UPDATE {t} SET k = 8 WHERE k = 8",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m09_invalid_utf8_in_a_database_without_an_encoding() {
    let attributes = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
    let scene = Scene::on(
        shared_server().await,
        attributes,
        &gated_table("note text, big text"),
    )
    .await;
    both(
        &scene.app,
        "ALTER TABLE {t} ALTER COLUMN big SET STORAGE EXTERNAL",
    )
    .await;
    let write = |id: u32| {
        format!(
            r"INSERT INTO {{t}} VALUES ({id}, 0, E'\xff\xfe', repeat(E'\x80', 9000)), ({id} + 1, 0, E'caf\xe9', 'é')"
        )
    };
    both(&scene.app, &write(1)).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let mixed = "ALTER COLUMN note TYPE text USING note || left(big, 1)";
    let plan = scene.plan("public.t", &[GATED, mixed], Limits::default()).await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    copying.reached(&scene).await;
    both(&scene.app, &write(11)).await;
    copying.open().await;
    engine.until_ready().await;
    both(&scene.app, &write(21)).await;
    both(
        &scene.app,
        r"UPDATE {t} SET note = E'\xa0' WHERE id IN (1, 11, 21)",
    )
    .await;
    scene.cut_over().await;
    engine.done().await;
    let bytes = |note: &str, table: &str| {
        format!("SELECT id, convert_to({note}, 'SQL_ASCII'), md5(convert_to(big, 'SQL_ASCII')) FROM {table}")
    };
    scene
        .assert_same(
            &bytes("note", "public.t"),
            &bytes("note || left(big, 1)", "twin.t"),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m04_unique_values_change_places_within_a_transaction() {
    let columns = "u integer, v text, n integer, big text, UNIQUE (u), CHECK (n >= 0)";
    let scene = Scene::new(&gated_table(columns)).await;
    both(
        &scene.app,
        "CREATE UNIQUE INDEX ON {t} (lower(v)) WHERE n > 0; ALTER TABLE {t} ALTER COLUMN big SET STORAGE EXTERNAL;
         INSERT INTO {t} SELECT i, 0, i, 'V' || i, 1, repeat(md5(i::text), 1000) FROM generate_series(1, 60) i",
    )
    .await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 60").await;
    let changes = [
        // Two rows.
        "UPDATE {t} SET u = -1 WHERE id = 1; UPDATE {t} SET u = 1 WHERE id = 2; UPDATE {t} SET u = 2 WHERE id = 1",
        // A ring of five, from behind.
        "UPDATE {t} SET u = -1 WHERE id = 7; UPDATE {t} SET u = 7 WHERE id = 6; UPDATE {t} SET u = 6 WHERE id = 5;
         UPDATE {t} SET u = 5 WHERE id = 4; UPDATE {t} SET u = 4 WHERE id = 3; UPDATE {t} SET u = 3 WHERE id = 7",
        // All of a range turned round.
        "UPDATE {t} SET u = -u WHERE u BETWEEN 10 AND 30; UPDATE {t} SET u = 40 + u WHERE u < 0",
        // Of the partial index on an expression.
        "UPDATE {t} SET v = 'x' WHERE id = 31; UPDATE {t} SET v = 'v31' WHERE id = 32; UPDATE {t} SET v = 'V32' WHERE id = 31",
        // Given up by a row that leaves the index, or is deleted, or changes its key.
        "UPDATE {t} SET n = 0 WHERE id = 33; UPDATE {t} SET v = 'v33' WHERE id = 34",
        "DELETE FROM {t} WHERE id = 35; UPDATE {t} SET u = 35, v = 'V35' WHERE id = 36",
        "UPDATE {t} SET id = 137, u = 137 WHERE id = 37; INSERT INTO {t} VALUES (37, 0, 37, 'other', 1, 'b')",
        // Rows and unique values change places at once.
        "UPDATE {t} SET id = -38, u = -38 WHERE id = 38; UPDATE {t} SET id = 38, u = 38 WHERE id = 39;
         UPDATE {t} SET id = 39, u = 39 WHERE id = -38",
    ];
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    for change in &changes[..3] {
        both(&scene.app, change).await;
    }
    copying.open().await;
    engine.until_ready().await;
    for change in &changes {
        both(&scene.app, change).await;
    }
    // All in one transaction once more, and under the cutover's lock.
    let holder = scene.session().await;
    holder.batch_execute("BEGIN").await.unwrap();
    for change in &changes[..3] {
        both(&holder, change).await;
    }
    scene.cut_over().await;
    scene.until_lock_asked().await;
    holder.batch_execute("COMMIT").await.unwrap();
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t14_generated_columns_are_computed_again() {
    let scene = Scene::new(&gated_table(
        "n integer, twice integer GENERATED ALWAYS AS (n * 2) STORED",
    ))
    .await;
    both(
        &scene.app,
        "INSERT INTO {t} (id, n) SELECT i, i FROM generate_series(1, 10) i",
    )
    .await;
    let mut engine = scene
        .run(How {
            auto: false,
            ..How::default()
        })
        .await;
    engine.until_ready().await;
    both(
        &scene.app,
        "UPDATE {t} SET n = n + 1 WHERE id < 5; INSERT INTO {t} (id, n) VALUES (11, NULL)",
    )
    .await;
    scene.cut_over().await;
    engine.done().await;
    both(&scene.app, "UPDATE {t} SET n = 100 WHERE id = 11").await;
    scene.assert_twins().await;
}
