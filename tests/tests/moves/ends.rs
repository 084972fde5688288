//! Moves that end otherwise than by a hand-over, and what they leave behind; and who is shut out where.

use anyhow::{Context as _, Result, ensure};
use crossfade_tests::moving::Moving;

use super::{TRACES, count, fails};

const TABLE: &str = "CREATE TABLE public.items (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
                     CREATE TABLE public.lines (item integer REFERENCES public.items, n integer, PRIMARY KEY (item, n));
                     INSERT INTO public.items (name) SELECT 'item ' || i FROM generate_series(1, 1000) AS i;
                     INSERT INTO public.lines SELECT i, 1 FROM generate_series(1, 1000) AS i";

async fn started() -> Result<Moving> {
    let moving = Moving::bare().await?;
    moving.client(&moving.from).await?.batch_execute(TABLE).await?;
    Ok(moving)
}

const INSERT: &str = "INSERT INTO public.items (name) VALUES ('written')";
#[tokio::test]
async fn given_up_before_the_hand_over_nothing_is_left() -> Result<()> {
    let moving = started().await?;
    let mut engine = moving.start_move(&[])?;
    moving.verified(&mut engine, 0).await?;
    let target = moving.to.connect("postgres", moving.database()).await?;
    ensure!(
        fails(&target, INSERT).await.as_deref() == Some("25006"),
        "a superuser writes to a table that follows"
    );
    ensure!(
        fails(&moving.client(&moving.from).await?, INSERT).await.is_none(),
        "the source takes writes"
    );
    moving.operate("abort", &[]).await?.expect(10)?;
    moving.operate_both("abort", &[]).await?.expect(0)?;
    ensure!(
        engine.end().await?.code != Some(0),
        "the engine has lost its move"
    );
    let source = moving.from.connect("postgres", moving.database()).await?;
    for server in [&source, &target] {
        ensure!(count(server, TRACES).await? == 0, "traces are left");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    ensure!(count(&target, tables).await? == 0 && count(&source, tables).await? == 2);
    Ok(())
}

#[tokio::test]
async fn behind_the_hand_over_nobody_writes_where_it_was() -> Result<()> {
    let moving = started().await?;
    let ended = moving
        .start_move(&["--cutover", "auto", "--until-cutover"])?
        .end()
        .await?
        .expect(0)?;
    ensure!(
        ended.object["report"]["cutover_attempts"].as_u64() >= Some(1),
        "{}",
        ended.object
    );
    let (old, new) = (
        moving.client(&moving.from).await?,
        moving.client(&moving.to).await?,
    );
    let superuser = moving.from.connect("postgres", moving.database()).await?;
    for client in [&old, &superuser] {
        for sql in [
            INSERT,
            "UPDATE public.items SET name = 'x'",
            "DELETE FROM public.lines",
            "TRUNCATE public.items, public.lines",
        ] {
            ensure!(
                fails(client, sql).await.as_deref() == Some("25006"),
                "{sql} is not shut out"
            );
        }
        let replica = format!("SET session_replication_role = replica; {INSERT}");
        let found = fails(client, &replica).await;
        ensure!(matches!(found.as_deref(), Some("25006" | "42501")), "{found:?}");
    }
    new.batch_execute(INSERT).await?;
    ensure!(
        count(&new, "SELECT max(id)::int8 FROM public.items").await? == 1001,
        "the sequence goes on"
    );
    ensure!(
        fails(&new, "INSERT INTO public.lines VALUES (5000, 1)")
            .await
            .as_deref()
            == Some("23503"),
        "foreign keys hold"
    );
    ensure!(
        fails(&new, "INSERT INTO public.items (id, name) VALUES (7, 'x')")
            .await
            .as_deref()
            == Some("428C9"),
        "identities are ALWAYS"
    );
    moving.operate_both("abort", &[]).await?.expect(30)?;
    // The way back: another engine carries it, and hands back.
    let mut engine = moving.start_move(&[])?;
    moving.verified(&mut engine, 1).await?;
    moving.operate("rollback", &[]).await?.expect(0)?;
    moving.led(&mut engine, 2).await?;
    ensure!(
        count(&old, "SELECT count(*) FROM public.items WHERE name = 'written'").await? == 1,
        "what was written there is here"
    );
    ensure!(fails(&old, INSERT).await.is_none() && fails(&new, INSERT).await.as_deref() == Some("25006"));
    engine.kill_9().await?;
    moving.operate_both("complete", &[]).await?.expect(0)?;
    ensure!(
        count(&superuser, TRACES).await? == 0,
        "traces are left where it leads"
    );
    Ok(())
}

#[tokio::test]
async fn a_table_made_after_the_plan_ends_the_move() -> Result<()> {
    let moving = started().await?;
    let mut engine = moving.start_move(&[])?;
    moving.verified(&mut engine, 0).await?;
    let source = moving.client(&moving.from).await?;
    source
        .batch_execute("CREATE TABLE public.late (id integer PRIMARY KEY)")
        .await?;
    moving.operate("cutover", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(30)?;
    ensure!(
        ended.says("public.late") && ended.object["code"] == "source_changed",
        "{}",
        ended.object
    );
    ensure!(fails(&source, INSERT).await.is_none(), "the source takes writes");
    Ok(())
}

#[tokio::test]
async fn hooks_are_run_in_order_and_a_pause_is_taken_back() -> Result<()> {
    let moving = started().await?;
    let log = moving.file("hooks");
    let hook = |word: &str| {
        format!(
            "echo {word} $CROSSFADE_HOOK $CROSSFADE_DIRECTION >> '{}'",
            log.display()
        )
    };
    let (pause, switch, resume) = (hook("a"), hook("b"), hook("c"));
    let failing = format!("{pause}; exit 3");
    let hooks = |pause: &str| {
        [
            "--hook-pause",
            pause,
            "--hook-switch",
            &switch,
            "--hook-resume",
            &resume,
            "--cutover",
            "auto",
            "--until-cutover",
        ]
        .map(str::to_owned)
    };
    let first = hooks(&failing);
    let ended = moving
        .start_move_hooked(&first.each_ref().map(String::as_str))?
        .end()
        .await?
        .expect(20)?;
    ensure!(ended.object["code"] == "hook_failed", "{}", ended.object);
    let second = hooks(&pause);
    moving
        .start_move_hooked(&second.each_ref().map(String::as_str))?
        .end()
        .await?
        .expect(0)?;
    let text = std::fs::read_to_string(&log).context("read what the hooks wrote")?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines
            == [
                "a pause forward",
                "c resume back",
                "a pause forward",
                "b switch forward",
                "c resume forward"
            ],
        "{lines:?}"
    );
    Ok(())
}

#[tokio::test]
async fn rows_that_differ_are_named_with_their_table_and_repaired_on_request() -> Result<()> {
    let moving = started().await?;
    let mut engine = moving.start_move(&["--cutover", "manual"])?;
    moving.verified(&mut engine, 0).await?;
    let ended = moving.operate("verify", &[]).await?.expect(0)?;
    ensure!(ended.object["verification"]["rows"] == 2000, "{}", ended.object);
    let target = moving.to.connect("postgres", moving.database()).await?;
    target
        .batch_execute(
            "SET crossfade.writes_for = 'estate'; UPDATE public.items SET name = 'x' WHERE id = 5;
             DELETE FROM public.lines WHERE item = 7; INSERT INTO public.lines VALUES (-1, 1)",
        )
        .await?;
    let ended = moving.operate("verify", &[]).await?.expect(21)?;
    ensure!(ended.says("public.items: 5"), "{}", ended.object);
    engine.end().await?.expect(21)?;
    // What differed is not forgotten by an engine that is not asked to look.
    let mut engine = moving.start_move(&["--verify", "repair"])?;
    moving.verified(&mut engine, 0).await?;
    let ended = moving.operate("verify", &[]).await?.expect(0)?;
    ensure!(ended.object["verification"]["equal"] == true, "{}", ended.object);
    let sums =
        "SELECT (SELECT count(*) FROM items WHERE name = 'x') + (SELECT count(*) FROM lines WHERE item < 0)
                     + 1000 - (SELECT count(*) FROM lines)";
    ensure!(count(&target, sums).await? == 0, "not everything is repaired");
    engine.kill_9().await?;
    Ok(())
}
