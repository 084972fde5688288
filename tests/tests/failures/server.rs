//! The server: its settings, and its transaction ids.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::run::What;
use crossfade_core::limits::Limits;
use crossfade_lab::server::{
    Installation, MAJOR_MIN, Requirements, SUPERUSER, Server, ServerOptions, search,
};
use crossfade_postgres::change::CopyRequest;

use super::scene::{ENGINE, GATED, How, MANUAL, Scene, add_roles, both, gated_table, options, server};
use super::writers::Writers;

/// Settings that would cut the engine's work short or change what its statements mean.
const HOSTILE: &[(&str, &str)] = &[
    ("lock_timeout", "50ms"),
    ("statement_timeout", "100ms"),
    ("idle_in_transaction_session_timeout", "100ms"),
    ("idle_session_timeout", "100ms"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("search_path", "twin, pg_catalog"),
    ("DateStyle", "German, DMY"),
    ("IntervalStyle", "sql_standard"),
    ("TimeZone", "Asia/Kathmandu"),
    ("bytea_output", "escape"),
    ("extra_float_digits", "-15"),
    ("array_nulls", "off"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("quote_all_identifiers", "on"),
    ("synchronous_commit", "off"),
    ("client_min_messages", "error"),
    ("check_function_bodies", "on"),
    ("enable_seqscan", "off"),
    ("default_toast_compression", "pglz"),
    ("lc_numeric", "C"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t29_settings_of_role_and_database_change_nothing() {
    let columns = "at timestamptz, day text, f float8, b bytea, span interval, list integer[]";
    let scene = Scene::new(&gated_table(columns)).await;
    let rows = |first: u32| {
        format!(
            r"INSERT INTO {{t}} SELECT i, 0, '2001-02-03 04:05:06.7+00', '03.02.2001', 0.1::float8 + 0.2, '\x00ff', '1 mon -1 day', '{{1,NULL}}'
                FROM generate_series({first}, {first} + 20) i"
        )
    };
    both(&scene.app, &rows(1)).await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 20").await;
    let admin = scene.admin().await;
    for (name, value) in HOSTILE {
        let value = if *name == "search_path" {
            (*value).to_owned()
        } else {
            format!("'{value}'")
        };
        for whom in [
            format!("ROLE {ENGINE} IN DATABASE {}", scene.database),
            format!("DATABASE {}", scene.database),
        ] {
            admin
                .batch_execute(&format!("ALTER {whom} SET {name} = {value}"))
                .await
                .unwrap();
        }
    }
    let alters = [
        GATED,
        "ALTER COLUMN at TYPE text USING at::text",
        "ALTER COLUMN f TYPE text USING f::text",
        "ALTER COLUMN span TYPE text USING span::text",
    ];
    let plan = scene.plan("public.t", &alters, Limits::default()).await;
    // The slot waits for this one, longer than any of the timeouts.
    scene.app.batch_execute("BEGIN").await.unwrap();
    both(&scene.app, "UPDATE {t} SET day = 'x' WHERE id = 2").await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    engine.until_noted("creating the slot").await;
    scene.app.execute("SELECT pg_sleep(0.3)", &[]).await.unwrap();
    scene.app.batch_execute("COMMIT").await.unwrap();
    copying.reached(&scene).await;
    both(&scene.app, &rows(100)).await;
    scene.app.execute("SELECT pg_sleep(0.3)", &[]).await.unwrap();
    copying.open().await;
    engine.until_ready().await;
    both(&scene.app, &rows(200)).await;
    scene.cut_over().await;
    engine.done().await;
    admin.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let expected = "SELECT id, gate, '2001-02-03 04:05:06.7+00' AS at, day, '0.30000000000000004' AS f, b, '1 mon -1 days' AS span, list FROM twin.t";
    for (name, _) in HOSTILE {
        for whom in [
            format!("ROLE {ENGINE} IN DATABASE {}", scene.database),
            format!("DATABASE {}", scene.database),
        ] {
            admin
                .batch_execute(&format!("ALTER {whom} RESET {name}"))
                .await
                .unwrap();
        }
    }
    scene.assert_same("TABLE public.t", expected).await;
}

/// Named like what the catalog has, and first in the engine's path but for the catalog itself.
const SHADOWS: &str = "
CREATE SCHEMA shadow;
DO $do$ DECLARE kind text; operator text; BEGIN
  FOREACH kind IN ARRAY '{integer,bigint,text,name,oid,pg_lsn,bytea}'::text[] LOOP
    EXECUTE format('CREATE FUNCTION shadow.compare(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql
                    AS $f$ BEGIN RAISE ''shadow''; END $f$', kind);
    FOREACH operator IN ARRAY '{=,<>,<,>,<=,>=}'::text[] LOOP
      EXECUTE format('CREATE OPERATOR shadow.%1$s (LEFTARG = %2$s, RIGHTARG = %2$s, FUNCTION = shadow.compare)',
                     operator, kind);
    END LOOP;
  END LOOP;
END $do$;
CREATE FUNCTION shadow.length(text) RETURNS integer LANGUAGE plpgsql AS $f$ BEGIN RAISE 'shadow'; END $f$;
CREATE FUNCTION shadow.quote_ident(text) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN RAISE 'shadow'; END $f$;
CREATE FUNCTION shadow.now() RETURNS timestamptz LANGUAGE plpgsql AS $f$ BEGIN RAISE 'shadow'; END $f$;
CREATE FUNCTION shadow.pg_current_snapshot() RETURNS pg_snapshot LANGUAGE plpgsql AS $f$ BEGIN RAISE 'shadow'; END $f$;
CREATE FUNCTION shadow.pg_current_wal_insert_lsn() RETURNS pg_lsn LANGUAGE plpgsql AS $f$ BEGIN RAISE 'shadow'; END $f$;
CREATE TABLE shadow.pg_class (wrong integer); CREATE TABLE shadow.pg_attribute (wrong integer);
CREATE TABLE shadow.pg_index (wrong integer); CREATE TABLE shadow.pg_namespace (wrong integer);
CREATE TABLE shadow.pg_stat_activity (wrong integer); CREATE TABLE shadow.pg_replication_slots (wrong integer);
CREATE TABLE shadow.pg_locks (wrong integer); CREATE DOMAIN shadow.text AS integer; CREATE TABLE shadow.migration (wrong integer);
GRANT USAGE ON SCHEMA shadow TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA shadow TO PUBLIC";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn t37_whatever_the_search_path_is_the_same_objects_are_meant() {
    let rows = "INSERT INTO {t} SELECT i, 0, i, 'x' FROM generate_series(1, 100) i";
    let scene = Scene::with_twin("n integer, note text", rows).await;
    let admin = scene.admin().await;
    admin.batch_execute(SHADOWS).await.unwrap();
    let path = format!(
        "ALTER ROLE {ENGINE} IN DATABASE {} SET search_path = shadow,  \"$user\", public",
        scene.database
    );
    admin.batch_execute(&path).await.unwrap();
    // The application names no schema, and its sessions have paths of their own.
    let mut sessions = Vec::new();
    for path in ["public", "\"$user\", nowhere, public", "pg_catalog, public, twin"] {
        let session = scene.session().await;
        let set = format!("SET search_path = {path}");
        session.batch_execute(&set).await.unwrap();
        let insert = session
            .prepare("INSERT INTO t (id, n) VALUES ($1, 1)")
            .await
            .unwrap();
        sessions.push((session, insert));
    }
    let insert = async |first: i32| {
        for (id, (session, insert)) in (first..).zip(&sessions) {
            session.execute(insert, &[&id]).await.unwrap();
            let twin = "INSERT INTO twin.t (id, n) VALUES ($1, 1)";
            session.execute(twin, &[&id]).await.unwrap();
        }
    };
    insert(1000).await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    insert(2000).await;
    both(
        &scene.app,
        "UPDATE {t} SET note = 'y' WHERE id < 50; DELETE FROM {t} WHERE id = 60",
    )
    .await;
    scene.cut_over().await;
    engine.done().await;
    insert(3000).await;
    scene.assert_twins().await;
}

/// The size of a segment of `pg_xact`, and how many transactions it tells of.
const SEGMENT_BYTES: usize = 256 << 10;
const SEGMENT_XIDS: u64 = 1 << 20;

/// The tool that sets a server's counters, which not every build of PostgreSQL comes with.
const RESETWAL: &str = "pg_resetwal";
const MAJOR_MAX: u32 = 18;

/// The version that is tested, or another one whose build has the tool.
async fn installation_with_resetwal() -> Installation {
    let majors = [None].into_iter().chain((MAJOR_MIN..=MAJOR_MAX).rev().map(Some));
    for major in majors {
        let requirements = Requirements {
            major,
            program: Some(RESETWAL.to_owned()),
            ..Requirements::default()
        };
        if let Ok(installation) = search(requirements).await {
            return installation;
        }
    }
    panic!("no PostgreSQL is here that has {RESETWAL}: install one, or name its folder in PG_BIN");
}

/// A server whose next transaction has this 64-bit id.
async fn server_at(next: u64) -> Arc<Server> {
    let options = ServerOptions {
        installation: Some(installation_with_resetwal().await),
        ..options()
    };
    let mut server = Server::start(options).await.unwrap();
    let session = server.connect(SUPERUSER, "postgres").await.unwrap();
    // So that nothing is left of a transaction that will seem to lie in the future.
    session.batch_execute("VACUUM FREEZE").await.unwrap();
    session.batch_execute("CHECKPOINT").await.unwrap();
    drop(session);
    server.kill().unwrap();
    let data = server.folder().join("data");
    reset_wal(&server, &data, next);
    server.restart(true).await.unwrap();
    add_roles(&server).await;
    let session = server.connect(SUPERUSER, "postgres").await.unwrap();
    let row = session
        .query_one("SELECT pg_current_xact_id()::text", &[])
        .await
        .unwrap();
    let xid: u64 = row.get::<_, &str>(0).parse().unwrap();
    assert!((next..next + 100).contains(&xid), "{xid} after {next}");
    println!("PostgreSQL {} at transaction {xid}", server.version());
    Arc::new(server)
}

fn reset_wal(server: &Server, data: &Path, next: u64) {
    std::fs::remove_file(data.join("postmaster.pid")).unwrap();
    let (epoch, xid) = (next >> 32, next & u64::from(u32::MAX));
    let owner = std::fs::metadata(data).unwrap();
    let mut reset = Command::new(server.installation().bin.join(RESETWAL));
    reset
        .args(["-f", "-e", &epoch.to_string(), "-x", &xid.to_string(), "-D"])
        .arg(data);
    let done = reset
        .uid(owner.uid())
        .gid(owner.gid())
        .current_dir(data)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    // What the server would have made of its way there.
    let segment = data.join("pg_xact").join(format!("{:04X}", xid / SEGMENT_XIDS));
    std::fs::write(&segment, vec![0; SEGMENT_BYTES]).unwrap();
    std::os::unix::fs::chown(&segment, Some(owner.uid()), Some(owner.gid())).unwrap();
}

/// Before, during and after the copy, all three; with `burn` transactions used up in each.
async fn change_at(next: u64, burn: u32, copy: CopyRequest) {
    let scene = Scene::on(server_at(next).await, "", &gated_table("n integer")).await;
    both(
        &scene.app,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i",
    )
    .await;
    let copying = scene.shut(1).await;
    both(&scene.app, "UPDATE {t} SET gate = 1 WHERE id = 1").await;
    let writers = Writers::of_the_app(&scene, 2).await;
    writers.commit_more(20).await;
    let plan = scene.plan_copied(copy).await;
    let mut engine = scene.start(What::Plan(Box::new(plan)), MANUAL);
    copying.reached(&scene).await;
    writers.commit_more(20).await;
    use_up(&scene, burn).await;
    writers.commit_more(20).await;
    copying.open().await;
    engine.until_ready().await;
    use_up(&scene, burn).await;
    writers.commit_more(20).await;
    scene.cut_over().await;
    let report = engine.done().await;
    writers.commit_more(20).await;
    writers.stop().await;
    assert!(report.changes_applied > 0, "{report:?}");
    scene.assert_twins().await;
}

async fn use_up(scene: &Scene, transactions: u32) {
    let burn = format!(
        "DO $$ BEGIN FOR i IN 1..{transactions} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    scene.app.batch_execute(&burn).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m14_transaction_ids_beyond_32_bits() {
    change_at((3 << 32) + 100_000, 10, CopyRequest::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m14_transaction_ids_wrap_around_while_a_table_is_copied() {
    let next = (1 << 32) - 2000;
    change_at(next, 2000, CopyRequest::Snapshot).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m14_transaction_ids_wrap_around_between_chunks() {
    let next = (1 << 32) - 2000;
    change_at(next, 2000, CopyRequest::Incremental).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn m14_an_engine_goes_on_behind_the_wrap() {
    let scene = Scene::on(server_at((2 << 32) - 1500).await, "", &gated_table("n integer")).await;
    both(
        &scene.app,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i",
    )
    .await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    engine.interrupt();
    engine.ended().await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 2").await;
    use_up(&scene, 2000).await;
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 3").await;
    scene.resume(How::default()).done().await;
    scene.assert_twins().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r2_an_engine_that_becomes_a_synchronous_standby_disconnects() {
    let scene = Scene::on(server(options()).await, "", &gated_table("n integer")).await;
    both(
        &scene.app,
        "INSERT INTO {t} SELECT i, 0, i FROM generate_series(1, 100) i",
    )
    .await;
    let mut engine = scene.run(MANUAL).await;
    engine.until_ready().await;
    let admin = scene.admin().await;
    let set = "ALTER SYSTEM SET synchronous_standby_names = '*'";
    admin.batch_execute(set).await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    match engine.ended().await {
        Ended::Stopped { reason, .. } => assert!(reason.contains("synchronous_standby_names"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let reset = "ALTER SYSTEM RESET synchronous_standby_names";
    admin.batch_execute(reset).await.unwrap();
    admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    both(&scene.app, "UPDATE {t} SET n = 0 WHERE id = 1").await;
    scene.resume(How::default()).done().await;
    scene.assert_twins().await;
}
