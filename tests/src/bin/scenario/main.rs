//! Scenarios that take longer than `cargo test` should: `cargo scenario -- --help`.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use anyhow::Result;
use clap::{Parser, Subcommand};
use crossfade_lab::server::ServerOptions;
use crossfade_tests::scenario;
use crossfade_tests::stage::Stage;

#[derive(Parser)]
#[command(about = "Scenarios that take longer than `cargo test` should")]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// pgbench_accounts.aid to bigint under pgbench at full speed
    Pgbench {
        /// How often
        #[arg(long, default_value_t = 1)]
        runs: u32,
        /// 100,000 accounts each
        #[arg(long, default_value_t = 20)]
        scale: u32,
    },
    /// The tool's memory while it copies, and while it applies one large transaction
    Memory {
        /// Rows copied
        #[arg(long, default_value_t = 10_000_000)]
        rows: u64,
        /// Changes of the transaction
        #[arg(long, default_value_t = 2_000_000)]
        changes: u64,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().scenario {
        Scenario::Pgbench { runs, scale } => pgbench(runs, scale).await,
        Scenario::Memory { rows, changes } => memory(rows, changes).await,
    }
}

async fn pgbench(runs: u32, scale: u32) -> Result<()> {
    for run in 1..=runs {
        let stage = Stage::own(server()).await?;
        let figures = scenario::pgbench::run(&stage, scale).await?;
        println!("run {run} of {runs}, scale {scale}: {figures}");
    }
    Ok(())
}

async fn memory(rows: u64, changes: u64) -> Result<()> {
    let peak = scenario::memory::copying(&Stage::own(server()).await?, rows).await?;
    println!(
        "{rows} rows copied: at most {:.1} MB resident",
        peak as f64 / 1048576.0
    );
    let peak = scenario::memory::applying(&Stage::own(server()).await?, changes).await?;
    println!(
        "one transaction of {changes} changes applied: at most {:.1} MB resident",
        peak as f64 / 1048576.0
    );
    Ok(())
}

/// Checkpoints every few hundred megabytes would measure the disk and not the tool.
fn server() -> ServerOptions {
    ServerOptions::default()
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "512MB")
}
