//! The snapshot: shared, kept, and given up when the source is not what it was.

use std::time::Duration;

use crossfade_copier::{CopyError, CopyErrorClass, SnapshotKeeper};
use crossfade_postgres::copy::CtidRange;

use super::scene::{Scene, done, not_done};

const ALL: CtidRange = CtidRange { start: 0, end: None };

#[tokio::test]
async fn copiers_see_what_the_keeper_saw() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'old'), (2, 'old')").await;
    let keeper = scene.keeper().await;
    scene
        .run("UPDATE t SET note = 'new'; INSERT INTO t VALUES (3, 'new')")
        .await;
    let copier = scene.copier().await;
    assert_eq!(done(copier.copy_range(ALL, keeper.kept()).await), 2);
    assert_eq!(
        scene
            .count("SELECT count(*) FROM shadow.t WHERE note = 'old'")
            .await,
        2
    );
}

/// R4: what would rewrite or empty the table waits for the keeper.
#[tokio::test]
async fn the_keeper_holds_off_truncates_and_rewrites() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'old')").await;
    let keeper = scene.keeper().await;
    for statement in ["TRUNCATE t", "ALTER TABLE t ALTER id TYPE bigint"] {
        let limited = format!("SET lock_timeout = '50ms'; {statement}");
        assert!(
            scene.session.batch_execute(&limited).await.is_err(),
            "{statement}"
        );
    }
    keeper.release().await.unwrap();
    scene.run("TRUNCATE t").await;
}

#[tokio::test]
async fn a_rewritten_source_is_not_copied() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'old')").await;
    let mut kept = scene.keeper().await.kept().clone();
    scene.run("VACUUM FULL t").await;
    let keeper = scene.keeper().await;
    kept.name.clone_from(&keeper.kept().name);
    let copier = scene.copier().await;
    let error = not_done(copier.copy_range(ALL, &kept).await);
    assert!(matches!(error, CopyError::SourceChanged { .. }), "{error}");
}

#[tokio::test]
async fn a_replaced_source_is_not_copied() {
    let mut scene = Scene::new("").await;
    scene
        .run("ALTER TABLE t RENAME TO gone; CREATE TABLE t (id int, note text)")
        .await;
    let lock = SnapshotKeeper::lock(scene.open().await, &scene.step.source)
        .await
        .unwrap();
    assert!(matches!(
        lock.import(None).await,
        Err(CopyError::SourceChanged { .. })
    ));
    scene.step.source.name.name = "missing".to_owned();
    assert!(
        SnapshotKeeper::lock(scene.open().await, &scene.step.source)
            .await
            .is_err()
    );
}

/// R24: raised before the range began, and, harder, after its snapshot was taken.
#[tokio::test]
async fn a_superseded_engine_copies_nothing() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'old')").await;
    let keeper = scene.keeper().await;
    let copier = scene.copier().await;
    scene
        .run("UPDATE crossfade.generation SET generation = generation + 1")
        .await;
    let after_snapshot = not_done(copier.copy_range(ALL, keeper.kept()).await);
    assert_eq!(
        after_snapshot.class(),
        CopyErrorClass::Superseded,
        "{after_snapshot}"
    );
    let later = scene.keeper().await;
    let before_snapshot = not_done(copier.copy_range(ALL, later.kept()).await);
    assert_eq!(
        before_snapshot.class(),
        CopyErrorClass::Superseded,
        "{before_snapshot}"
    );
    assert_eq!(scene.count("SELECT count(*) FROM shadow.t").await, 0);
}

/// A duplicate in a copy is an error, and the range leaves nothing behind.
#[tokio::test]
async fn a_duplicate_surfaces() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'a'), (2, 'b')").await;
    let keeper = scene.keeper().await;
    let copier = scene.copier().await;
    scene
        .run("INSERT INTO shadow.t OVERRIDING SYSTEM VALUE VALUES (2, 'already')")
        .await;
    let error = not_done(copier.copy_range(ALL, keeper.kept()).await);
    assert_eq!(error.class(), CopyErrorClass::Real, "{error}");
    assert_eq!(scene.count("SELECT count(*) FROM shadow.t").await, 1);
}

#[tokio::test]
async fn a_lost_snapshot_or_connection_is_told() {
    let scene = Scene::new("INSERT INTO t VALUES (1, 'a')").await;
    let kept = scene.keeper().await.kept().clone();
    let copier = scene.copier().await;
    // The keeper is gone; its backend ends when it notices.
    let gone = "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass";
    let ended = async {
        while scene.count(gone).await != 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), ended)
        .await
        .unwrap();
    assert_eq!(
        not_done(copier.copy_range(ALL, &kept).await).class(),
        CopyErrorClass::Real
    );
    let end = "SELECT pg_terminate_backend($1, 60000)";
    scene
        .session
        .query_one(end, &[&copier.session().pid()])
        .await
        .unwrap();
    assert_eq!(
        not_done(copier.copy_range(ALL, &kept).await).class(),
        CopyErrorClass::Lost
    );
}
