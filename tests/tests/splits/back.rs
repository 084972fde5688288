//! What keeps the old table from following several new ones closes the way back, or is found before the rollback.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

use crossfade_tests::split::examples::{MONTHLY, TENANTS};
use crossfade_tests::split::{Example, Split};

async fn swapped(example: &'static Example) -> Result<(Split, Process)> {
    let split = Split::start(example, 9).await?;
    let engine = split.run(&[])?;
    let (new, mut engine) = split.swap(engine).await?;
    new.follows_back(&mut engine).await?;
    Ok((new, engine))
}

/// The old table has one row for it; which of the two it would be nobody knows.
#[tokio::test]
async fn a_row_that_comes_twice_closes_the_way_back_until_it_is_mended() -> Result<()> {
    let (new, engine) = swapped(&TENANTS).await?;
    let client = new.stage.client().await?;
    client
        .batch_execute(
            "INSERT INTO public.tenant_1_documents VALUES (-7, 'one', 'x');
             INSERT INTO public.tenant_2_documents VALUES (-7, 'two', 'x')",
        )
        .await?;
    until::so("the way back is closed".to_owned(), || async {
        Ok(new.stage.status().await?["way_back"]["closed_since"].is_string())
    })
    .await?;
    let status = new.stage.status().await?;
    let reason = status["way_back"]["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.contains("id = -7") && reason.contains("several"),
        "{reason}"
    );
    new.goes_on(100).await?;
    new.stage.operate("rollback", &[]).await?.expect(30)?;
    client
        .batch_execute(
            "DELETE FROM public.tenant_2_documents WHERE id = -7;
             INSERT INTO twins.tenant_1_documents VALUES (-7, 'one', 'x')",
        )
        .await?;
    new.stage.operate("continue", &[]).await?.expect(0)?;
    until::so("the way back is open again".to_owned(), || async {
        Ok(new.stage.status().await?["way_back"]["ready"] == true)
    })
    .await?;
    new.roll_back(engine).await?;
    Ok(())
}

/// The stream of a table that is published as a whole says nothing of it: every row is compared before the rollback.
#[tokio::test]
async fn a_partition_that_is_emptied_is_found_before_the_rollback() -> Result<()> {
    let (new, engine) = swapped(&MONTHLY).await?;
    let client = new.stage.client().await?;
    let partition =
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'public.events'::regclass
                      ORDER BY 1 LIMIT 1";
    let partition: String = client.query_one(partition, &[]).await?.get(0);
    client.batch_execute(&format!("TRUNCATE {partition}")).await?;
    new.stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(21)?;
    ensure!(ended.says("extra"), "{}", ended.object);
    let kind = "SELECT relkind::text FROM pg_class WHERE oid = 'public.events'::regclass";
    ensure!(client.query_one(kind, &[]).await?.get::<_, &str>(0) == "p");
    Ok(())
}

/// What was written to it meanwhile is in no stream, and it has the file that it had.
#[tokio::test]
async fn what_is_written_to_a_partition_that_is_detached_is_found_before_the_rollback() -> Result<()> {
    let (new, engine) = swapped(&MONTHLY).await?;
    let client = new.stage.client().await?;
    let partition = "SELECT inhrelid::regclass::text, pg_get_expr(relpartbound, inhrelid)
                       FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
                      WHERE inhparent = 'public.events'::regclass ORDER BY 1 LIMIT 1";
    let row = client.query_one(partition, &[]).await?;
    let (partition, bounds): (String, String) = (row.get(0), row.get(1));
    client
        .batch_execute(&format!(
            "BEGIN; ALTER TABLE events DETACH PARTITION {partition};
             DELETE FROM {partition};
             ALTER TABLE events ATTACH PARTITION {partition} {bounds}; COMMIT"
        ))
        .await?;
    new.stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(21)?;
    ensure!(ended.says("extra"), "{}", ended.object);
    Ok(())
}

/// Its rows are in no stream: they are not in the old table, and never will be.
#[tokio::test]
async fn an_unlogged_partition_keeps_the_old_table_from_its_place() -> Result<()> {
    let (new, engine) = swapped(&MONTHLY).await?;
    let client = new.stage.client().await?;
    client
        .batch_execute(
            "CREATE UNLOGGED TABLE scratch PARTITION OF events FOR VALUES FROM ('1901-01-01') TO ('1901-02-01')",
        )
        .await?;
    new.stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(30)?;
    ensure!(
        ended.says("scratch") && ended.says("unlogged"),
        "{}",
        ended.object
    );
    Ok(())
}

/// Which rows of the old table are gone with it cannot be told from the stream.
#[tokio::test]
async fn a_new_table_that_is_emptied_ends_the_way_back() -> Result<()> {
    let (new, engine) = swapped(&TENANTS).await?;
    let client = new.stage.client().await?;
    client.batch_execute("TRUNCATE public.tenant_2_documents").await?;
    let ended = engine.end().await?.expect(30)?;
    ensure!(ended.says("TRUNCATE"), "{}", ended.object);
    new.goes_on(20).await?;
    new.stage.operate("complete", &[]).await?.expect(0)?;
    Ok(())
}

/// The new tables do not draw from it; whoever writes to them may give ids beyond it.
#[tokio::test]
async fn an_identity_of_the_old_table_goes_on_behind_the_rows_written_meanwhile() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, kind text NOT NULL);
             INSERT INTO notes (kind) SELECT 'k' || i % 2 FROM generate_series(1, 100) AS i",
        )
        .await?;
    let target = |name: &str, filter: &str| {
        format!(
            "[[target]]\nname = \"{name}\"\nkey = [\"id\"]\nfilter = \"kind {filter} 'k0'\"\n\
             columns = [{{ name = \"id\", value = \"id\" }}, {{ name = \"kind\", value = \"kind\" }}]\n"
        )
    };
    let text = format!(
        "table = \"notes\"\nsource = \"retire\"\n{}{}[old_shape]\nquery = \"SELECT * FROM a UNION ALL SELECT * FROM b\"\n",
        target("a", "="),
        target("b", "<>")
    );
    let file = stage.folder().join("change.toml");
    std::fs::write(&file, text)?;
    let mut engine = stage.run_change(&file, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    client
        .batch_execute("INSERT INTO a VALUES (5000, 'k0'); INSERT INTO b VALUES (4000, 'k1')")
        .await?;
    until::so("the retired table follows".to_owned(), || async {
        Ok(stage.status().await?["way_back"]["ready"] == true)
    })
    .await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    let insert = "INSERT INTO notes (kind) VALUES ('next') RETURNING id";
    let id: i64 = client.query_one(insert, &[]).await?.get(0);
    ensure!(id == 5001, "drew {id}");
    let rows: i64 = client.query_one("SELECT count(*) FROM notes", &[]).await?.get(0);
    ensure!(rows == 103, "{rows} rows");
    Ok(())
}
