//! The new tables are there to be read before the swap, for those who are named.

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::split::Split;
use crossfade_tests::split::examples::USER_SETTINGS;
use crossfade_tests::until;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// The role that is named.
const READER: &str = "split_reader";

const ROLE: &str = "DO $$ BEGIN CREATE ROLE split_reader; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$";

async fn settings(client: &Client) -> Result<i64> {
    Ok(client
        .query_one("SELECT count(*) FROM user_settings", &[])
        .await?
        .get(0))
}

/// One statement, by the name that the table will have, works before the swap and behind it. A reader in the way holds
/// nobody up but the swap.
#[tokio::test]
async fn a_reader_sees_the_new_tables_follow_and_holds_up_nothing_but_the_swap() -> Result<()> {
    let mut split = Split::start(&USER_SETTINGS, 41).await?;
    let superuser = split.stage.superuser().await?;
    superuser.batch_execute(ROLE).await?;
    let grant = format!("GRANT SELECT ON users TO {READER}");
    split.stage.client().await?.batch_execute(&grant).await?;
    split.edit(|text| format!("readers = [\"{READER}\"]\n{text}"))?;
    let mut engine = split.run(&[])?;
    split.stage.reached_by(&mut engine, Phase::Ready).await?;

    let reader = split.stage.superuser().await?;
    let path = format!(
        "SET ROLE {READER}; SET search_path = {}, public",
        split.stage.name().schema()
    );
    reader.batch_execute(&path).await?;
    ensure!(settings(&reader).await? > 0);
    let refused = reader.batch_execute("DELETE FROM user_settings").await.err();
    let refused = refused.context("a reader may not write")?;
    ensure!(
        refused.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{refused}"
    );
    let mark = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = $1";
    let schema = split.stage.name().schema();
    let mark: String = superuser.query_one(mark, &[&schema]).await?.get(0);
    ensure!(mark.contains("write nothing"), "{mark}");

    let pid: i32 = reader.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    reader
        .batch_execute("BEGIN; DECLARE settings CURSOR FOR TABLE user_settings")
        .await?;
    split.stage.operate("verify", &[]).await?.expect(0)?;
    split.stage.operate("cutover", &[]).await?.expect(0)?;
    until::so("who is in the way is told".to_owned(), || async {
        let status = split.stage.status().await?;
        let waits_for = status["progress"]["waits_for"].as_str().unwrap_or_default();
        Ok(waits_for.contains(&pid.to_string()))
    })
    .await?;
    split.goes_on(20).await?;
    // Now it has no snapshot, and still its lock.
    reader.batch_execute("CLOSE settings").await?;
    let attempts = || async {
        let status = split.stage.status().await?;
        anyhow::Ok(status["progress"]["cutover_attempts"].as_u64())
    };
    let before = attempts().await?;
    until::so("the swap is tried again".to_owned(), || async {
        Ok(attempts().await? > before)
    })
    .await?;
    split.goes_on(20).await?;
    ensure!(split.stage.phase(&superuser).await? == Some(Phase::Ready));
    reader.batch_execute("COMMIT").await?;
    split.swapped(&mut engine).await?;
    split.compare().await?;
    ensure!(settings(&reader).await? > 0);
    engine.kill_9().await?;
    Ok(())
}
