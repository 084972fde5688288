//! Going on: from the middle of a transaction, with a part of the engine gone, and where going on would lose rows.

use crossfade_coordinator::ended::Ended;

use super::scene::{ENGINE, GATED, How, MANUAL, Scene, both};
use super::writers::Writers;

const HUNDRED: &str = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i";

async fn hundred() -> Scene {
    Scene::with_twin("n integer", HUNDRED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t19_a_copier_that_dies_within_a_range_neither_doubles_nor_loses() {
    let scene = hundred().await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let writers = Writers::of_the_app(&scene, 1).await;
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    let end = format!(
        "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity
          WHERE usename = '{ENGINE}' AND query LIKE 'INSERT INTO%OVERRIDING SYSTEM VALUE%'"
    );
    assert!(scene.holds(&end).await, "a copier is at work");
    copying.open().await;
    engine.until_ready().await;
    writers.commit_more(20).await;
    scene.cut_over().await;
    engine.done().await;
    writers.stop().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t21_no_snapshot_is_held_once_the_rows_are_copied() {
    let scene = hundred().await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let held = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE usename = '{ENGINE}' AND xact_start IS NOT NULL
                               AND xact_start < now() - interval '2 seconds')
            AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE xmin IS NOT NULL)"
    );
    scene.until(&held).await;
    // No vacuum is kept from what was dead before.
    both(&scene.app, "DELETE FROM {t} WHERE id = 1").await;
    let dead = |count: u32| {
        format!("SELECT n_dead_tup = {count} FROM pg_stat_user_tables WHERE relid = 'public.t'::regclass")
    };
    // Counted before it is vacuumed, or the count of the statistics would come behind that.
    scene.until(&dead(1)).await;
    scene.app.batch_execute("VACUUM public.t").await.unwrap();
    scene.until(&dead(0)).await;
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m13_an_engine_that_dies_in_the_middle_of_a_bulk_transaction() {
    let scene = hundred().await;
    let more = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1000, 60000) i";
    both(&scene.app, more).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let middle = scene.shut(3).await;
    // One transaction, many pieces; the last change moves a key.
    both(
        &scene.app,
        "UPDATE {t} SET n = n + 1; UPDATE {t} SET gate = 3 WHERE id = 30000; UPDATE {t} SET id = -1 WHERE id = 5",
    )
    .await;
    middle.reached(&scene).await;
    drop(engine);
    middle.open().await;
    scene.resume(How::default()).done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m07_a_slot_made_anew_is_not_followed() {
    let scene = hundred().await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    engine.interrupt();
    assert!(matches!(engine.ended().await, Ended::Interrupted));
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    let slot = scene.name.slot();
    let admin = scene.admin().await;
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    admin.batch_execute(&drop).await.unwrap();
    gone(&scene, "gone").await;
    let create = format!("SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')");
    admin.batch_execute(&create).await.unwrap();
    gone(&scene, "ahead").await;
    let aborted = crossfade_coordinator::operate::abort(scene.config(), &scene.name).await;
    assert!(matches!(aborted, Ok(Ended::Aborted)), "{aborted:?}");
    scene.change("public.t", &[GATED]).await;
    scene.assert_twins().await;
}

async fn gone(scene: &Scene, said: &str) {
    match scene.resume(How::default()).ended().await {
        Ended::NeedsOperator { reason, .. } => assert!(reason.contains(said), "{reason}"),
        other => panic!("{other:?}"),
    }
}
