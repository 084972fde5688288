//! Slots are made with their snapshot, found taken, given up half-made, and dropped.

use crossfade_lab::server::ServerOptions;
use crossfade_replication::slot::{self, ExportingSlot, SlotError};
use crossfade_replication::transport::{Connection, TransportError};

use crate::scene::{self, Scene};

#[tokio::test]
async fn the_snapshot_is_of_the_slots_point_and_lives_as_long_as_it_is_held() {
    let scene =
        Scene::with(ServerOptions::default().setting("idle_in_transaction_session_timeout", "1ms")).await;
    scene.run("INSERT INTO t VALUES (1, 'before')").await;
    let connection = Connection::open(&scene::config(&scene.server)).await.unwrap();
    let exporting = ExportingSlot::create(connection, "exporting").await.unwrap();
    assert!(exporting.slot().consistent_point > scene.slot.consistent_point);
    scene.run("INSERT INTO t VALUES (2, 'after')").await;

    let adopt = format!(
        "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ; \
         SET TRANSACTION SNAPSHOT '{}'",
        exporting.snapshot_name()
    );
    scene.run(&adopt).await;
    let rows = scene.client.query("SELECT id FROM t", &[]).await.unwrap();
    assert_eq!(rows.len(), 1);
    scene.run("COMMIT").await;

    let (created, mut connection) = exporting.release();
    connection.identify_system().await.unwrap();
    assert!(
        scene.client.batch_execute(&adopt).await.is_err(),
        "the snapshot should be gone"
    );
    scene.run("ROLLBACK").await;
    slot::drop(&mut connection, &created.name).await.unwrap();
}

#[tokio::test]
async fn a_taken_name_and_a_missing_slot_are_told_apart() {
    let scene = Scene::new().await;
    let mut connection = Connection::open(&scene::config(&scene.server)).await.unwrap();
    let taken = slot::create(&mut connection, "s").await.unwrap_err();
    assert!(matches!(taken, SlotError::Exists { name } if name == "s"));
    // The connection is as good as before.
    slot::drop(&mut connection, "s").await.unwrap();
    let missing = slot::drop(&mut connection, "s").await.unwrap_err();
    assert!(matches!(missing, SlotError::Missing { name } if name == "s"));
}

#[tokio::test]
async fn a_creation_that_waits_for_an_old_transaction_can_be_given_up() {
    let scene = Scene::new().await;
    scene.run("BEGIN; INSERT INTO t VALUES (1, 'open')").await;
    let connection = Connection::open(&scene::config(&scene.server)).await.unwrap();
    let canceller = connection.canceller();
    let creation = tokio::spawn(async move { ExportingSlot::create(connection, "late").await.map(drop) });
    let waiting = "SELECT 'yes' FROM pg_stat_activity \
                   WHERE backend_type = 'walsender' AND wait_event = 'transactionid'";
    scene.wait_until(waiting, |answer| answer.is_some()).await;
    canceller.cancel().await.unwrap();
    let error = creation.await.unwrap().unwrap_err();
    let SlotError::Transport(TransportError::Server { source, .. }) = error else {
        panic!("{error}");
    };
    assert_eq!(source.sqlstate, "57014");
    let left = "SELECT slot_name::text FROM pg_replication_slots WHERE slot_name = 'late'";
    assert_eq!(scene.ask(left).await, None);
}
