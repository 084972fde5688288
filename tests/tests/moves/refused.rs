//! What stands in the way of a move is said before anything is touched, all at once.

use anyhow::{Result, ensure};
use crossfade_tests::moving::Moving;
use crossfade_tests::until;

use super::codes;

#[tokio::test]
async fn everything_in_the_way_is_named_at_once() -> Result<()> {
    let moving = Moving::bare().await?;
    let source = moving.client(&moving.from).await?;
    source
        .batch_execute(
            "CREATE SCHEMA moved; CREATE SCHEMA stays;
             CREATE TABLE stays.parents (id integer PRIMARY KEY);
             CREATE TABLE moved.children (id integer PRIMARY KEY, parent integer REFERENCES stays.parents);
             CREATE UNLOGGED TABLE moved.forgetful (id integer PRIMARY KEY);
             CREATE TABLE moved.keyless (n integer); INSERT INTO moved.keyless VALUES (1); UPDATE moved.keyless SET n = 2;
             CREATE TABLE stays.split (id integer) PARTITION BY LIST (id);
             CREATE TABLE moved.split_1 PARTITION OF stays.split FOR VALUES IN (1)",
        )
        .await?;
    // Statistics come by themselves, after a while.
    until::so("the update of a table without a key is known", || async {
        let updated = "SELECT pg_stat_get_tuples_updated('moved.keyless'::regclass) > 0";
        Ok(source.query_one(updated, &[]).await?.get(0))
    })
    .await?;
    moving
        .client(&moving.to)
        .await?
        .batch_execute("CREATE SCHEMA moved; CREATE TABLE moved.children (id integer)")
        .await?;
    let ended = moving
        .plan_move(&["--schema", "moved", "nowhere"])
        .await?
        .expect(10)?;
    let found = codes(&ended.object);
    for code in [
        "nothing_selected",
        "unlogged_table",
        "parts_left_behind",
        "foreign_key_torn",
        "table_in_the_way",
        "no_usable_key",
    ] {
        ensure!(found.contains(&code), "{code} is not among {found:?}");
    }
    Ok(())
}

#[tokio::test]
async fn another_encoding_large_objects_and_the_same_database_are_refused() -> Result<()> {
    let moving = Moving::bare().await?;
    moving
        .client(&moving.from)
        .await?
        .batch_execute("SELECT lo_create(0)")
        .await?;
    let superuser = moving.to.connect("postgres", "postgres").await?;
    for sql in [
        "DROP DATABASE IF EXISTS estate",
        "CREATE DATABASE estate OWNER app ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        "GRANT CREATE ON DATABASE estate TO mover",
    ] {
        superuser.batch_execute(sql).await?;
    }
    let ended = moving.plan_move(&["--all"]).await?.expect(10)?;
    let found = codes(&ended.object);
    ensure!(
        found.contains(&"encodings_differ") && found.contains(&"large_objects"),
        "{found:?}"
    );
    let ended = moving
        .plan_between(&moving.from, &moving.from, &["--all"])
        .await?
        .expect(10)?;
    ensure!(
        codes(&ended.object).contains(&"same_database"),
        "{}",
        ended.object
    );
    Ok(())
}

#[tokio::test]
async fn tables_that_are_to_be_there_are_compared() -> Result<()> {
    let moving = Moving::bare().await?;
    let table = "CREATE TABLE public.items (id integer PRIMARY KEY, name text)";
    moving
        .client(&moving.from)
        .await?
        .batch_execute(&format!("SET ROLE app; {table}"))
        .await?;
    let target = moving.client(&moving.to).await?;
    target
        .batch_execute("CREATE TABLE public.items (id integer PRIMARY KEY, name varchar(5))")
        .await?;
    let existing = ["--tables", "items", "--schema-from", "existing"];
    let ended = moving.plan_move(&existing).await?.expect(10)?;
    ensure!(
        ended.says("name text") && codes(&ended.object) == ["table_unlike"],
        "{}",
        ended.object
    );
    target
        .batch_execute(&format!(
            "DROP TABLE public.items; {table}; INSERT INTO public.items VALUES (1)"
        ))
        .await?;
    let ended = moving.plan_move(&existing).await?.expect(10)?;
    ensure!(ended.says("has rows"), "{}", ended.object);
    target.batch_execute("TRUNCATE public.items").await?;
    moving.plan_move(&existing).await?.expect(0)?;
    Ok(())
}

#[tokio::test]
async fn a_limit_that_does_not_bound_a_move_is_not_taken() -> Result<()> {
    let moving = Moving::bare().await?;
    let ended = moving
        .plan_move(&["--all", "--limit", "pace_query=SELECT true"])
        .await?
        .expect(2)?;
    ensure!(
        ended.says("pace_query") && ended.says("hold_budget"),
        "{}",
        ended.object
    );
    Ok(())
}
