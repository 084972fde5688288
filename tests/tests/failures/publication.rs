//! The publication: what it does not have is left out of the stream without a word (R34).

use crossfade_coordinator::ended::Ended;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state;

use super::scene::{Engine, How, MANUAL, Scene, both};

/// What is done to the publication; behind the last of them it looks as before.
const TAMPERED: [&[&str]; 3] = [
    &[
        "ALTER PUBLICATION p DROP TABLE public.t",
        "ALTER PUBLICATION p ADD TABLE public.t",
    ],
    &[
        "ALTER PUBLICATION p SET (publish = 'insert')",
        "ALTER PUBLICATION p SET (publish = 'insert, update, delete, truncate')",
    ],
    &[
        "DROP PUBLICATION p",
        "CREATE PUBLICATION p FOR TABLE ONLY public.t",
    ],
];

async fn tampered(number: usize, at_work: bool) {
    let rows = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i";
    let scene = Scene::with_twin("n integer", rows).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let engine = match at_work {
        true => Some(engine),
        false => {
            engine.interrupt();
            engine.ended().await;
            None
        }
    };
    let (admin, publication) = (scene.admin().await, scene.name.publication());
    for (place, sql) in TAMPERED[number].iter().enumerate() {
        let sql = sql.replace("PUBLICATION p", &format!("PUBLICATION {publication}"));
        admin.batch_execute(&sql).await.unwrap();
        if place == 0 {
            both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 3").await;
        }
    }
    let engine = engine.unwrap_or_else(|| scene.resume(How::default()));
    names_publication(engine, &publication).await;
    assert!(scene.holds(NOT_SWAPPED).await);
}

const NOT_SWAPPED: &str = "SELECT phase = 'ready' FROM crossfade.migration";

/// It ends for an operator, and says which publication it is.
async fn names_publication(engine: Engine, publication: &str) {
    match engine.ended().await {
        Ended::NeedsOperator { reason, .. } => assert!(reason.contains(publication), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_table_left_out_of_the_publication_for_a_moment() {
    tampered(0, true).await;
    tampered(0, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_changes_left_out_of_the_publication_for_a_moment() {
    tampered(1, true).await;
    tampered(1, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_publication_made_anew() {
    tampered(2, true).await;
    tampered(2, false).await;
}

/// Altered before anybody has looked at it: nothing shows an alteration, only what there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_publication_that_lacks_something_before_its_slot_is_made() {
    for sql in [
        "ALTER PUBLICATION p SET (publish = 'insert')",
        "ALTER PUBLICATION p DROP TABLE public.t",
        "ALTER PUBLICATION p ADD TABLE twin.t",
        "DROP PUBLICATION p",
    ] {
        let scene = Scene::with_twin("n integer", "INSERT INTO {t} VALUES (1, 0, 1)").await;
        let (admin, publication) = (scene.admin().await, scene.name.publication());
        // It holds up what comes behind the publication, forgetting an earlier copy, and no slot of other tests.
        let state = Session::open(scene.config(), &SessionOptions::default())
            .await
            .unwrap();
        state::ensure(&state).await.unwrap();
        admin
            .batch_execute("BEGIN; LOCK TABLE crossfade.chunk IN EXCLUSIVE MODE")
            .await
            .unwrap();
        let engine = scene.run(MANUAL).await;
        let held_up = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'crossfade.chunk'::regclass AND NOT granted)";
        scene.until(held_up).await;
        engine.interrupt();
        engine.ended().await;
        admin.batch_execute("ROLLBACK").await.unwrap();
        let nobody_looked = "SELECT NOT EXISTS (SELECT FROM crossfade.publication)";
        assert!(scene.holds(nobody_looked).await, "{sql}");
        let sql = sql.replace("PUBLICATION p", &format!("PUBLICATION {publication}"));
        admin.batch_execute(&sql).await.unwrap();
        names_publication(scene.resume(How::default()), &publication).await;
    }
}

/// The alteration commits with the lock that kept the swap waiting: nobody looks between the two but the swap itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r34_a_publication_that_is_altered_as_the_lock_is_granted() {
    for _ in 0..4 {
        let scene = Scene::with_twin("n integer", "INSERT INTO {t} VALUES (1, 0, 1)").await;
        let mut engine = scene.run(MANUAL).await;
        engine.until_ready().await;
        let (admin, publication) = (scene.admin().await, scene.name.publication());
        let alter = format!(
            "BEGIN; LOCK TABLE public.t IN ROW EXCLUSIVE MODE; ALTER PUBLICATION {publication} DROP TABLE public.t"
        );
        admin.batch_execute(&alter).await.unwrap();
        scene.cut_over().await;
        scene.until_lock_asked().await;
        admin.batch_execute("COMMIT").await.unwrap();
        names_publication(engine, &publication).await;
        assert!(scene.holds(NOT_SWAPPED).await);
    }
}
