//! Slots found and dropped, positions made durable.

use std::time::Duration;

use crossfade_postgres::{slot, wal};

use super::scene::{DATABASE, Scene};

#[tokio::test]
async fn a_slot_is_found_with_its_facts_and_dropped_once() {
    let scene = Scene::new().await;
    let engine = &scene.engine;
    assert_eq!(slot::find(engine, "ours").await.unwrap(), None);
    let create = "SELECT pg_create_logical_replication_slot('ours', 'pgoutput')";
    engine.batch_execute(create).await.unwrap();
    let found = slot::find(engine, "ours").await.unwrap().unwrap();
    assert_eq!(found.plugin.as_deref(), Some("pgoutput"));
    assert_eq!(found.database.as_deref(), Some(DATABASE));
    assert_eq!(found.active_pid, None);
    assert_eq!(found.wal_status, Some(slot::WalStatus::Reserved));
    assert!(found.retained_bytes.is_some() && found.restart_lsn <= found.confirmed_flush_lsn);
    let patience = Duration::from_secs(10);
    slot::drop(engine, "ours", patience).await.unwrap();
    slot::drop(engine, "ours", patience).await.unwrap();
    assert_eq!(slot::find(engine, "ours").await.unwrap(), None);
}

/// An asynchronous commit is visible before it is flushed; afterwards everything up to it is.
#[tokio::test]
async fn a_durable_position_is_flushed() {
    let scene = Scene::new().await;
    let engine = &scene.engine;
    let insert = "SET synchronous_commit = off; INSERT INTO public.t SELECT generate_series(1, 1000)";
    scene.witness.batch_execute(insert).await.unwrap();
    let position = wal::durable_insert_position(engine).await.unwrap();
    let flushed = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
    let row = engine.query_one(flushed, &[&position.to_string()]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    let message = wal::emit(engine, b"fence").await.unwrap();
    assert!(message >= position && wal::insert_position(engine).await.unwrap() > message);
}
