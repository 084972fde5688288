//! What goes wrong with a split is found: differences planted in its tables, and rows that are not in exactly one of them.

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::stage::Stage;

use crossfade_tests::split::Split;
use crossfade_tests::split::examples::{TENANTS, USER_SETTINGS};

/// A row of each kind of difference, in the table that has several rows for one; the writers are at work.
#[tokio::test]
async fn rows_that_differ_are_found_and_repaired() -> Result<()> {
    let split = Split::start(&USER_SETTINGS, 3).await?;
    let mut engine = split.run(&["--copy", "incremental"])?;
    split.stage.reached_by(&mut engine, Phase::Ready).await?;
    let settings = format!("{}.user_settings", split.stage.name().schema());
    // Of users whom no writer touches.
    split
        .stage
        .superuser()
        .await?
        .batch_execute(&format!(
            "INSERT INTO {settings} VALUES (-1, 'nobody', '1'), (5999, 'theme', '\"x\"');
             UPDATE {settings} SET content = '\"planted\"' WHERE user_id = 5101 AND setting = 'lang';
             DELETE FROM {settings} WHERE user_id = 5102 AND setting = 'theme';
             UPDATE {settings} SET user_id = 5104 WHERE user_id = 5103 AND setting = 'lang';
             UPDATE {settings} AS a SET content = b.content FROM {settings} AS b
              WHERE a.setting = 'lang' AND b.setting = 'lang' AND a.user_id + b.user_id = 10213 AND a.user_id IN (5106, 5107)"
        ))
        .await?;
    let told = split.stage.operate("verify", &["--repair"]).await?.expect(0)?;
    let repaired = told
        .object
        .pointer("/verification/repaired")
        .and_then(serde_json::Value::as_u64);
    ensure!(
        repaired.context("say how many were repaired")? >= 6,
        "{}",
        told.object
    );
    let (_new, engine) = split.swap(engine).await?;
    engine.kill_9().await?;
    Ok(())
}

/// A row that comes to be in no table, or in two, while it is followed.
#[tokio::test]
async fn a_row_that_is_not_in_one_table_is_named_and_nothing_is_swapped() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, kind text);
             INSERT INTO t SELECT i, CASE i % 2 WHEN 0 THEN 'even' ELSE 'odd' END FROM generate_series(1, 1000) AS i",
        )
        .await?;
    let target = |name: &str, filter: &str| {
        format!(
            "[[target]]\nname = \"{name}\"\nkey = [\"id\"]\nfilter = \"{filter}\"\n\
             columns = [{{ name = \"id\", value = \"id\" }}, {{ name = \"kind\", value = \"kind\" }}]\n"
        )
    };
    let file = stage.folder().join("change.toml");
    let text = format!(
        "table = \"t\"\nsource = \"retire\"\n{}{}",
        target("evens", "kind = 'even' OR kind = 'both'"),
        target("odds", "kind = 'odd' OR kind = 'both'")
    );
    std::fs::write(&file, text)?;
    let mut engine = stage.run_change(&file, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    client
        .batch_execute("UPDATE t SET kind = 'both' WHERE id = 7; UPDATE t SET kind = NULL WHERE id = 8")
        .await?;
    let told = stage.operate("verify", &[]).await?.expect(21)?;
    let differences = told.object.pointer("/verification/differences").cloned();
    let expected = serde_json::json!([{"key": "7", "kind": "not_once"}, {"key": "8", "kind": "not_once"}]);
    ensure!(differences == Some(expected), "{}", told.object);
    engine.end().await?.expect(21)?;
    client
        .batch_execute("UPDATE t SET kind = 'even' WHERE id = 7; UPDATE t SET kind = 'odd' WHERE id = 8")
        .await?;
    stage
        .operate("continue", &["--cutover", "auto"])
        .await?
        .expect(0)?;
    let counts =
        "SELECT (SELECT count(*) FROM evens), (SELECT count(*) FROM odds), to_regclass('public.t') IS NULL";
    let row = client.query_one(counts, &[]).await?;
    ensure!(
        row.get::<_, i64>(0) == 500 && row.get::<_, i64>(1) == 500 && row.get::<_, bool>(2),
        "{row:?}"
    );
    Ok(())
}

/// The sequence from which the new tables draw stays when the table that owned it is dropped.
#[tokio::test]
async fn a_sequence_that_the_new_tables_draw_from_outlives_the_retired_table() -> Result<()> {
    let split = Split::start(&TENANTS, 4).await?;
    let engine = split.run(&["--way-back", "none"])?;
    let (split, engine) = split.swap(engine).await?;
    engine.end().await?.expect(0)?;
    let stage = &split.stage;
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    let client = stage.client().await?;
    let insert = "INSERT INTO tenant_1_documents (title) VALUES ('drawn') RETURNING id";
    let id: i32 = client.query_one(insert, &[]).await?.get(0);
    ensure!(id > 5000, "drew {id}");
    ensure!(stage.traces().await?.is_empty(), "{:?}", stage.traces().await?);
    Ok(())
}
