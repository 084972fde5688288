//! The stream: what is decoded, in which order, and from where on.

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::run::What;

use super::scene::{GATED, How, MANUAL, Scene, both, gated_table, pid, twins};

/// For both tables at once, so not through [`both`].
async fn savepoint(session: &tokio_postgres::Client, name: &str) {
    session.batch_execute(&format!("SAVEPOINT {name}")).await.unwrap();
}

const HUNDRED: &str = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t01_commits_in_another_order_than_begins() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let (first, second) = (scene.session().await, scene.session().await);
    for round in 0..20 {
        let (a, b, c) = (1000 + round, 2000 + round, round + 1);
        first.batch_execute("BEGIN").await.unwrap();
        both(&first, &format!("INSERT INTO {{t}} VALUES ({a}, 0, 1)")).await;
        second.batch_execute("BEGIN").await.unwrap();
        both(
            &second,
            &format!("INSERT INTO {{t}} VALUES ({b}, 0, 2); UPDATE {{t}} SET n = -1 WHERE id = {c}"),
        )
        .await;
        second.batch_execute("COMMIT").await.unwrap();
        both(&first, &format!("UPDATE {{t}} SET n = n * 10 WHERE id = {c}")).await;
        first.batch_execute("COMMIT").await.unwrap();
    }
    scene.cut_over().await;
    let report = engine.done().await;
    assert_eq!(report.changes_delivered, 80, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_the_slot_moves_while_only_other_tables_change() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    scene
        .app
        .batch_execute("CREATE TABLE public.other (n integer)")
        .await
        .unwrap();
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    scene
        .app
        .batch_execute("INSERT INTO public.other SELECT generate_series(1, 10000)")
        .await
        .unwrap();
    let written = scene.value("SELECT pg_current_wal_insert_lsn()::text").await;
    scene.until(&confirmed(&scene, &format!(">= '{written}'"))).await;
    // Read in this order: the position only rises.
    let acknowledged = scene.value(&confirmed(&scene, "::text")).await;
    let applied = format!("SELECT applied_lsn >= '{acknowledged}' FROM crossfade.position");
    assert!(scene.holds(&applied).await);
    scene.cut_over().await;
    engine.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t02_a_position_behind_unapplied_changes_is_not_acknowledged() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    scene
        .app
        .batch_execute("CREATE TABLE public.other (n integer)")
        .await
        .unwrap();
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let gate = scene.shut(2).await;
    let before = scene.value("SELECT pg_current_wal_insert_lsn()::text").await;
    both(&scene.app, "INSERT INTO {t} VALUES (1000, 2, 1)").await;
    gate.reached(&scene).await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id < 10").await;
    scene
        .app
        .batch_execute("INSERT INTO public.other SELECT generate_series(1, 1000)")
        .await
        .unwrap();
    let behind = scene.value("SELECT pg_current_wal_insert_lsn()::text").await;
    scene
        .until(&format!(
            "SELECT EXISTS (SELECT FROM pg_stat_replication
                             WHERE application_name = 'crossfade {}' AND sent_lsn >= '{behind}')",
            scene.name
        ))
        .await;
    engine.interrupt();
    assert!(matches!(engine.ended().await, Ended::Interrupted));
    assert!(scene.holds(&confirmed(&scene, &format!("<= '{before}'"))).await);
    gate.open().await;
    scene.resume(How::default()).done().await;
    scene.assert_twins().await;
}

