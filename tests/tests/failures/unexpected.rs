//! What nobody announced: the source's definition changes, it is rewritten or dropped, the slot is lost, a value does
//! not fit. Each ends with what happened and what to do next, and the source is what it was.

use crossfade_coordinator::ended::Ended;
use crossfade_core::limits::Limits;
use crossfade_core::migration::Activity;

use super::scene::{Engine, GATED, How, MANUAL, Scene, both, gated_table, options, server};
use super::writers::Writers;

const HUNDRED: &str = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i";

async fn following() -> (Scene, Engine) {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    (scene, engine)
}

/// It ended, must not go on by itself, and says all of these.
async fn needs_operator(engine: Engine, said: &[&str]) {
    match engine.ended().await {
        Ended::NeedsOperator { reason, remedy, .. } => {
            for text in said {
                assert!(reason.contains(text), "{reason}");
            }
            assert!(remedy.contains("abort"), "{remedy}");
        }
        other => panic!("{other:?}"),
    }
}

/// The change can be given up without a trace, and made anew.
async fn begins_anew(scene: &Scene) {
    let aborted = crossfade_coordinator::operate::abort(scene.config(), &scene.name).await;
    assert!(matches!(aborted, Ok(Ended::Aborted)), "{aborted:?}");
    scene.change("public.t", &[GATED]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_column_added_while_the_table_is_followed() {
    let (scene, engine) = following().await;
    both(&scene.app, "ALTER TABLE {t} ADD COLUMN extra text").await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    needs_operator(engine, &["follow the source", "column extra is new"]).await;
    begins_anew(&scene).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_table_rewritten_and_never_changed_again_is_not_swapped() {
    let (scene, engine) = following().await;
    both(
        &scene.app,
        "ALTER TABLE {t} ALTER COLUMN n TYPE bigint USING n + 1",
    )
    .await;
    scene.cut_over().await;
    needs_operator(engine, &["no longer what was planned"]).await;
    begins_anew(&scene).await;
    scene.assert_twins().await;
}

/// Verified before, and no part of the definition tells of it: only the file does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_table_rewritten_to_the_same_definition_is_compared_and_not_swapped() {
    let (scene, engine) = following().await;
    both(
        &scene.app,
        "ALTER TABLE {t} ALTER COLUMN n TYPE integer USING n + 1",
    )
    .await;
    scene.cut_over().await;
    match engine.ended().await {
        Ended::NotEqual { verification } => assert_eq!(verification.differences.len(), 100),
        other => panic!("{other:?}"),
    }
    begins_anew(&scene).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_table_that_is_only_packed_anew_is_followed() {
    let (scene, engine) = following().await;
    let writers = Writers::of_the_app(&scene, 1).await;
    writers.commit_more(20).await;
    scene.app.batch_execute("VACUUM FULL public.t").await.unwrap();
    writers.commit_more(20).await;
    scene.cut_over().await;
    engine.done().await;
    writers.stop().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_table_dropped_while_it_is_followed() {
    let (scene, engine) = following().await;
    scene.app.batch_execute("DROP TABLE public.t").await.unwrap();
    needs_operator(engine, &["public.t was dropped"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t40_a_replica_identity_changed_while_the_table_is_followed() {
    let (scene, engine) = following().await;
    scene
        .app
        .batch_execute(
            "ALTER TABLE public.t REPLICA IDENTITY NOTHING; INSERT INTO public.t VALUES (500, 0, 1)",
        )
        .await
        .unwrap();
    needs_operator(engine, &["replica identity"]).await;
    assert!(
        scene
            .holds("SELECT relreplident = 'n' FROM pg_class WHERE oid = 'public.t'::regclass")
            .await
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t38_a_slot_that_is_invalidated_ends_the_copy() {
    let small = options()
        .setting("max_slot_wal_keep_size", "1MB")
        .setting("max_wal_size", "32MB")
        .setting("min_wal_size", "32MB");
    let scene = Scene::on(server(small).await, "", &gated_table("n integer")).await;
    both(&scene.app, HUNDRED).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    let admin = scene.admin().await;
    admin.batch_execute("CREATE TABLE filler (a text)").await.unwrap();
    for _ in 0..6 {
        let fill = "INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 16000)";
        admin.batch_execute(fill).await.unwrap();
        admin.batch_execute("SELECT pg_switch_wal()").await.unwrap();
        admin.batch_execute("CHECKPOINT").await.unwrap();
    }
    // The copy is still held at its gate.
    needs_operator(engine, &["slot", "invalidated"]).await;
    copying.open().await;
    begins_anew(&scene).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t38_more_wal_retained_than_allowed_drops_our_slot() {
    // What other tests write would be retained too.
    let scene = Scene::on(server(options()).await, "", &gated_table("n integer")).await;
    both(&scene.app, HUNDRED).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let limits = Limits {
        retained_wal_max_bytes: Some(4 << 20),
        ..Limits::default()
    };
    let engine = scene.run_within(MANUAL, limits).await;
    copying.reached(&scene).await;
    let fill = "CREATE TABLE public.filler AS SELECT repeat('x', 1000) FROM generate_series(1, 16000)";
    scene.admin().await.batch_execute(fill).await.unwrap();
    needs_operator(engine, &["retained_wal_max"]).await;
    let dropped = format!(
        "SELECT NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{}')",
        scene.name.slot()
    );
    scene.until(&dropped).await;
    copying.open().await;
    begins_anew(&scene).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_fit_names_its_key_and_not_itself() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    both(&scene.app, "UPDATE {t} SET n = 98765 WHERE id = 42").await;
    let alter = "ALTER COLUMN n TYPE smallint";
    let plan = scene.plan("public.t", &[alter], Limits::default()).await;
    let engine = scene.start(
        crossfade_coordinator::run::What::Plan(Box::new(plan)),
        How::default(),
    );
    match engine.ended().await {
        Ended::Stopped { reason, .. } | Ended::NeedsOperator { reason, .. } => {
            assert!(!reason.contains("98765"), "{reason}");
            assert!(reason.contains("\"id\" = '42'"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_comes_later_and_does_not_fit_names_its_key_and_not_itself() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let alter = "ALTER COLUMN n TYPE smallint";
    let plan = scene.plan("public.t", &[alter], Limits::default()).await;
    let mut engine = scene.start(crossfade_coordinator::run::What::Plan(Box::new(plan)), MANUAL);
    engine
        .until(|status| status.activity == Some(Activity::Ready))
        .await;
    both(&scene.app, "UPDATE {t} SET n = 98765 WHERE id = 42").await;
    match engine.ended().await {
        Ended::Stopped { reason, .. } | Ended::NeedsOperator { reason, .. } => {
            assert!(!reason.contains("98765"), "{reason}");
            assert!(reason.contains("42"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    scene.assert_twins().await;
}
