//! Copies that nobody is handed over to: of one moment, with values changed on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, Result, ensure};
use crossfade_tests::moving::{APPLICATION, Moving};
use tokio_postgres::Client;

use super::{TRACES, codes, count, fails};

const TABLES: &str = "\
CREATE TABLE public.people (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email varchar(40) NOT NULL UNIQUE,
    born date, fee numeric(10, 2), balance integer NOT NULL, note text);
CREATE TABLE public.pots (id integer PRIMARY KEY, owner integer NOT NULL REFERENCES public.people, balance integer NOT NULL);
CREATE TABLE public.visits (person integer REFERENCES public.people, at date, page text, PRIMARY KEY (person, at))
    PARTITION BY RANGE (at);
CREATE TABLE public.visits_1 PARTITION OF public.visits FOR VALUES FROM ('2020-01-01') TO ('2020-07-01');
CREATE TABLE public.visits_2 PARTITION OF public.visits FOR VALUES FROM ('2020-07-01') TO ('2021-01-01');
INSERT INTO public.people (email, born, fee, balance, note)
     SELECT 'person' || i || '@example.com', '1980-05-17', i / 7.0, 1000, repeat(md5(i::text), 200)
       FROM generate_series(1, 2000) AS i;
INSERT INTO public.pots SELECT i, i, 0 FROM generate_series(1, 2000) AS i;
INSERT INTO public.visits SELECT i, '2020-06-30'::date + i % 2, 'secret ' || i FROM generate_series(1, 2000) AS i";

const CHANGE: &str = r#"
[[table]]
name = "people"
[table.values]
email = "'user' || id || '@example.invalid' -- nobody"
born = "date_trunc('year', born::timestamp)"
fee = "fee / 3"
note = "NULL"

[[table]]
name = "public.visits"
values = { page = "md5(page)" }
"#;

/// Moves money from a person to a pot, in one transaction each time: the sum of all is always the same.
async fn write(client: Client, over: Arc<AtomicBool>) -> Result<u64> {
    let mut written = 0;
    while !over.load(Ordering::Relaxed) {
        let (person, pot) = (written * 7 % 2000 + 1, written * 11 % 2000 + 1);
        client
            .batch_execute(&format!(
                "BEGIN; UPDATE people SET balance = balance - 3 WHERE id = {person};
                 UPDATE pots SET balance = balance + 3 WHERE id = {pot}; COMMIT"
            ))
            .await
            .context("a writer of the source fails")?;
        written += 1;
    }
    Ok(written)
}

