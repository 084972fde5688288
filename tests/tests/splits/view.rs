//! The view of the old shape: written to by applications of the old version, while those of the new one write to the new
//! tables and the retired table follows.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use tokio_postgres::error::SqlState;

use crossfade_tests::split::examples::{MONTHLY, ORDER_TAGS, TENANT_PARTITIONS, TENANTS, USER_SETTINGS};
use crossfade_tests::split::{Example, Options, ROWS, run};

/// There are twice as many writers as elsewhere, and half of them write through triggers.
const THINKS: Duration = Duration::from_millis(80);

async fn written_to_by_both(example: &'static Example) -> Result<()> {
    let options = Options {
        rows: ROWS,
        thinks: THINKS,
        kills: 0,
        lives_max: Duration::ZERO,
        behind: 150,
        seed: 21,
    };
    run(Stage::shared().await?, example, &options).await?;
    Ok(())
}

#[tokio::test]
async fn user_settings_through_the_view_and_beside_it() -> Result<()> {
    written_to_by_both(&USER_SETTINGS).await
}

#[tokio::test]
async fn order_tags_through_the_view_and_beside_it() -> Result<()> {
    written_to_by_both(&ORDER_TAGS).await
}

#[tokio::test]
async fn tenants_through_the_view_and_beside_it() -> Result<()> {
    written_to_by_both(&TENANTS).await
}

#[tokio::test]
async fn monthly_partitions_through_the_view_and_beside_it() -> Result<()> {
    written_to_by_both(&MONTHLY).await
}

#[tokio::test]
async fn tenant_partitions_through_the_view_and_beside_it() -> Result<()> {
    written_to_by_both(&TENANT_PARTITIONS).await
}

/// What a table says of a row that is there already, that is gone, or that nothing takes; and what it returns.
#[tokio::test]
async fn the_view_answers_as_a_table_does() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client.batch_execute(&TENANTS.filled(5000)).await?;
    let text = std::fs::read_to_string(TENANTS.path())?;
    let file = stage.folder().join("tenants.toml");
    // Nothing else has the table's own name after the swap.
    let view = "[old_shape]\nview = \"documents\"\n";
    std::fs::write(&file, text.replace("[old_shape]\n", view))?;
    let mut engine = stage.run_change(&file, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;

    let insert = "INSERT INTO documents (tenant, title) VALUES (1, 'drawn') RETURNING id, body";
    let row = client.query_one(insert, &[]).await?;
    let id: i32 = row.get(0);
    ensure!(id > 5000 && row.get::<_, Option<&str>>(1).is_none(), "drew {id}");
    let moved = "UPDATE documents SET tenant = 2, body = 'b' WHERE id = $1 RETURNING tenant, title, body";
    let row = client.query_one(moved, &[&id]).await?;
    ensure!(row.get::<_, i32>(0) == 2 && row.get::<_, &str>(1) == "drawn" && row.get::<_, &str>(2) == "b");
    let there = "SELECT (SELECT count(*) FROM tenant_1_documents WHERE id = $1),
                        (SELECT count(*) FROM tenant_2_documents WHERE id = $1)";
    let row = client.query_one(there, &[&id]).await?;
    ensure!(row.get::<_, i64>(0) == 0 && row.get::<_, i64>(1) == 1, "{row:?}");
    for (statement, code) in [
        (
            format!("INSERT INTO documents VALUES ({id}, 1, 'twice', NULL)"),
            "23505",
        ),
        (format!("UPDATE documents SET id = 4 WHERE id = {id}"), "23505"),
        (
            "INSERT INTO documents VALUES (-1, NULL, 'nowhere', NULL)".to_owned(),
            "44000",
        ),
        (
            "INSERT INTO documents VALUES (-1, 1, '', NULL)".to_owned(),
            "23514",
        ),
    ] {
        let refused = client.batch_execute(&statement).await;
        let error = refused.err().with_context(|| statement.clone())?;
        let found = error.code().map(|code| code.code().to_owned());
        ensure!(found.as_deref() == Some(code), "{statement}: {error:?}");
    }
    let delete = "DELETE FROM documents WHERE id = $1";
    ensure!(client.execute(delete, &[&id]).await? == 1);
    ensure!(client.execute(delete, &[&id]).await? == 0);
    refuses_to_undo(&stage).await?;
    engine.kill_9().await?;
    Ok(())
}

/// Two read the same row; the second must not undo what the first has written.
async fn refuses_to_undo(stage: &Stage) -> Result<()> {
    let (mut first, second) = (stage.client().await?, stage.client().await?);
    let transaction = first.transaction().await?;
    let more = "UPDATE documents SET title = title || '+' WHERE id = 7";
    transaction.batch_execute(more).await?;
    let second = tokio::spawn(async move { second.batch_execute(more).await });
    let superuser = stage.superuser().await?;
    until::so("the second waits for the first".to_owned(), || async {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE documents%' AND wait_event_type = 'Lock'
                         AND datname = current_database()";
        Ok(superuser.query_one(waiting, &[]).await?.get::<_, i64>(0) == 1)
    })
    .await?;
    transaction.commit().await?;
    let error = second.await?.err().context("the second is refused")?;
    ensure!(
        error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE),
        "{error:?}"
    );
    Ok(())
}
