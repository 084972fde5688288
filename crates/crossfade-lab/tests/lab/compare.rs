//! The comparison against a real table: equal when untouched, and finding each planted difference.

use std::time::Instant;

use crossfade_lab::compare::{Comparison, Target, compare};
use crossfade_lab::ledger::Ledger;
use crossfade_lab::orders::{Column, Row, Size, schema};
use crossfade_lab::server::{Server, ServerOptions};
use tokio_postgres::Client;

/// Not a multiple of any period in the generator, and with some long notes.
pub(crate) const SIZE: Size = Size { orders: 4_321 };

/// A server with the tables, and a session on it.
pub(crate) async fn orders(size: Size) -> (Server, Client) {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let client = server.connect("postgres", "postgres").await.unwrap();
    schema::build(&client, size).await.unwrap();
    (server, client)
}

/// The table as the applications know it.
pub(crate) fn target() -> Target {
    Target {
        table: "orders".to_owned(),
        columns: Column::ALL.map(|column| column.name().to_owned()).to_vec(),
    }
}

async fn compare_initial(client: &Client) -> Comparison {
    compare(client, &target(), &Ledger::new(SIZE), |row| row)
        .await
        .unwrap()
}

#[tokio::test]
async fn the_initial_rows_are_the_same_in_sql_and_here() {
    let (_server, client) = orders(SIZE).await;
    let comparison = compare_initial(&client).await;
    assert_eq!(
        comparison,
        Comparison {
            rows: 4_321,
            ..Comparison::default()
        }
    );
}

#[tokio::test]
async fn long_notes_are_stored_out_of_line() {
    let (_server, client) = orders(SIZE).await;
    let chunks = "SELECT count(DISTINCT chunk_id) FROM pg_toast.pg_toast_";
    let oid: u32 = client
        .query_one("SELECT 'orders'::regclass::oid", &[])
        .await
        .unwrap()
        .get(0);
    let count: i64 = client
        .query_one(&format!("{chunks}{oid}"), &[])
        .await
        .unwrap()
        .get(0);
    let long = (1..=SIZE.orders).filter(|id| Size::has_long_note(*id)).count();
    assert_eq!(count, i64::try_from(long).unwrap());
}

#[tokio::test]
async fn each_planted_difference_is_found() {
    let (_server, client) = orders(SIZE).await;
    client
        .batch_execute(
            "UPDATE orders SET amount = amount + 0.01 WHERE id = 1601;
             UPDATE orders SET note = overlay(note PLACING '~' FROM 8000 FOR 1) WHERE id = 1602;
             UPDATE orders SET details = NULL WHERE id = 1603;
             DELETE FROM orders WHERE id = 1604;
             INSERT INTO orders SELECT 9999, customer_id, amount FROM orders WHERE id = 1605",
        )
        .await
        .unwrap();
    let comparison = compare_initial(&client).await;
    assert_eq!(comparison.differing.rows, 3);
    let mut keys = comparison.differing.keys.clone();
    keys.sort_unstable();
    assert_eq!(keys, [1601, 1602, 1603]);
    assert_eq!(comparison.missing.keys, [1604]);
    assert_eq!(comparison.extra.keys, [9999]);
}

#[tokio::test]
async fn a_retyped_table_is_compared_through_the_transform() {
    let (_server, client) = orders(SIZE).await;
    client
        .batch_execute(
            "ALTER TABLE orders ALTER COLUMN status DROP DEFAULT, ALTER COLUMN id TYPE bigint,
                 ALTER COLUMN status TYPE order_status USING status::order_status,
                 ADD COLUMN channel text NOT NULL DEFAULT 'web'",
        )
        .await
        .unwrap();
    let mut target = target();
    target.columns.push("channel".to_owned());
    let started = Instant::now();
    let with_channel = |mut row: Row| {
        row.push(Some("web".to_owned()));
        row
    };
    let comparison = compare(&client, &target, &Ledger::new(SIZE), with_channel)
        .await
        .unwrap();
    assert_eq!(comparison.differences(), 0);
    println!("compared {} rows in {:?}", SIZE.orders, started.elapsed());
}