#[tokio::test]
async fn a_masked_copy_is_of_one_moment_and_stands_on_its_own() -> Result<()> {
    let moving = Moving::bare().await?;
    moving.client(&moving.from).await?.batch_execute(TABLES).await?;
    let file = moving.file("mask.toml");
    std::fs::write(&file, CHANGE)?;
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..2 {
        writers.push(tokio::spawn(write(
            moving.client(&moving.from).await?,
            Arc::clone(&over),
        )));
    }
    let path = file.to_str().context("a path in UTF-8")?;
    let arguments = ["--copy-only", "--cutover", "manual", "--change", path];
    let mut engine = moving.start_move_hooked(&arguments)?;
    moving.verified(&mut engine, 0).await?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(0)?;
    ensure!(
        ended.object["report"]["changes_applied"].as_u64() > Some(0),
        "nothing was followed: {}",
        ended.object
    );
    over.store(true, Ordering::Relaxed);
    for writer in writers {
        ensure!(writer.await?? > 0, "nothing was written");
    }
    let (source, copy) = (
        moving.client(&moving.from).await?,
        moving.client(&moving.to).await?,
    );
    let sum = "SELECT (SELECT sum(balance) FROM people) + (SELECT sum(balance) FROM pots)";
    ensure!(
        count(&copy, sum).await? == 2_000_000,
        "the copy is not of one moment"
    );
    let unmasked = "SELECT count(*) FROM people WHERE email <> 'user' || id || '@example.invalid'
                       OR born <> '1980-01-01' OR fee <> round(round(id / 7.0, 2) / 3, 2) OR note IS NOT NULL";
    ensure!(count(&copy, unmasked).await? == 0, "values are as on the source");
    let unmasked = "SELECT count(*) FROM visits WHERE page <> md5('secret ' || person)";
    ensure!(count(&copy, unmasked).await? == 0 && count(&copy, "SELECT count(*) FROM visits_2").await? > 0);
    copy.batch_execute("INSERT INTO people (email, balance) VALUES ('new@example.invalid', 1)")
        .await?;
    ensure!(count(&copy, "SELECT max(id)::int8 FROM people").await? == 2001);
    ensure!(
        fails(&copy, "INSERT INTO pots VALUES (5000, 5000, 0)")
            .await
            .as_deref()
            == Some("23503"),
        "foreign keys hold"
    );
    let invalid =
        "SELECT count(*) FROM pg_constraint WHERE NOT convalidated AND connamespace = 'public'::regnamespace";
    ensure!(
        count(&copy, invalid).await? == 0,
        "a foreign key was not validated"
    );
    source
        .batch_execute("UPDATE people SET note = 'goes on' WHERE id = 1")
        .await?;
    // As after a crash between the release and what comes behind it: nothing is copied or followed again.
    let superuser = moving.to.connect("postgres", moving.database()).await?;
    superuser
        .batch_execute("UPDATE crossfade.migration SET phase = 'swapped'")
        .await?;
    moving.start_move_hooked(&arguments)?.end().await?.expect(0)?;
    ensure!(moving.status().await?["phase"] == "completed");
    ensure!(
        count(&copy, "SELECT count(*) FROM people").await? == 2001,
        "it was copied again"
    );
    for client in [&source, &copy] {
        ensure!(count(client, TRACES).await? == 0, "traces are left");
    }
    Ok(())
}

#[tokio::test]
async fn values_that_cannot_be_computed_are_refused_with_their_place() -> Result<()> {
    let moving = Moving::bare().await?;
    let source = moving.from.connect("postgres", moving.database()).await?;
    source
        .batch_execute(&format!(
            "SET ROLE {APPLICATION}; {TABLES};
             CREATE FUNCTION public.mask(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN md5($1)"
        ))
        .await?;
    let file = moving.file("mask.toml");
    let path = file.to_str().context("a path in UTF-8")?;
    std::fs::write(
        &file,
        "[[table]]\nname = \"people\"\n[table.values]\nid = \"1\"\nnobody = \"1\"\nnote = \"random()::text\"\n\
         born = \"bron\"\n[[table]]\nname = \"nowhere\"\nvalues = {}\n",
    )?;
    let ended = moving
        .plan_move(&["--all", "--copy-only", "--change", path])
        .await?
        .expect(10)?;
    let found = codes(&ended.object);
    for code in [
        "value_of_no_column",
        "expression_volatile",
        "expression_not_accepted",
        "nothing_selected",
    ] {
        ensure!(found.contains(&code), "{code} is not among {found:?}");
    }
    ensure!(
        ended.says("mask.toml, line 7") && ended.says("bron"),
        "{}",
        ended.object
    );
    // A function that only one server has, and a change without a copy.
    std::fs::write(
        &file,
        "[[table]]\nname = \"people\"\nvalues = { note = \"mask(note)\" }\n",
    )?;
    let target = moving.client(&moving.to).await?;
    for (number, sql) in TABLES.split(";\n").enumerate() {
        if number < 5 {
            target.batch_execute(sql).await?;
        }
    }
    target
        .batch_execute(
            "ALTER TABLE pots DROP CONSTRAINT pots_owner_fkey; ALTER TABLE visits DROP CONSTRAINT visits_person_fkey",
        )
        .await?;
    let change = ["--copy-only", "--schema-from", "existing", "--change", path];
    let ended = moving.start_move_hooked(&change)?.end().await?.expect(10)?;
    ensure!(ended.says("people") && ended.says("mask"), "{}", ended.object);
    moving.plan_move(&["--all", "--change", path]).await?.expect(2)?;
    Ok(())
}
