//! Opening, pinned settings, and errors that tell no values.

use crossfade_postgres::session::{ConnectError, Session, SessionOptions, SqlClass, SynchronousCommit};

use super::scene::{DATABASE, Scene};

/// T29: whatever is set on role and database, the engine's statements mean the same and are not cut short.
#[tokio::test]
async fn settings_of_role_and_database_do_not_reach_a_session() {
    let scene = Scene::new().await;
    let superuser = scene.server.connect("postgres", DATABASE).await.unwrap();
    let hostile = [
        ("DateStyle", "'SQL, DMY'"),
        ("TimeZone", "'Asia/Kathmandu'"),
        ("IntervalStyle", "sql_standard"),
        ("extra_float_digits", "-10"),
        ("bytea_output", "escape"),
        ("default_transaction_read_only", "on"),
        ("default_transaction_isolation", "serializable"),
        ("lock_timeout", "'1ms'"),
        ("idle_in_transaction_session_timeout", "'1ms'"),
        ("synchronous_commit", "off"),
        ("row_security", "on"),
        ("search_path", "nowhere"),
    ];
    for (name, value) in hostile {
        let statement = format!("ALTER ROLE engine IN DATABASE {DATABASE} SET {name} = {value}");
        superuser.batch_execute(&statement).await.unwrap();
    }
    let options = SessionOptions {
        synchronous_commit: SynchronousCommit::Local,
        ..SessionOptions::default()
    };
    let session = Session::open(&scene.config("engine"), &options).await.unwrap();
    let read = "SELECT current_setting('DateStyle') || '|' || '2024-02-03 04:05+06'::timestamptz::text || '|' || \
                '1 year 2 hours'::interval::text || '|' || (0.1::float8 + 0.2)::text || '|' || '\\x00'::bytea::text \
                || '|' || current_setting('synchronous_commit') || '|' || current_setting('search_path')";
    let text: String = session.query_one(read, &[]).await.unwrap().get(0);
    let expected =
        r"ISO, MDY|2024-02-02 22:05:00+00|1 year 02:00:00|0.30000000000000004|\x00|local|pg_catalog";
    assert_eq!(text, expected);
    session
        .batch_execute("BEGIN; INSERT INTO public.t VALUES (1)")
        .await
        .unwrap();
    session.batch_execute("SELECT pg_sleep(0.05)").await.unwrap();
    session.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn another_server_and_closed_doors_are_told_apart() {
    let scene = Scene::new().await;
    let system_identifier = scene.engine.system_identifier();
    let config = scene.config("engine");
    let options = SessionOptions::default();
    let opened = Session::open(&config.to_cluster(system_identifier), &options).await;
    assert!(opened.is_ok());
    let other = Session::open(&config.to_cluster(system_identifier + 1), &options).await;
    assert!(matches!(other.err(), Some(ConnectError::OtherServer { .. })));

    let superuser = scene.server.connect("postgres", DATABASE).await.unwrap();
    superuser
        .batch_execute("ALTER ROLE application NOLOGIN")
        .await
        .unwrap();
    let refused = Session::open(&scene.config("application"), &options).await;
    assert!(matches!(refused.err(), Some(ConnectError::NotLetIn { .. })));
    let mut nowhere = config.clone();
    nowhere.endpoints[0].port = 1;
    let unreachable = Session::open(&nowhere, &options).await;
    assert!(matches!(unreachable.err(), Some(ConnectError::Stream(_))));
}

#[tokio::test]
async fn errors_are_classified_and_hold_no_values() {
    let scene = Scene::new().await;
    let engine = &scene.engine;
    let table = "CREATE TABLE public.people (name text PRIMARY KEY, age int CHECK (age < 150))";
    engine.batch_execute(table).await.unwrap();
    engine
        .batch_execute("INSERT INTO public.people VALUES ('Ann', 30)")
        .await
        .unwrap();
    let class = async |sql: &str, value: &str| {
        let error = engine.execute(sql, &[&value]).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(value.is_empty() || !shown.contains(value), "{shown}");
        error.class()
    };
    let insert = "INSERT INTO public.people VALUES ($1, 1)";
    assert_eq!(class(insert, "Ann").await, SqlClass::UniqueViolation);
    assert_eq!(class("SELECT $1::text::int", "Ann").await, SqlClass::Other);
    assert_eq!(
        class("INSERT INTO public.people VALUES ($1, 151)", "Zoe").await,
        SqlClass::Other
    );
    let raise = "DO $$ BEGIN RAISE EXCEPTION 'Ann is known'; END $$";
    assert!(
        !engine
            .batch_execute(raise)
            .await
            .unwrap_err()
            .message()
            .contains("Ann")
    );

    let application = scene.application().await;
    let denied = application
        .batch_execute("SELECT FROM public.people")
        .await
        .unwrap_err();
    assert_eq!(denied.class(), SqlClass::NotPermitted);
    let canceler = application.canceler();
    let slept = async { application.batch_execute("SELECT pg_sleep(60)").await };
    let canceled = async {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        let superuser = scene.server.connect("postgres", DATABASE).await.unwrap();
        let sleeps = async || superuser.query_one(running, &[]).await.unwrap().get::<_, i64>(0) == 1;
        scene.until(sleeps).await;
        canceler.cancel().await.unwrap();
    };
    let (slept, ()) = tokio::join!(slept, canceled);
    assert_eq!(slept.unwrap_err().class(), SqlClass::Canceled);
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    assert_eq!(
        application.batch_execute(end).await.unwrap_err().class(),
        SqlClass::Lost
    );
    assert_eq!(
        application.batch_execute("SELECT 1").await.unwrap_err().class(),
        SqlClass::Lost
    );
}
