//! The incremental copy: what happens to a row, or to a chunk, while the chunk is read.

use crossfade_coordinator::ended::Ended;
use crossfade_core::code::FailureCode;
use crossfade_core::limits::Limits;
use crossfade_core::migration::Activity;

use super::scene::{Engine, GATED, Gate, How, MANUAL, Scene, both};

const ROWS: &str = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 3000) AS i;
                    UPDATE {t} SET gate = 1 WHERE id = 50";

/// Holds the engine in the middle of its first chunk: its snapshot is taken, and no row of it is committed.
async fn held_in_a_chunk(limits: Limits) -> (Scene, Engine, Gate) {
    let scene = Scene::with_twin("n integer", ROWS).await;
    let gate = scene.shut(1).await;
    let engine = scene.run_in_chunks(How::default(), &[GATED], limits).await;
    gate.reached(&scene).await;
    (scene, engine, gate)
}

/// Changes rows of the chunk that is read, and lets it be copied when the stream has brought the changes.
async fn changed_while_its_chunk_is_read(statements: &str) {
    let (scene, mut engine, gate) = held_in_a_chunk(Limits::default()).await;
    both(&scene.app, statements).await;
    engine.until(|status| status.progress.waiting > 0).await;
    gate.open().await;
    let report = engine.done().await;
    assert!(report.changes_applied > 0, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m02_a_row_deleted_while_its_chunk_is_read_does_not_come_back() {
    changed_while_its_chunk_is_read("DELETE FROM {t} WHERE id IN (7, 50)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m02_a_row_updated_while_its_chunk_is_read_is_not_overtaken_by_its_copy() {
    changed_while_its_chunk_is_read("UPDATE {t} SET n = -id, gate = 0 WHERE id IN (7, 50)").await;
}

/// R9: a chunk that cannot be copied in its time is cut smaller and smaller, until what can be copied is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r09_a_chunk_that_takes_too_long_is_canceled_and_cut_smaller() {
    let limits = Limits {
        chunk_time_max_ms: 300,
        ..Limits::default()
    };
    let (scene, mut engine, gate) = held_in_a_chunk(limits).await;
    engine
        .until(|status| status.progress.ledger.cut_smaller > 0)
        .await;
    scene
        .until("SELECT EXISTS (SELECT FROM crossfade.chunk WHERE lower IS NULL AND rows < 50)")
        .await;
    gate.open().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_does_not_fit_names_its_key_and_not_itself_in_a_chunk_too() {
    let scene = Scene::with_twin("n integer", ROWS).await;
    both(&scene.app, "UPDATE {t} SET gate = 0, n = 98765 WHERE id = 50").await;
    let alter = "ALTER COLUMN n TYPE smallint";
    let engine = scene
        .run_in_chunks(How::default(), &[alter], Limits::default())
        .await;
    names_row_50(engine).await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_comes_later_and_does_not_fit_names_its_key_after_chunks_too() {
    let scene = Scene::with_twin("n integer", ROWS).await;
    let alter = "ALTER COLUMN n TYPE smallint";
    let mut engine = scene.run_in_chunks(MANUAL, &[alter], Limits::default()).await;
    engine
        .until(|status| status.activity == Some(Activity::Ready))
        .await;
    both(&scene.app, "UPDATE {t} SET n = 98765 WHERE id = 50").await;
    names_row_50(engine).await;
    scene.assert_twins().await;
}

async fn names_row_50(engine: Engine) {
    match engine.ended().await {
        Ended::Stopped { reason, .. } | Ended::NeedsOperator { reason, .. } => {
            assert!(!reason.contains("98765"), "{reason}");
            assert!(
                reason.contains("\"id\" = '50'") || reason.contains("id = 50"),
                "{reason}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// R4: nothing of it is in the stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r04_a_table_rewritten_between_two_chunks_ends_the_copy() {
    let scene = Scene::with_twin("n integer", ROWS).await;
    let limits = Limits {
        chunk_time_ms: 1,
        chunk_delay_ms: 50,
        ..Limits::default()
    };
    let how = How {
        copiers: 1,
        ..How::default()
    };
    let mut engine = scene.run_in_chunks(how, &[GATED], limits).await;
    engine.until(|status| status.progress.ranges.1 > 1).await;
    scene.app.batch_execute("VACUUM FULL public.t").await.unwrap();
    match engine.ended().await {
        Ended::NeedsOperator { code, reason, remedy } => {
            assert_eq!(code, FailureCode::SourceRewritten, "{reason}");
            assert!(remedy.contains("abort"), "{remedy}");
        }
        other => panic!("{other:?}"),
    }
    scene.assert_twins().await;
}
