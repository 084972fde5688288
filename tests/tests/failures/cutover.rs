//! The cutover: who waits, for how long, and what of it anybody can see.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossfade_coordinator::ended::Ended;
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::limits::Limits;
use crossfade_lab::server::{SUPERUSER, Server};

use tokio_postgres::Client;

use super::scene::{
    APP, Engine, Gate, How, MANUAL, PATIENCE, Scene, both, gated_table, options, pid, server,
};
use super::writers::Writers;

const HUNDRED: &str = "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i";

async fn hundred() -> Scene {
    Scene::with_twin("n integer", HUNDRED).await
}

/// Slices that are short beside everything else of a test.
fn short_slices() -> Limits {
    Limits {
        lock_timeout_ms: 300,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t05_asynchronous_commits_right_before_the_fence() {
    // Nobody flushes but the engine: the walwriter comes every ten seconds.
    let server = server(
        options()
            .setting("wal_writer_delay", "10s")
            .setting("synchronous_commit", "off"),
    )
    .await;
    let scene = Scene::on(server, "", &gated_table("n integer")).await;
    both(&scene.app, HUNDRED).await;
    let holder = scene.session().await;
    holder.batch_execute("BEGIN").await.unwrap();
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    both(&holder, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    scene.cut_over().await;
    scene.until_lock_asked().await;
    both(
        &holder,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1001, 1100) i",
    )
    .await;
    holder.batch_execute("COMMIT").await.unwrap();
    let report = engine.done().await;
    assert!(report.changes_last_drain >= 101, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t22_changes_of_a_transaction_that_writes_while_the_swap_waits() {
    let scene = hundred().await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let holder = scene.session().await;
    holder.batch_execute("BEGIN").await.unwrap();
    both(&holder, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    scene.cut_over().await;
    scene.until_lock_asked().await;
    both(
        &holder,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1001, 6000) i",
    )
    .await;
    holder.batch_execute("COMMIT").await.unwrap();
    let report = engine.done().await;
    assert!(report.changes_last_drain >= 5001, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t23_a_long_reader_holds_up_the_cutover_and_nobody_else() {
    let scene = hundred().await;
    let mut engine = scene.run_within(MANUAL, short_slices()).await;
    engine.until_ready().await;
    let reader = scene.session().await;
    let reader_pid = pid(&reader).await;
    // Between its statements it has no snapshot, only the lock.
    reader
        .batch_execute("BEGIN; SELECT count(*) FROM public.t")
        .await
        .unwrap();
    let writers = Writers::of_the_app(&scene, 2).await;
    scene.cut_over().await;
    engine.until_noted(&format!("pid {reader_pid}")).await;
    engine.until(|status| status.progress.attempts >= 3).await;
    writers.commit_more(20).await;
    reader.batch_execute("COMMIT").await.unwrap();
    let report = engine.done().await;
    writers.commit_more(20).await;
    let seen = writers.stop().await;
    // A slice, and what a busy machine adds.
    let bound = Duration::from_millis(300)
        + Duration::from_millis(700)
        + Duration::from_millis(report.lock_held_ms as u64);
    assert!(
        seen.slowest < bound,
        "{:?} of {bound:?}; {report:?}",
        seen.slowest
    );
    scene.assert_twins().await;
}

/// Draws its keys first, as mappers of objects do: it holds the sequence, and waits behind us for the table.
async fn draw_and_insert(session: Client, stop: Arc<AtomicBool>) -> u64 {
    let mut rows = 0;
    while !stop.load(Ordering::Relaxed) {
        session.batch_execute("BEGIN").await.unwrap();
        let drawn = session.query_one("SELECT nextval('public.t_id_seq')::integer", &[]);
        let id: i32 = drawn.await.unwrap().get(0);
        session
            .execute("INSERT INTO public.t (id, n) VALUES ($1, 1)", &[&id])
            .await
            .unwrap();
        session.batch_execute("COMMIT").await.unwrap();
        rows += 1;
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_sessions_that_hold_a_sequence_and_wait_for_the_table_never_fail() {
    let scene = Scene::new("CREATE TABLE public.t (id serial PRIMARY KEY, n integer)").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    // So many that some of them always hold the sequence and wait for the table.
    for _ in 0..16 {
        let session = scene.session().await;
        writers.push(tokio::spawn(draw_and_insert(session, Arc::clone(&stop))));
    }
    let report = scene.change("public.t", &["ALTER COLUMN n TYPE bigint"]).await;
    stop.store(true, Ordering::Relaxed);
    let mut rows = 0;
    for writer in writers {
        rows += writer.await.expect("no statement of the application fails");
    }
    let found = scene.app.query_one("SELECT count(*) FROM public.t", &[]).await;
    assert_eq!(
        found.unwrap().get::<_, i64>(0).cast_unsigned(),
        rows,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t26_statements_prepared_before_the_swap_reach_the_new_table() {
    let scene = hundred().await;
    let make = "CREATE FUNCTION public.write(integer) RETURNS void LANGUAGE plpgsql AS
                  'BEGIN INSERT INTO public.t (id, n) VALUES ($1, 5); INSERT INTO twin.t (id, n) VALUES ($1, 5); END';
                CREATE FUNCTION public.read(integer) RETURNS integer LANGUAGE plpgsql AS
                  'BEGIN RETURN (SELECT n FROM public.t WHERE id = $1); END';";
    scene.app.batch_execute(make).await.unwrap();
    let session = scene.session().await;
    let read = session
        .prepare("SELECT n FROM public.t WHERE id = $1")
        .await
        .unwrap();
    let writes = ["public", "twin"].map(|schema| format!("UPDATE {schema}.t SET n = n + 1 WHERE id = $1"));
    let [write, write_twin] = [
        session.prepare(&writes[0]).await.unwrap(),
        session.prepare(&writes[1]).await.unwrap(),
    ];
    // More often than the server tries custom plans.
    let work = async |first: i32| {
        for id in first..first + 8 {
            session.query_one(&read, &[&1]).await.unwrap();
            session.query_one("SELECT public.read($1)", &[&id]).await.unwrap();
            session
                .execute("SELECT public.write($1)", &[&(1000 + id)])
                .await
                .unwrap();
            for statement in [&write, &write_twin] {
                assert_eq!(session.execute(statement, &[&id]).await.unwrap(), 1);
            }
        }
    };
    work(1).await;
    scene.run(How::default()).await.done().await;
    work(20).await;
    let n: i32 = session.query_one(&read, &[&20]).await.unwrap().get(0);
    assert_eq!(n, 21, "what was read is the new table's");
    scene.assert_twins().await;
}

/// Holds the engine under its exclusive lock, with the changes before it not all applied, until the gate is opened.
async fn held_under_the_lock(scene: &Scene) -> (Engine, Gate) {
    let limits = Limits {
        hold_budget_ms: 60_000,
        ..Limits::default()
    };
    let mut engine = scene.run_within(MANUAL, limits).await;
    engine.until_ready().await;
    let gate = scene.shut(2).await;
    commit_under_the_lock(scene).await;
    gate.reached(scene).await;
    scene.until_locked().await;
    (engine, gate)
}

/// A transaction that ends when the engine waits for its lock, with a row that waits at gate 2.
async fn commit_under_the_lock(scene: &Scene) {
    let holder = scene.session().await;
    holder.batch_execute("BEGIN").await.unwrap();
    both(&holder, "INSERT INTO {t} VALUES (500, 2, 0)").await;
    scene.cut_over().await;
    scene.until_lock_asked().await;
    holder.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m17_statements_blocked_on_the_swaps_lock_reach_the_new_table() {
    let scene = hundred().await;
    let session = scene.session().await;
    let insert =
        "WITH i AS (INSERT INTO twin.t (id, n) VALUES ($1, 1)) INSERT INTO public.t (id, n) VALUES ($1, 1)";
    let prepared = session.prepare(insert).await.unwrap();
    session.execute(&prepared, &[&600]).await.unwrap();
    let (engine, gate) = held_under_the_lock(&scene).await;
    let mut blocked = Vec::new();
    let (other, third) = (scene.session().await, scene.session().await);
    let pids = [pid(&session).await, pid(&other).await, pid(&third).await];
    blocked.push(tokio::spawn(async move {
        session.execute(&prepared, &[&601]).await.unwrap()
    }));
    blocked.push(tokio::spawn(async move {
        both(&other, "UPDATE {t} SET n = -5 WHERE id = 5").await;
        1
    }));
    let returning = "SELECT count(*) FROM public.t WHERE id IN (1, 500)";
    blocked.push(tokio::spawn(async move {
        third.query_one(returning, &[]).await.unwrap().get::<_, i64>(0) as u64 - 1
    }));
    for pid in pids {
        scene.until_waiting(pid).await;
    }
    gate.open().await;
    let report = engine.done().await;
    for task in blocked {
        assert_eq!(task.await.unwrap(), 1);
    }
    assert!(report.sessions_waiting_at_swap >= 3, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t27_every_role_is_fenced() {
    let scene = hundred().await;
    scene
        .admin()
        .await
        .batch_execute(&format!("CREATE ROLE {}_other LOGIN", scene.database))
        .await
        .unwrap();
    let other = format!("{}_other", scene.database);
    let grant = format!("GRANT USAGE ON SCHEMA twin TO {other}; GRANT ALL ON public.t, twin.t TO {other}");
    scene.app.batch_execute(&grant).await.unwrap();
    let server: &Server = &scene.server;
    let mut sessions = Vec::new();
    for role in [SUPERUSER, &other, APP] {
        sessions.push(server.connect(role, &scene.database).await.unwrap());
    }
    let writers = Writers::start(sessions);
    let report = scene.run(How::default()).await.done().await;
    writers.commit_more(50).await;
    let commits = writers.stop().await.commits;
    assert!(
        commits > 60 && report.changes_applied > 0,
        "{commits} commits, {report:?}"
    );
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_over_the_hold_budget_the_lock_is_given_back_and_tried_again() {
    let scene = hundred().await;
    let limits = Limits {
        hold_budget_ms: 300,
        lock_timeout_ms: 1500,
        ..Limits::default()
    };
    let mut engine = scene.run_within(MANUAL, limits).await;
    engine.until_ready().await;
    let gate = scene.shut(2).await;
    commit_under_the_lock(&scene).await;
    gate.reached(&scene).await;
    // Applications go on while the engine cannot.
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    gate.open().await;
    let report = engine.done().await;
    assert!(report.cutover_attempts >= 2, "{report:?}");
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t28_a_cutover_that_is_not_achieved_can_go_on() {
    let scene = hundred().await;
    let limits = Limits {
        hold_budget_ms: 300,
        lock_timeout_ms: 300,
        cutover_max_ms: 3000,
        ..Limits::default()
    };
    let mut engine = scene.run_within(MANUAL, limits).await;
    engine.until_ready().await;
    let gate = scene.shut(2).await;
    commit_under_the_lock(&scene).await;
    let ended = engine.ended().await;
    let Ended::CutoverNotAchieved { obstacle, .. } = ended else {
        panic!("{ended:?}")
    };
    assert!(!obstacle.is_empty());
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    gate.open().await;
    scene.resume(How::default()).done().await;
    both(&scene.app, "UPDATE {t} SET n = 1 WHERE id = 1").await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m11_writes_right_after_the_swap_are_in_the_new_table_only() {
    let scene = hundred().await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let writers = Writers::of_the_app(&scene, 4).await;
    writers.commit_more(50).await;
    scene.cut_over().await;
    // From the first moment on, as fast as can be asked.
    let retired = scene.retired();
    let watcher = scene.admin().await;
    let is_there = format!("SELECT to_regclass('{retired}') IS NOT NULL");
    let deadline = Instant::now() + PATIENCE;
    while !watcher.query_one(&is_there, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(Instant::now() < deadline);
    }
    let content =
        format!("SELECT count(*)::text || md5(string_agg(r::text, ',' ORDER BY id)) FROM {retired} r");
    let first: String = watcher.query_one(&content, &[]).await.unwrap().get(0);
    writers.commit_more(100).await;
    engine.done().await;
    writers.stop().await;
    let last: String = watcher.query_one(&content, &[]).await.unwrap().get(0);
    assert_eq!(first, last, "the retired table is written to");
    let refused = scene.app.batch_execute(&format!("DELETE FROM {retired}")).await;
    assert!(refused.is_err(), "the owner writes to the retired table");
    scene.assert_twins().await;
}

/// A transaction that has read something, but not the table.
async fn older_reader(scene: &Scene) -> tokio_postgres::Client {
    let reader = scene.session().await;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM twin.t")
        .await
        .unwrap();
    reader
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m18_an_older_snapshot_is_waited_for_and_named() {
    let scene = hundred().await;
    let limits = Limits {
        hold_budget_ms: 300,
        lock_timeout_ms: 100,
        cutover_max_ms: 3000,
        ..Limits::default()
    };
    let mut engine = scene.run_within(MANUAL, limits).await;
    engine.until_ready().await;
    both(&scene.app, "INSERT INTO {t} VALUES (101, 0, 0)").await;
    let reader = older_reader(&scene).await;
    both(&scene.app, "INSERT INTO {t} VALUES (102, 0, 0)").await;
    scene.cut_over().await;
    let ended = engine.ended().await;
    let Ended::CutoverNotAchieved { obstacle, attempts } = ended else {
        panic!("{ended:?}")
    };
    assert!(
        obstacle.contains(&format!("pid {}", pid(&reader).await)),
        "{obstacle}"
    );
    assert!(attempts >= 2, "{attempts}");
    let rows: i64 = reader
        .query_one("SELECT count(*) FROM public.t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 101, "as of its snapshot");
    reader.batch_execute("COMMIT").await.unwrap();
    scene.resume(How::default()).done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m18_an_older_snapshot_is_accepted_on_request() {
    let scene = hundred().await;
    let accepting = How {
        auto: false,
        old_snapshots: OldSnapshots::Accept,
        ..How::default()
    };
    let mut engine = scene.run(accepting).await;
    engine.until_ready().await;
    let reader = older_reader(&scene).await;
    both(&scene.app, "INSERT INTO {t} VALUES (102, 0, 0)").await;
    scene.cut_over().await;
    engine.done().await;
    reader.batch_execute("COMMIT").await.unwrap();
    let rows: i64 = reader
        .query_one("SELECT count(*) FROM public.t", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(rows, 101);
    scene.assert_twins().await;
}
