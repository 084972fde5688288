//! Fills the demo's tables, lets writers loose on them for a while, and compares: the lab without an engine.
//!
//! `cargo run --release -p crossfade-lab --example orders -- [rows] [writers] [seconds]`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::{Duration, Instant};

use crossfade_lab::compare::{Target, compare};
use crossfade_lab::orders::{Column, Size, schema};
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_lab::writers::{WriterOptions, Writers};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u32>());
    let (rows, writers, seconds) = (next(1_000_000)?, next(4)?, next(5)?);
    let size = Size { orders: rows.into() };

    let started = Instant::now();
    let server = Server::start(ServerOptions {
        durable: true,
        ..ServerOptions::default()
    })
    .await?;
    println!("PostgreSQL {} after {:.2?}", server.version(), started.elapsed());

    let started = Instant::now();
    let client = server.connect("postgres", "postgres").await?;
    schema::build(&client, size).await?;
    println!("{rows} orders after {:.2?}", started.elapsed());

    let options = WriterOptions {
        connection: server.superuser(),
        writers,
        seed: 1,
        size,
    };
    let running = Writers::start(&options).await?;
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let written = running.stop().await?;
    let statistics = &written.statistics;
    println!(
        "{} transactions with {} changes, {} rolled back, {} failed; {:.2?} in the middle, {:.2?} at the longest",
        statistics.committed_transactions,
        statistics.committed_changes,
        statistics.rolled_back_transactions,
        statistics.failed_transactions,
        statistics.latency(0.5),
        statistics.latency(1.0),
    );

    let started = Instant::now();
    let columns = Column::ALL.map(|column| column.name().to_owned()).to_vec();
    let target = Target {
        table: "orders".to_owned(),
        columns,
    };
    let comparison = compare(&client, &target, &written.ledger, |row| row).await?;
    println!(
        "{} of {} rows differ; compared in {:.2?}",
        comparison.differences(),
        comparison.rows,
        started.elapsed()
    );
    Ok(())
}
