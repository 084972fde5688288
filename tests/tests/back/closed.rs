//! What the retired table cannot take closes the way back, and nothing else.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::server::ServerOptions;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

use super::{ROWS, WRITERS, follows_back};

/// Beyond `integer`; no writer touches it.
const TOO_LARGE: &str = "3000000001";

async fn swapped<'a>(stage: &'a Stage) -> Result<(Orders<'a>, Process)> {
    let orders = Orders::start(stage, ROWS, WRITERS, 1).await?;
    let mut engine = stage.run_with_way_back(TABLE, RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(stage, &mut engine).await?;
    Ok((orders, engine))
}

async fn is_closed(stage: &Stage) -> Result<String> {
    until::so("the way back is closed".to_owned(), || async {
        Ok(stage.status().await?["way_back"]["closed_since"].is_string())
    })
    .await?;
    let status = stage.status().await?;
    Ok(status["way_back"]["reason"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[tokio::test]
async fn a_value_that_does_not_fit_names_its_key_and_the_application_goes_on() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    let client = stage.client().await?;
    client
        .batch_execute(&format!(
            "INSERT INTO orders (id, customer_id, amount) VALUES ({TOO_LARGE}, 1, 1)"
        ))
        .await?;
    let reason = is_closed(&stage).await?;
    ensure!(
        reason.contains(&format!("id = {TOO_LARGE}")),
        "it names the key: {reason}"
    );
    orders.goes_on(200).await?;
    let refused = stage.operate("rollback", &[]).await?.expect(30)?;
    ensure!(refused.says("closed since"), "{}", refused.object);

    // A key that the old table cannot have is never carried back: the migration ends with the new table.
    stage.operate("complete", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    client
        .batch_execute(&format!("DELETE FROM orders WHERE id = {TOO_LARGE}"))
        .await?;
    orders.stop_and_compare().await?;
    Ok(())
}

/// What mends the row comes behind it in the stream: `continue` tries both together.
#[tokio::test]
async fn a_row_that_is_mended_opens_the_way_back_again() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE tickets (id integer PRIMARY KEY, seats integer);
             INSERT INTO tickets SELECT i, i FROM generate_series(1, 100) i",
        )
        .await?;
    let alter = "ALTER COLUMN seats TYPE bigint";
    let mut engine = stage.run_with_way_back("tickets", alter, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    let set = |seats: &str| format!("UPDATE tickets SET seats = {seats} WHERE id = 7");
    client.batch_execute(&set(TOO_LARGE)).await?;
    let reason = is_closed(&stage).await?;
    ensure!(
        reason.contains("id = 7") && !reason.contains(TOO_LARGE),
        "{reason}"
    );
    client.batch_execute(&set("8")).await?;
    stage.operate("continue", &[]).await?.expect(0)?;
    until::so("the way back is open again".to_owned(), || async {
        Ok(stage.status().await?["way_back"]["ready"] == true)
    })
    .await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    ensure!(stage.column_type("tickets", "seats").await? == "integer");
    let sum: i64 = client
        .query_one("SELECT sum(seats) FROM tickets", &[])
        .await?
        .get(0);
    ensure!(sum == 5051, "{sum}");
    Ok(())
}

#[tokio::test]
async fn completed_while_the_old_table_follows() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    engine.end().await?.expect(0)?;
    orders.goes_on(100).await?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "complete left {traces:?}");
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    orders.stop_and_compare().await?;
    Ok(())
}

/// The disk of the server is worth more than a way back: both slots go.
#[tokio::test]
async fn a_closed_way_back_that_retains_too_much_wal_is_given_up() -> Result<()> {
    let stage = Stage::own(ServerOptions::default()).await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE tickets (id integer PRIMARY KEY, seats integer);
             INSERT INTO tickets SELECT i, i FROM generate_series(1, 100) i",
        )
        .await?;
    let alter = "ALTER COLUMN seats TYPE bigint";
    let limits = [("retained_wal_max", "100 MB")];
    let change = stage.change_file_with_way_back("tickets", &[alter], &limits)?;
    let mut engine = stage.run_change(&change, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    let too_large = format!("UPDATE tickets SET seats = {TOO_LARGE} WHERE id = 7");
    client.batch_execute(&too_large).await?;
    is_closed(&stage).await?;
    let superuser = stage.superuser().await?;
    let wal = "SELECT count(pg_logical_emit_message(false, 'filler', repeat('x', 1000000)))
                 FROM generate_series(1, 120)";
    superuser.batch_execute(wal).await?;
    let ended = engine.end().await?.expect(30)?;
    ensure!(ended.says("retained_wal_max"), "{}", ended.object);
    let slots = "SELECT count(*) FROM pg_replication_slots";
    ensure!(superuser.query_one(slots, &[]).await?.get::<_, i64>(0) == 0);
    stage.operate("complete", &["--drop"]).await?.expect(0)?;
    let traces = stage.traces().await?;
    ensure!(traces.is_empty(), "complete left {traces:?}");
    Ok(())
}

#[tokio::test]
async fn a_sequence_that_does_not_fit_is_told_before_the_lock() -> Result<()> {
    let stage = Stage::shared().await?;
    let client = stage.client().await?;
    client
        .batch_execute(
            "CREATE TABLE tickets (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, note text);
             INSERT INTO tickets (note) SELECT 'x' FROM generate_series(1, 100)",
        )
        .await?;
    let mut engine = stage.run_with_way_back("tickets", RETYPE, &["--cutover", "auto"])?;
    stage.reached_by(&mut engine, Phase::Swapped).await?;
    follows_back(&stage, &mut engine).await?;
    let beyond = "SELECT setval(pg_get_serial_sequence('tickets', 'id'), 3000000000)";
    client.batch_execute(beyond).await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    let ended = engine.end().await?.expect(30)?;
    ensure!(ended.says("3000000000"), "{}", ended.object);
    ensure!(stage.column_type("tickets", "id").await? == "bigint");
    client
        .batch_execute("SELECT setval(pg_get_serial_sequence('tickets', 'id'), 200)")
        .await?;
    stage.operate("rollback", &[]).await?.expect(0)?;
    ensure!(stage.column_type("tickets", "id").await? == "integer");
    Ok(())
}

/// What it left out of the stream nobody knows: the application goes on, and the new table stays.
#[tokio::test]
async fn r34_a_publication_of_the_way_back_that_is_altered_for_a_moment() -> Result<()> {
    let stage = Stage::shared().await?;
    let (orders, engine) = swapped(&stage).await?;
    let (superuser, publication) = (stage.superuser().await?, stage.name().back_publication());
    for publish in ["insert", "insert, update, delete, truncate"] {
        let alter = format!("ALTER PUBLICATION {publication} SET (publish = '{publish}')");
        superuser.batch_execute(&alter).await?;
    }
    let ended = engine.end().await?.expect(30)?;
    ensure!(ended.says(&publication), "{}", ended.object);
    let refused = stage.operate("rollback", &[]).await?.expect(30)?;
    ensure!(refused.says(&publication), "{}", refused.object);
    orders.goes_on(100).await?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    stage.operate("complete", &[]).await?.expect(0)?;
    orders.stop_and_compare().await?;
    Ok(())
}
