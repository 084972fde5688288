//! Locks in slices, blockers by name, old snapshots (R27, R28).

use std::time::{Duration, Instant};

use crossfade_postgres::lock::{self, Hold, LockOutcome, SnapshotHolder, XactStatus};

use crossfade_postgres::session::SqlClass;

use super::scene::Scene;

/// Longer than any of these tests.
const HOLD: Hold = Hold {
    budget: Duration::from_secs(60),
    later_lock_max: Duration::from_millis(500),
};

const EXCLUSIVE: &str = "LOCK TABLE ONLY public.t IN ACCESS EXCLUSIVE MODE";

/// T23: a reader is not waited for longer than the slice, and nobody stays queued behind us.
#[tokio::test]
async fn a_lock_that_is_not_granted_in_time_is_given_up_whole() {
    let scene = Scene::new().await;
    scene
        .engine
        .batch_execute("CREATE TABLE public.other (id int)")
        .await
        .unwrap();
    let application = scene.application().await;
    application
        .batch_execute("BEGIN; SELECT FROM public.t")
        .await
        .unwrap();
    let locks = [
        "LOCK TABLE public.other IN ACCESS EXCLUSIVE MODE".to_owned(),
        EXCLUSIVE.to_owned(),
    ];
    scene.engine.batch_execute("BEGIN").await.unwrap();
    let start = Instant::now();
    let outcome = lock::try_lock(&scene.engine, &locks, Duration::from_millis(200), HOLD)
        .await
        .unwrap();
    assert!(matches!(outcome, LockOutcome::TimedOut));
    assert!(start.elapsed() < Duration::from_secs(5));
    scene
        .witness
        .batch_execute("SELECT FROM public.other")
        .await
        .unwrap();

    application.batch_execute("COMMIT").await.unwrap();
    scene.engine.batch_execute("BEGIN").await.unwrap();
    let outcome = lock::try_lock(&scene.engine, &locks, Duration::from_secs(60), HOLD)
        .await
        .unwrap();
    assert!(matches!(outcome, LockOutcome::Locked));
    scene.engine.batch_execute("ROLLBACK").await.unwrap();
}

/// T28: an engine that hangs gives nothing back; the server does.
#[tokio::test]
async fn locks_whose_holder_says_nothing_are_given_back_by_the_server() {
    let scene = Scene::new().await;
    let hold = Hold {
        budget: Duration::from_millis(1),
        ..HOLD
    };
    scene.engine.batch_execute("BEGIN").await.unwrap();
    let locks = [EXCLUSIVE.to_owned()];
    let outcome = lock::try_lock(&scene.engine, &locks, Duration::from_secs(60), hold).await;
    assert!(matches!(outcome, Ok(LockOutcome::Locked)));
    // Waits for the lock, which nobody but the server ends.
    let application = scene.application().await;
    application.batch_execute("SELECT FROM public.t").await.unwrap();
    let late = scene.engine.batch_execute("COMMIT").await.unwrap_err();
    assert_eq!(late.class(), SqlClass::Lost);
}

#[tokio::test]
async fn blockers_and_those_behind_us_are_seen() {
    let scene = Scene::new().await;
    let (reader, behind) = (scene.application().await, scene.application().await);
    reader.batch_execute("BEGIN; SELECT FROM public.t").await.unwrap();
    let pid = scene.engine.pid();
    let (witness, reader_pid) = (&scene.witness, reader.pid());
    let watch = async {
        scene
            .until(async || !lock::blockers(witness, pid).await.unwrap().is_empty())
            .await;
        let blockers = lock::blockers(witness, pid).await.unwrap();
        let seen: Vec<_> = blockers
            .iter()
            .map(|one| (one.pid, one.user.as_deref()))
            .collect();
        assert_eq!(seen, [(reader_pid, Some("application"))]);
        let wait = async { behind.batch_execute("SELECT FROM public.t").await.unwrap() };
        let release = async {
            scene
                .until(async || lock::waiting_behind(witness, pid).await.unwrap() == 1)
                .await;
            reader.batch_execute("COMMIT").await.unwrap();
            scene
                .until(async || lock::blockers(witness, pid).await.unwrap().is_empty())
                .await;
            scene.engine.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(wait, release);
    };
    let lock = async {
        scene
            .engine
            .batch_execute(&format!("BEGIN; {EXCLUSIVE}"))
            .await
            .unwrap()
    };
    tokio::join!(lock, watch);
}

/// R28: seen without any monitoring role, across roles, until they end; and by transaction, so that a session's
/// next one is another.
#[tokio::test]
async fn old_snapshots_of_other_roles_are_seen_until_they_end() {
    let scene = Scene::new().await;
    let (engine, witness) = (&scene.engine, &scene.witness);
    let list = async || {
        lock::old_snapshots(witness, engine.pid(), "engine")
            .await
            .unwrap()
    };
    assert_eq!(list().await, []);
    let application = scene.application().await;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM public.t";
    application.batch_execute(begin).await.unwrap();
    let first = list().await;
    let [old] = &first[..] else { panic!("{first:?}") };
    assert_eq!(
        old.holder,
        SnapshotHolder::Backend {
            pid: application.pid()
        }
    );
    assert_eq!(old.user.as_deref(), Some("application"));
    assert!(!old.waits_for_us && old.transaction.is_some());
    assert_eq!(list().await[0].transaction, old.transaction);
    application.batch_execute("COMMIT").await.unwrap();
    assert_eq!(list().await, []);
    application.batch_execute(begin).await.unwrap();
    assert_ne!(list().await[0].transaction, old.transaction);
    application.batch_execute("COMMIT").await.unwrap();
    // Between two statements READ COMMITTED keeps none.
    application
        .batch_execute("BEGIN; SELECT FROM public.t")
        .await
        .unwrap();
    assert_eq!(list().await, []);
}

/// Who waits for our own lock cannot end before we do.
#[tokio::test]
async fn a_snapshot_that_waits_for_our_lock_is_marked() {
    let scene = Scene::new().await;
    let (engine, witness, application) = (&scene.engine, &scene.witness, scene.application().await);
    let lists = async || {
        lock::old_snapshots(witness, engine.pid(), "engine")
            .await
            .unwrap()
    };
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class";
    application.batch_execute(snapshot).await.unwrap();
    engine
        .batch_execute(&format!("BEGIN; {EXCLUSIVE}"))
        .await
        .unwrap();
    assert!(!lists().await[0].waits_for_us);
    let wait = async {
        application
            .batch_execute("SELECT FROM public.t; COMMIT")
            .await
            .unwrap()
    };
    let see = async {
        scene.until(async || lists().await[0].waits_for_us).await;
        engine.batch_execute("COMMIT").await.unwrap();
    };
    tokio::join!(wait, see);
}

#[tokio::test]
async fn the_fate_of_a_transaction_is_known_by_its_xid() {
    let scene = Scene::new().await;
    let fate = async |end: &str| {
        scene.engine.batch_execute("BEGIN").await.unwrap();
        let xid = lock::current_xid(&scene.engine).await.unwrap();
        let before = lock::xact_status(&scene.witness, xid).await.unwrap();
        assert_eq!(before, XactStatus::InProgress);
        scene.engine.batch_execute(end).await.unwrap();
        lock::xact_status(&scene.witness, xid).await.unwrap()
    };
    assert_eq!(fate("COMMIT").await, XactStatus::Committed);
    assert_eq!(fate("ROLLBACK").await, XactStatus::Aborted);
}
