//! The estate: it loads, the application writes to all of it and goes where it is sent, and what judges it sees.

use std::time::{Duration, Instant};

use crossfade_lab::estate::{
    Application, ApplicationOptions, Route, Story, check_ledger, differences, schema,
};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use tokio_postgres::Client;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
pub(crate) const NONE: [&str; 0] = [];

/// A server with the estate in its database `postgres`, and a session there.
pub(crate) async fn estate() -> (Server, Client) {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let client = server.connect(SUPERUSER, "postgres").await.unwrap();
    schema::build(&client, 1).await.unwrap();
    (server, client)
}

pub(crate) async fn start(route: &Route) -> Application {
    Application::start(route, &ApplicationOptions::default())
        .await
        .unwrap()
}

/// Waits for so many commits more at `place`, or fails.
pub(crate) async fn more(application: &Application, place: &str, count: u64) {
    let waited = tokio::time::timeout(DEADLINE, application.more_commits_at(place, count)).await;
    waited.unwrap_or_else(|_| panic!("{:?}", application.progress()));
}

/// Stops, and expects no failure.
pub(crate) async fn stop(application: Application) -> Story {
    let story = application.stop().await.unwrap();
    assert_eq!(story.failures, NONE);
    println!(
        "{} commits, {} rolled back, {} unknown, {:?}; gap {:?}, wait {:?}",
        story.sure.len(),
        story.rolled_back,
        story.unknown.len(),
        story.errors_by_code,
        story.longest_gap,
        story.longest_wait
    );
    story
}