/// A condition on, or an expression of, the position that the slot was told.
fn confirmed(scene: &Scene, condition: &str) -> String {
    let slot = scene.name.slot();
    format!("SELECT confirmed_flush_lsn {condition} FROM pg_replication_slots WHERE slot_name = '{slot}'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_transactions_open_at_slot_creation() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let [writing, later, older] = [
        scene.session().await,
        scene.session().await,
        scene.session().await,
    ];
    for (session, begin) in [
        (&writing, "BEGIN"),
        (&later, "BEGIN"),
        (&older, "BEGIN ISOLATION LEVEL REPEATABLE READ"),
    ] {
        session
            .batch_execute(&format!("{begin}; SELECT count(*) FROM public.t"))
            .await
            .unwrap();
    }
    both(
        &writing,
        "INSERT INTO {t} VALUES (200, 0, 1); UPDATE {t} SET n = -1 WHERE id = 2",
    )
    .await;
    savepoint(&writing, "s").await;
    let mut engine = scene.run(How::default()).await;
    engine.until_noted("creating the slot").await;
    both(
        &writing,
        "DELETE FROM {t} WHERE id = 3; UPDATE {t} SET id = 300 WHERE id = 4",
    )
    .await;
    writing.batch_execute("ROLLBACK TO s").await.unwrap();
    savepoint(&writing, "s2").await;
    both(&writing, "UPDATE {t} SET n = n - 1 WHERE id = 2").await;
    writing.batch_execute("COMMIT").await.unwrap();
    copying.reached(&scene).await;
    // These began before the slot and write behind its snapshot.
    savepoint(&later, "a").await;
    both(&later, "UPDATE {t} SET n = 7 WHERE id = 5").await;
    savepoint(&later, "b").await;
    both(&later, "DELETE FROM {t} WHERE id = 6").await;
    later.batch_execute("ROLLBACK TO b").await.unwrap();
    both(&later, "UPDATE {t} SET n = 8 WHERE id = 200").await;
    savepoint(&later, "c").await;
    both(&later, "INSERT INTO {t} VALUES (201, 0, 0)").await;
    both(
        &older,
        "DELETE FROM {t} WHERE id = 7; INSERT INTO {t} VALUES (7, 0, 70)",
    )
    .await;
    later.batch_execute("COMMIT").await.unwrap();
    copying.open().await;
    both(&older, "INSERT INTO {t} VALUES (202, 0, 0)").await;
    older.batch_execute("COMMIT").await.unwrap();
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t04_prepared_transactions_around_the_slot_and_the_copy() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let plan = scene.plan("public.t", &[GATED], Default::default()).await;
    let copying = scene.shut(1).await;
    let gid = |name: &str| format!("{}_{name}", scene.database);
    let prepare = async |name: &str, statements: &str| {
        let session = scene.session().await;
        session.batch_execute("BEGIN").await.unwrap();
        both(&session, statements).await;
        session
            .batch_execute(&format!("PREPARE TRANSACTION '{}'", gid(name)))
            .await
            .unwrap();
    };
    let end = async |verb: &str, name: &str| {
        scene
            .app
            .batch_execute(&format!("{verb} PREPARED '{}'", gid(name)))
            .await
            .unwrap();
    };
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    prepare(
        "before",
        "UPDATE {t} SET n = -2 WHERE id = 2; INSERT INTO {t} VALUES (200, 0, 0)",
    )
    .await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), How::default());
    engine.until_noted("creating the slot").await;
    end("COMMIT", "before").await;
    copying.reached(&scene).await;
    prepare(
        "during",
        "SAVEPOINT s; UPDATE {t} SET n = -3 WHERE id = 3; DELETE FROM {t} WHERE id = 200",
    )
    .await;
    prepare(
        "never",
        "SAVEPOINT s; UPDATE {t} SET n = -4 WHERE id = 4; DELETE FROM {t} WHERE id = 5",
    )
    .await;
    copying.open().await;
    scene.until_lock_asked().await;
    end("ROLLBACK", "never").await;
    end("COMMIT", "during").await;
    let report = engine.done().await;
    assert_eq!(report.changes_applied, 2, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t06_null_is_written_where_the_column_has_a_default() {
    let scene = Scene::new(&gated_table("n integer DEFAULT 7, note text DEFAULT 'made up'")).await;
    both(
        &scene.app,
        "INSERT INTO {t} VALUES (1, 1, NULL, NULL), (2, 0, 2, 'b'), (3, 0, 3, NULL), (4, 0, 4, 'd')",
    )
    .await;
    let copying = scene.shut(1).await;
    let plan = scene
        .plan(
            "public.t",
            &[GATED, "ADD COLUMN added text DEFAULT 'added'"],
            Default::default(),
        )
        .await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    copying.reached(&scene).await;
    let changes = "INSERT INTO {t} VALUES (10, 0, NULL, NULL); INSERT INTO {t} (id) VALUES (11);
                   UPDATE {t} SET n = NULL WHERE id = 2; UPDATE {t} SET note = NULL WHERE id = 4;
                   UPDATE {t} SET n = DEFAULT WHERE id = 3";
    both(&scene.app, changes).await;
    copying.open().await;
    engine.until_ready().await;
    both(
        &scene.app,
        &changes.replace("(10,", "(20,").replace("(11)", "(21)"),
    )
    .await;
    both(&scene.app, "UPDATE {t} SET n = NULL, note = NULL WHERE id = 11").await;
    scene.cut_over().await;
    engine.done().await;
    scene
        .assert_same("TABLE public.t", "SELECT *, 'added' AS added FROM twin.t")
        .await;
}

/// Each of them leaves keys that another row had before.
const KEY_CHANGES: &[&str] = &[
    // Swapped.
    "UPDATE {t} SET id = -1 WHERE id = 1; UPDATE {t} SET id = 1 WHERE id = 2; UPDATE {t} SET id = 2 WHERE id = -1",
    // Round in a ring of three.
    "UPDATE {t} SET id = -3 WHERE id = 3; UPDATE {t} SET id = 3 WHERE id = 4; UPDATE {t} SET id = 4 WHERE id = 5;
     UPDATE {t} SET id = 5 WHERE id = -3",
    // Used again by another row.
    "DELETE FROM {t} WHERE id = 6; INSERT INTO {t} VALUES (6, 0, 66)",
    "DELETE FROM {t} WHERE id = 7; UPDATE {t} SET id = 7 WHERE id = 8; INSERT INTO {t} VALUES (8, 0, 88)",
    // Away and back.
    "UPDATE {t} SET id = 900 WHERE id = 9; UPDATE {t} SET n = 99 WHERE id = 900; UPDATE {t} SET id = 9 WHERE id = 900",
    // Inserted, moved and deleted at once.
    "INSERT INTO {t} VALUES (901, 0, 0); UPDATE {t} SET id = 902 WHERE id = 901; DELETE FROM {t} WHERE id = 902",
    // All keys at once.
    "UPDATE {t} SET id = -id WHERE id BETWEEN 10 AND 50; UPDATE {t} SET id = 60 + id WHERE id BETWEEN -50 AND -10",
    "UPDATE {t} SET id = id + 1000 WHERE id BETWEEN 10 AND 50; UPDATE {t} SET id = 1060 - id WHERE id >= 1010",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t07_primary_key_values_swapped_in_one_transaction() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 100").await;
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    for changes in KEY_CHANGES {
        both(&scene.app, changes).await;
    }
    copying.open().await;
    engine.until_ready().await;
    for changes in KEY_CHANGES.iter().chain(KEY_CHANGES) {
        both(&scene.app, changes).await;
    }
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t08_of_a_composite_key_exactly_one_row_is_touched() {
    let columns = "a integer, b text, gate integer NOT NULL DEFAULT 0, n integer, PRIMARY KEY (b, a)";
    let scene = Scene::new(&twins(columns)).await;
    both(
        &scene.app,
        "INSERT INTO {t} SELECT i % 10, 'b' || i / 10, 0, i FROM generate_series(0, 99) i",
    )
    .await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE a = 9 AND b = 'b9'").await;
    let mut engine = scene.run(MANUAL).await;
    copying.reached(&scene).await;
    let changes = [
        "UPDATE {t} SET n = -1 WHERE a = 1 AND b = 'b1'",
        "DELETE FROM {t} WHERE a = 2 AND b = 'b1'",
        "UPDATE {t} SET a = a + 10 WHERE b = 'b3' AND a = 3",
        "UPDATE {t} SET b = 'b' || a, a = 4 WHERE b = 'b4' AND a IN (11, 12); DELETE FROM {t} WHERE a = 4 AND b = 'b4'",
    ];
    for change in changes {
        both(&scene.app, change).await;
    }
    copying.open().await;
    engine.until_ready().await;
    for change in changes {
        both(
            &scene.app,
            &change
                .replace("b1", "b5")
                .replace("b3", "b6")
                .replace("'b4'", "'b7'"),
        )
        .await;
    }
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t09_under_full_identity_a_null_is_a_value() {
    let scene = Scene::new(&twins(
        "a integer, b text, gate integer NOT NULL DEFAULT 0, note text, PRIMARY KEY (a, b)",
    ))
    .await;
    both(&scene.app, "ALTER TABLE {t} REPLICA IDENTITY FULL").await;
    let rows =
        "INSERT INTO {t} SELECT i, 'k', 0, CASE WHEN i % 2 = 0 THEN 'x' END FROM generate_series(1, 40) i";
    both(&scene.app, rows).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    for change in [
        "UPDATE {t} SET note = 'was null' WHERE a = 1",
        "UPDATE {t} SET note = NULL WHERE a = 2",
        "DELETE FROM {t} WHERE a = 3",
        "UPDATE {t} SET b = 'moved' WHERE a = 5",
        "UPDATE {t} SET a = a + 1000, note = NULL WHERE a = 6",
    ] {
        both(&scene.app, change).await;
    }
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t13_origins_and_messages_of_others_are_followed_like_everything() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    // Another tool replicates into the table, and says things in the stream.
    let admin = scene.admin().await;
    admin
        .batch_execute(
            "SELECT pg_replication_origin_create('elsewhere'); SELECT pg_replication_origin_session_setup('elsewhere');
             BEGIN; SELECT pg_replication_origin_xact_setup('0/1234', now());
             INSERT INTO public.t VALUES (1000, 0, 1); INSERT INTO twin.t VALUES (1000, 0, 1);
             SELECT pg_logical_emit_message(true, 'elsewhere', 'hello'); COMMIT;
             SELECT pg_logical_emit_message(false, 'elsewhere', 'hello');
             SELECT pg_logical_emit_message(true, 'crossfade', 'nothing of ours')",
        )
        .await
        .unwrap();
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id IN (1, 1000)").await;
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_truncate_during_the_copy_is_applied() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let engine = scene.run(How::default()).await;
    copying.reached(&scene).await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id < 50").await;
    // It waits for the lock under which the copy reads, and reaches the stream when the copy is done.
    let session = scene.session().await;
    let waiting = pid(&session).await;
    let truncate = tokio::spawn(async move {
        both(
            &session,
            "TRUNCATE {t} RESTART IDENTITY CASCADE; INSERT INTO {t} VALUES (2, 0, 22), (3, 0, 33)",
        )
        .await;
    });
    scene.until_waiting(waiting).await;
    copying.open().await;
    truncate.await.unwrap();
    both(&scene.app, "INSERT INTO {t} VALUES (4, 0, 44)").await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_truncate_while_following_is_applied() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    scene
        .app
        .batch_execute(
            "CREATE TABLE public.child (id integer REFERENCES public.t); INSERT INTO public.child VALUES (5)",
        )
        .await
        .unwrap();
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    both(&scene.app, "INSERT INTO {t} VALUES (101, 0, 0)").await;
    both(
        &scene.app,
        "TRUNCATE {t} CASCADE; INSERT INTO {t} VALUES (1, 0, 1), (101, 0, 2)",
    )
    .await;
    scene
        .app
        .batch_execute("BEGIN; TRUNCATE public.t CASCADE; ROLLBACK")
        .await
        .unwrap();
    both(
        &scene.app,
        "UPDATE {t} SET n = 9 WHERE id = 101; INSERT INTO {t} VALUES (102, 0, 3)",
    )
    .await;
    scene.cut_over().await;
    engine.done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t11_a_truncate_that_restarts_the_sequence() {
    let scene = Scene::new(
        "CREATE TABLE public.t (id serial PRIMARY KEY, gate integer NOT NULL DEFAULT 0, n integer);
         CREATE TABLE twin.t (id serial PRIMARY KEY, gate integer NOT NULL DEFAULT 0, n integer)",
    )
    .await;
    let insert = "INSERT INTO {t} (n) SELECT i FROM generate_series(1, 100) i";
    both(&scene.app, insert).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    both(&scene.app, "TRUNCATE {t} RESTART IDENTITY").await;
    both(
        &scene.app,
        "INSERT INTO {t} (n) SELECT -i FROM generate_series(1, 10) i",
    )
    .await;
    scene.cut_over().await;
    engine.done().await;
    // The keys go on where the sequence was.
    both(&scene.app, "INSERT INTO {t} (n) VALUES (7)").await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_a_transaction_of_half_a_million_rows_with_aborted_subtransactions() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    scene.app.batch_execute("BEGIN").await.unwrap();
    for part in 0..10 {
        let (from, to) = (1000 + part * 50_000, 1000 + (part + 1) * 50_000 - 1);
        savepoint(&scene.app, "s").await;
        let insert = format!("INSERT INTO {{t}} SELECT i, 0, 1 FROM generate_series({from}, {to}) i");
        both(&scene.app, &insert).await;
        if part % 3 == 2 {
            scene.app.batch_execute("ROLLBACK TO s").await.unwrap();
        }
    }
    savepoint(&scene.app, "s").await;
    both(
        &scene.app,
        "UPDATE {t} SET n = 2 WHERE id % 5 = 0; DELETE FROM {t} WHERE id % 7 = 0",
    )
    .await;
    for id in 1..50 {
        // Each a subtransaction, every second one aborted.
        let end = if id % 2 == 0 { "RELEASE" } else { "ROLLBACK TO" };
        savepoint(&scene.app, "one").await;
        both(&scene.app, &format!("UPDATE {{t}} SET n = -{id} WHERE id = {id}")).await;
        scene.app.batch_execute(&format!("{end} one")).await.unwrap();
    }
    scene.app.batch_execute("COMMIT").await.unwrap();
    both(&scene.app, "UPDATE {t} SET n = 5 WHERE id = 1000").await;
    scene.cut_over().await;
    let report = engine.done().await;
    assert!(report.changes_delivered > 450_000, "{report:?}");
    scene.assert_twins().await;
}

/// Waits until the server, which makes the slot, waits for that session's transaction.
async fn until_the_slot_waits_for(scene: &Scene, session: &tokio_postgres::Client) {
    let waits = format!(
        "SELECT count(*) > 0 FROM pg_locks held JOIN pg_locks asked USING (locktype, transactionid)
           JOIN pg_stat_activity walsender ON walsender.pid = asked.pid
          WHERE held.locktype = 'transactionid' AND held.granted AND held.pid = {} AND NOT asked.granted
            AND walsender.backend_type = 'walsender' AND walsender.datname = current_database()",
        pid(session).await
    );
    scene.until(&waits).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t12_a_slot_whose_snapshot_has_no_room_for_all_subtransactions_is_made_again() {
    let scene = Scene::with_twin("n integer", HUNDRED).await;
    let [first, second, many] = [
        scene.session().await,
        scene.session().await,
        scene.session().await,
    ];
    first.batch_execute("BEGIN").await.unwrap();
    both(&first, "UPDATE {t} SET n = -2 WHERE id = 2").await;
    let mut engine = scene.run(How::default()).await;
    until_the_slot_waits_for(&scene, &first).await;
    second.batch_execute("BEGIN").await.unwrap();
    both(&second, "UPDATE {t} SET n = -3 WHERE id = 3").await;
    first.batch_execute("COMMIT").await.unwrap();
    // The last that the server waits for: who begins now is listed in the snapshot instead.
    until_the_slot_waits_for(&scene, &second).await;
    many.batch_execute("BEGIN").await.unwrap();
    let subtransactions = "DO $$ BEGIN FOR i IN 1..5000 LOOP
        BEGIN UPDATE {t} SET n = n - 1 WHERE id = 4; EXCEPTION WHEN division_by_zero THEN NULL; END;
    END LOOP; END $$";
    both(&many, subtransactions).await;
    second.batch_execute("COMMIT").await.unwrap();
    engine.until_noted("no room for all running transactions").await;
    many.batch_execute("COMMIT").await.unwrap();
    engine.done().await;
    scene.assert_twins().await;
}
