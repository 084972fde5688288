//! A table that is kept: the new ones are what it is at the swap, and then both go their own ways.

use anyhow::{Result, ensure};
use crossfade_tests::split::examples::TENANTS;
use crossfade_tests::split::{Example, Split};
use crossfade_tests::stage::Stage;

/// Ends the writers, who could go on for ever, in the moment of the swap.
const LOOK: &str = "LOCK TABLE public.documents IN ROW EXCLUSIVE MODE;
    DO $$ BEGIN
      IF to_regclass('public.tenant_1_documents') IS NOT NULL THEN RAISE undefined_table; END IF;
    END $$";

#[tokio::test]
async fn a_table_that_is_kept_is_as_it_was_behind_the_swap() -> Result<()> {
    let kept: &'static Example = Box::leak(Box::new(Example {
        look: LOOK,
        ..TENANTS
    }));
    let mut split = Split::start(kept, 31).await?;
    let without_way_back = |text: &str| {
        let before = text.split("[old_shape]").next().unwrap_or_default();
        before.replace("source = \"retire\"", "source = \"keep\"")
    };
    split.edit(without_way_back)?;
    let before = described(&split).await?;
    let mut engine = split.run(&["--copy", "incremental"])?;
    split.cut_over(&mut engine).await?;
    engine.end().await?.expect(0)?;
    split.compare().await?;
    let client = split.stage.client().await?;
    client
        .batch_execute(
            "INSERT INTO documents (tenant, title) VALUES (1, 'behind the swap');
             INSERT INTO tenant_1_documents (title) VALUES ('on its own')",
        )
        .await?;
    let told = split.stage.operate("complete", &[]).await?.expect(0)?;
    ensure!(told.object["outcome"] == "done", "{}", told.object);
    ensure!(described(&split).await? == before, "it is not as it was");
    let both = "SELECT (SELECT count(*) FROM documents WHERE title = 'behind the swap'),
                       (SELECT count(*) FROM tenant_1_documents WHERE title IN ('behind the swap', 'on its own'))";
    let row = client.query_one(both, &[]).await?;
    ensure!(row.get::<_, i64>(0) == 1 && row.get::<_, i64>(1) == 1, "{row:?}");
    let left = split.stage.traces().await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Without a key it is followed under an identity of ours, and published; neither may be in the way of who goes on with it.
#[tokio::test]
async fn a_kept_table_without_an_identity_can_be_updated_behind_the_swap() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE readings (sensor integer, reading numeric);
             ALTER TABLE readings REPLICA IDENTITY NOTHING;
             INSERT INTO readings SELECT i % 7, i FROM generate_series(1, 1000) AS i",
        )
        .await?;
    let file = stage.folder().join("change.toml");
    let text = "table = \"readings\"\nsource = \"keep\"\n[[target]]\nname = \"of_sensor_3\"\nfilter = \"sensor = 3\"\n\
                columns = [{ name = \"reading\", value = \"reading\" }]\nkey = [\"reading\"]\n";
    std::fs::write(&file, text)?;
    let engine = stage.run_change(&file, &["--cutover", "auto"])?;
    engine.end().await?.expect(0)?;
    let updated = client
        .execute("UPDATE readings SET reading = -1 WHERE sensor = 3", &[])
        .await?;
    let copied: i64 = client
        .query_one("SELECT count(*) FROM of_sensor_3 WHERE reading > 0", &[])
        .await?
        .get(0);
    ensure!(
        updated == 143 && copied == 143,
        "{updated} updated, {copied} copied"
    );
    Ok(())
}

/// What identifies the table and lets others work with it.
async fn described(split: &Split) -> Result<String> {
    let client = split.stage.client().await?;
    let row = "SELECT concat_ws(' ', oid, relfilenode, relreplident, relacl, relhastriggers, relowner,
                      (SELECT string_agg(indexrelid::text, ' ' ORDER BY indexrelid) FROM pg_index WHERE indrelid = pg_class.oid),
                      pg_get_serial_sequence('public.documents', 'id'))
                 FROM pg_class WHERE oid = 'public.documents'::regclass";
    Ok(client.query_one(row, &[]).await?.get(0))
}
