//! What the application can do while a statement of ours has run and is not committed: everything.

use anyhow::{Context as _, Result, ensure};
use crossfade_tests::gate::Gate;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use tokio_postgres::Client;

/// Each as an application that does not know of the change writes them.
const WRITES: [&str; 4] = [
    "INSERT INTO public.t (id, n, note) VALUES ({i}, 1, 'new')",
    "UPDATE public.t SET n = n + 1 WHERE id IN (1, {i})",
    "INSERT INTO public.t (id, n) VALUES (1, 0) ON CONFLICT (id) DO UPDATE SET note = 'again'",
    "DELETE FROM public.t WHERE id = {i} - 3",
];

/// Lets the engine go from statement to statement until it ends, and writes at each; returns how many there were.
async fn step_through(gate: &Gate, mut engine: Process, app: &Client, mut id: i32) -> Result<i32> {
    let first = id;
    loop {
        let reached = until::some("the engine stops or ends", || {
            let running = engine.is_running();
            async {
                match gate.is_reached().await? {
                    true => Ok(Some(true)),
                    false => Ok((!running?).then_some(false)),
                }
            }
        });
        if !reached.await? {
            engine.end().await?.expect(0)?;
            return Ok(id - first);
        }
        for write in WRITES {
            let write = write.replace("{i}", &id.to_string());
            app.batch_execute(&write)
                .await
                .with_context(|| format!("step {}: {write}", id - first))?;
        }
        id += 1;
        gate.step().await?;
    }
}

#[tokio::test]
async fn t25_the_application_writes_at_every_statement_of_ours() -> Result<()> {
    let stage = Stage::shared().await?;
    let app = stage.client().await?;
    let create = "SET statement_timeout = '20s';
        CREATE TABLE public.t (id integer PRIMARY KEY, n integer NOT NULL, note text, CHECK (n > -5));
        CREATE INDEX ON public.t (note);
        CREATE TABLE public.child (t integer REFERENCES public.t);
        INSERT INTO public.t SELECT i, i, 'x' FROM generate_series(1, 100) AS i";
    app.batch_execute(create).await?;
    let gate = Gate::close_at(&stage, "ran").await?;
    let alter = "ALTER COLUMN n TYPE bigint, ADD COLUMN added text NOT NULL DEFAULT 'a'";
    let engine = stage.run("t", alter, &["--cutover", "auto"])?;
    let steps = step_through(&gate, engine, &app, 1_000).await?;
    ensure!(steps >= 3, "{steps} statements");
    let complete = stage.crossfade(&["complete", stage.name().as_str(), "--drop"])?;
    let steps = step_through(&gate, complete, &app, 2_000).await?;
    ensure!(steps >= 1, "{steps} statements");
    let sums = "SELECT count(*), sum(n)::bigint, count(*) FILTER (WHERE added = 'a') FROM public.t";
    let row = app.query_one(sums, &[]).await?;
    let found: (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    ensure!(found.0 == found.2 && found.0 > 100, "{found:?}");
    Ok(())
}

/// Nobody waits for the retired table but who drops it.
#[tokio::test]
async fn t25_a_drop_that_waits_keeps_nobody_waiting() -> Result<()> {
    let stage = Stage::shared().await?;
    let app = stage.client().await?;
    let create = "SET statement_timeout = '20s'; CREATE TABLE public.t (id integer PRIMARY KEY, n integer NOT NULL, note text);
        INSERT INTO public.t SELECT i, i, 'x' FROM generate_series(1, 100) AS i";
    app.batch_execute(create).await?;
    let engine = stage.run("t", "ALTER COLUMN n TYPE bigint", &["--cutover", "auto"])?;
    engine.end().await?.expect(0)?;
    let reader = stage.superuser().await?;
    let retired = stage.name().retired_schema();
    reader
        .batch_execute(&format!("BEGIN; SELECT count(*) FROM {retired}.t"))
        .await?;
    let complete = stage.crossfade(&["complete", stage.name().as_str(), "--drop"])?;
    let superuser = stage.superuser().await?;
    let asked = format!(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = '{retired}.t'::regclass AND NOT granted)"
    );
    until::so("the drop waits", || async {
        Ok(superuser.query_one(&asked, &[]).await?.get(0))
    })
    .await?;
    for write in WRITES {
        app.batch_execute(&write.replace("{i}", "1000")).await?;
    }
    reader.batch_execute("COMMIT").await?;
    complete.end().await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "{traces:?}");
    Ok(())
}