pub(crate) async fn count(client: &Client, query: &str) -> i64 {
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn the_schema_loads_and_is_the_same_as_itself() {
    let (server, client) = estate().await;
    println!("PostgreSQL {}", server.version());
    let tables = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')
                  AND relnamespace IN ('shop'::regnamespace, '\"Back Office\"'::regnamespace)";
    assert_eq!(count(&client, tables).await, schema::TABLES);
    let other = server.connect(SUPERUSER, "postgres").await.unwrap();
    assert_eq!(differences(&client, &other).await.unwrap(), NONE);
}

#[tokio::test]
async fn what_the_application_was_told_is_there() {
    let (server, client) = estate().await;
    let before: Vec<(String, i64)> = changes(&client).await;
    let route = Route::new(server.superuser());
    let application = start(&route).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    more(&application, &route.current(), 500).await;
    let story = stop(application).await;
    assert!(story.rolled_back > 0 && story.longest_wait > Duration::ZERO);
    assert_eq!(check_ledger(&client, &story).await.unwrap(), NONE);
    assert_eq!(
        differences(&client, &client_of(&server).await).await.unwrap(),
        NONE
    );
    // All of it but what is to stay empty and what holds no rows of its own.
    let untouched = changes(&client)
        .await
        .into_iter()
        .filter(|table| before.contains(table));
    assert_eq!(
        untouched.map(|(table, _)| table).collect::<Vec<_>>(),
        [
            "\"Back Office\".\"Pay by month\"",
            "shop.measurements",
            "shop.returns",
            "shop.shipments"
        ]
    );
    let again = start(&route).await;
    more(&again, &route.current(), 200).await;
    let story = stop(again).await;
    assert_eq!(check_ledger(&client, &story).await.unwrap(), NONE);
}

pub(crate) async fn client_of(server: &Server) -> Client {
    server.connect(SUPERUSER, "postgres").await.unwrap()
}

/// How often rows of each table were changed, as the server counts.
async fn changes(client: &Client) -> Vec<(String, i64)> {
    // What a session has counted it tells within a second, or when it ends.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let query = "SELECT relid::regclass::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
                 ORDER BY 1";
    let rows = client.query(query, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn what_is_broken_is_found() {
    let (server, client) = estate().await;
    let route = Route::new(server.superuser());
    let application = start(&route).await;
    more(&application, &route.current(), 300).await;
    let story = stop(application).await;
    let breaking = [
        (
            "DELETE FROM shop.ledger WHERE (writer, number) IN (SELECT writer, max(number) FROM shop.ledger
          WHERE writer = 0 GROUP BY writer)",
            ["acknowledged commits are not there", "writer 0 counted"].as_slice(),
        ),
        (
            "INSERT INTO shop.ledger VALUES (1, 1000000)",
            &["nobody was told of", "writer 1 counted"],
        ),
        (
            "UPDATE shop.accounts SET balance = balance + 0.01 WHERE id = 1",
            &["2000 accounts hold 2000000.01"],
        ),
        (
            "INSERT INTO shop.order_audit (order_id, what)
          SELECT order_id, what FROM shop.order_audit LIMIT 1",
            &["was noted 2 times"],
        ),
    ];
    for (statement, expected) in breaking {
        client
            .batch_execute(&format!("BEGIN; {statement}"))
            .await
            .unwrap();
        let wrong = check_ledger(&client, &story).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(wrong.len(), expected.len(), "{wrong:?}");
        assert!(
            wrong
                .iter()
                .zip(expected)
                .all(|(wrong, part)| wrong.contains(part)),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn each_damage_to_a_copy_is_a_difference() {
    let (server, client) = estate().await;
    server.create_database("copy", SUPERUSER).await.unwrap();
    let damages = [
        (
            "UPDATE shop.oddities SET double = '0' WHERE id = (SELECT min(id) FROM shop.oddities WHERE double::text = '-0')",
            "table shop.oddities: 2000 rows; in the target 2000; 1 differ: (2)",
        ),
        (
            "DELETE FROM shop.trucks WHERE id = 7",
            "table shop.trucks: 1000 rows; in the target 999; 1 missing",
        ),
        (
            "INSERT INTO shop.measurements VALUES (0, '2025-02-03')",
            "table shop.measurements_2025: 730 rows; in the target 731; 1 only in the target: (0,2025-02-03)",
        ),
        (
            "DELETE FROM shop.events WHERE ctid = (SELECT min(ctid) FROM shop.events)",
            "table shop.events: 2000 rows",
        ),
        (
            "DROP INDEX shop.orders_open",
            "index shop.orders_open: not in the target",
        ),
        (
            "ALTER TABLE shop.customers DISABLE TRIGGER customers_touch",
            "trigger shop.customers.customers_touch",
        ),
        (
            "SELECT setval('shop.numbers', 1000)",
            "sequence shop.numbers: gives",
        ),
        (
            "ALTER TABLE shop.prices REPLICA IDENTITY DEFAULT",
            "table shop.prices: kind r",
        ),
        (
            "ALTER TABLE shop.customers ALTER id SET GENERATED BY DEFAULT",
            "column shop.customers.id",
        ),
        ("ALTER TYPE shop.mood ADD VALUE 'other'", "type shop.mood"),
        (
            "CREATE OR REPLACE FUNCTION \"Back Office\".spent(customer bigint) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0'",
            "function \"Back Office\".spent(bigint)",
        ),
        (
            "REFRESH MATERIALIZED VIEW \"Back Office\".\"Pay by month\" WITH NO DATA",
            "view \"Back Office\".\"Pay by month\"",
        ),
        (
            "DELETE FROM shop.stock WHERE id = 1; ALTER TABLE shop.stock VALIDATE CONSTRAINT stock_is_there;
          INSERT INTO shop.stock SELECT 1, 1",
            "constraint shop.stock.stock_is_there",
        ),
        (
            "ALTER TABLE \"Back Office\".\"order\" ALTER \"where\" SET DEFAULT 'here'",
            "column \"Back Office\".\"order\".\"where\"",
        ),
        (
            "CREATE TABLE shop.more (id int)",
            "table shop.more: only in the target",
        ),
        ("DROP TABLE shop.returns", "table shop.returns: not in the target"),
    ];
    let copy = server.connect(SUPERUSER, "copy").await.unwrap();
    schema::build(&copy, 1).await.unwrap();
    assert_eq!(differences(&client, &copy).await.unwrap(), NONE);
    for (statement, expected) in damages {
        copy.batch_execute(statement).await.unwrap();
        let found = differences(&client, &copy).await.unwrap();
        assert!(
            found.iter().any(|difference| difference.starts_with(expected)),
            "{expected}: {found:#?}"
        );
    }
}

#[tokio::test]
async fn a_redirect_takes_the_commits_with_it() {
    let ((one, client), (two, other)) = (estate().await, estate().await);
    let route = Route::new(one.superuser());
    let application = start(&route).await;
    more(&application, &one.superuser(), 100).await;
    client
        .batch_execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
        .await
        .unwrap();
    client
        .batch_execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'estate %'",
        )
        .await
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    while !application.progress().errors_by_code.contains_key("25006") {
        assert!(Instant::now() < deadline, "{:?}", application.progress());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    route.redirect(two.superuser());
    let redirected = Instant::now();
    more(&application, &two.superuser(), 100).await;
    let story = stop(application).await;
    let places: Vec<String> = story.commits_since(redirected).into_keys().collect();
    assert_eq!(places, [two.superuser()]);
    assert_eq!(story.commits_by_place.len(), 2);
    let [here, there] = [&client, &other].map(|client| count(client, "SELECT count(*) FROM shop.ledger"));
    let (here, there) = (here.await, there.await);
    let told = i64::try_from(story.sure.len()).unwrap();
    let unknown = i64::try_from(story.unknown.len()).unwrap();
    assert!(
        (told..=told + unknown).contains(&(here + there)),
        "{here} and {there}, of {told}"
    );
    assert!(!differences(&client, &other).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_crash_leaves_nothing_in_part() {
    let (mut server, _) = estate().await;
    let route = Route::new(server.superuser());
    let application = start(&route).await;
    for _ in 0..3 {
        more(&application, &route.current(), 100).await;
        server.restart(true).await.unwrap();
    }
    more(&application, &route.current(), 100).await;
    let story = stop(application).await;
    assert!(!story.errors_by_code.is_empty());
    assert_eq!(
        check_ledger(&client_of(&server).await, &story).await.unwrap(),
        NONE
    );
}
