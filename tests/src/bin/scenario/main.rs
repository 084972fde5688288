//! Scenarios that take longer than `cargo test` should: `cargo scenario -- --help`.

#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use crossfade_lab::server::ServerOptions;
use crossfade_tests::moving::MovingOptions;
use crossfade_tests::moving::there_and_back::{Faults, there_and_back};
use crossfade_tests::planted::{self, Found, Scratch};
use crossfade_tests::scenario;
use crossfade_tests::soak;
use crossfade_tests::split;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;

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
        /// Further arguments of `crossfade run`, behind `--`
        #[arg(last = true)]
        more: Vec<String>,
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
    /// The same change again and again, with other faults at other moments
    Soak {
        /// How often
        #[arg(long, default_value_t = 10)]
        runs: u64,
        /// Of the first run; each further one has the next. Chosen and printed unless given
        #[arg(long)]
        seed: Option<u64>,
        /// Rows of the table at the start
        #[arg(long, default_value_t = 50_000)]
        rows: i64,
        /// Writers
        #[arg(long, default_value_t = 2)]
        writers: u32,
        /// Once the change is in place, write to it, and roll it back
        #[arg(long)]
        rollback: bool,
        /// Further arguments of `crossfade run`, behind `--`
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// The examples of docs/examples, swapped, written to in both shapes, and rolled back; killed in between
    Split {
        /// Only those whose files' names hold one of these
        names: Vec<String>,
        /// How often each
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// Of the first run; each further one has the next. Chosen and printed unless given
        #[arg(long)]
        seed: Option<u64>,
        /// Rows of the table at the start
        #[arg(long, default_value_t = 200_000)]
        rows: u64,
        /// Between two transactions of a writer
        #[arg(long, default_value = "5ms", value_parser = humantime::parse_duration)]
        thinks: Duration,
        /// How often the engine is killed before the swap, and as often behind it
        #[arg(long, default_value_t = 3)]
        kills: u32,
        /// It is killed after at most so long
        #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
        lives_max: Duration,
        /// Transactions in both shapes, behind the swap, before the engine goes on
        #[arg(long, default_value_t = 1000)]
        behind: u64,
    },
    /// A database of 40 tables to another server, back, and there again, under an application; killed and crashed in between
    Move {
        /// How often
        #[arg(long, default_value_t = 1)]
        runs: u64,
        /// Of the first run; each further one has the next
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// 2,000 rows of each larger table each
        #[arg(long, default_value_t = 5)]
        scale: u32,
        /// Connections that write
        #[arg(long, default_value_t = 4)]
        writers: u32,
        /// The source's version
        #[arg(long)]
        from: Option<u32>,
        /// The target's version
        #[arg(long)]
        to: Option<u32>,
        /// The target's tables are made by hand, and not from a dump
        #[arg(long)]
        existing: bool,
        /// Between two transactions of a writer
        #[arg(long, default_value = "5ms", value_parser = humantime::parse_duration)]
        thinks: Duration,
        /// How rows get there: auto, snapshot or incremental
        #[arg(long, default_value = "auto")]
        copy: String,
        /// pgbench writes as well, to tables of its own of this scale
        #[arg(long)]
        pgbench: Option<u32>,
        /// How often the engine is killed
        #[arg(long, default_value_t = 0)]
        kills: u32,
        /// How many crashes of servers
        #[arg(long, default_value_t = 0)]
        crashes: u32,
    },
    /// Plants each bug of tests/planted in a scratch worktree; fails if the tests it names still pass
    Planted {
        /// Only those whose names hold one of these
        names: Vec<String>,
        /// Where Cargo builds; kept between runs
        #[arg(long, default_value = "target/planted")]
        target: std::path::PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().scenario {
        Scenario::Move {
            runs,
            seed,
            scale,
            writers,
            from,
            to,
            existing,
            thinks,
            copy,
            pgbench: beside,
            kills,
            crashes,
        } => {
            for seed in seed..seed + runs {
                let options = MovingOptions {
                    from,
                    to,
                    scale,
                    writers,
                    existing,
                    seed,
                    thinks,
                    copy: copy.clone(),
                    pgbench: beside,
                };
                let began = std::time::Instant::now();
                let seen = there_and_back(options, Faults { kills, crashes }).await?;
                println!("seed {seed}, {:.0?}: {seen:#?}", began.elapsed());
            }
            Ok(())
        }
        Scenario::Pgbench { runs, scale, more } => pgbench(runs, scale, &more).await,
        Scenario::Memory { rows, changes } => memory(rows, changes).await,
        Scenario::Soak {
            runs,
            seed,
            rows,
            writers,
            rollback,
            more,
        } => {
            let options = soak::Options {
                rows,
                writers,
                faults_max: 4,
                pause_max: Duration::from_secs(1),
                roll_back: rollback,
                more,
            };
            soak(runs, seed.unwrap_or_else(rand::random), &options).await
        }
        Scenario::Split {
            names,
            runs,
            seed,
            rows,
            thinks,
            kills,
            lives_max,
            behind,
        } => {
            let options = split::Options {
                rows,
                thinks,
                kills,
                lives_max,
                behind,
                seed: seed.unwrap_or_else(rand::random),
            };
            split_all(&names, runs, &options).await
        }
        Scenario::Planted { names, target } => planted(&names, &target),
    }
}

/// A run that fails does not end the others: its seed is printed with why, and the command fails in the end.
async fn soak(runs: u64, seed: u64, options: &soak::Options) -> Result<()> {
    let mut failed = Vec::new();
    for run in 0..runs {
        let seed = seed.wrapping_add(run);
        let which = format!("run {} of {runs}, seed {seed}", run + 1);
        match soak::run(options, seed).await {
            Ok(figures) => println!("{which}: {figures}"),
            Err(error) => {
                println!("{which}: FAILED {error:#}");
                failed.push(seed);
            }
        }
    }
    ensure!(
        failed.is_empty(),
        "{} of {runs} runs failed, seeds {failed:?}",
        failed.len()
    );
    println!("{runs} runs: nothing lost, nothing invented, no transaction failed");
    Ok(())
}

/// As of [`soak()`], what fails does not end the rest.
async fn split_all(names: &[String], runs: u64, options: &split::Options) -> Result<()> {
    until::be_patient(Duration::from_secs(7200));
    let wanted = |example: &&&split::Example| {
        names.is_empty() || names.iter().any(|name| example.file.contains(name.as_str()))
    };
    let mut failed = Vec::new();
    for run in 0..runs {
        let options = split::Options {
            seed: options.seed.wrapping_add(run),
            ..*options
        };
        for example in split::examples::ALL.iter().filter(wanted) {
            let which = format!(
                "{}, run {} of {runs}, seed {}",
                example.file,
                run + 1,
                options.seed
            );
            match split::run(Stage::own(server()).await?, example, &options).await {
                Ok(figures) => println!("{which}: {figures}"),
                Err(error) => {
                    println!("{which}: FAILED {error:#}");
                    failed.push(which);
                }
            }
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    Ok(())
}

fn planted(names: &[String], target: &std::path::Path) -> Result<()> {
    let patches = planted::patches(names)?;
    let scratch = Scratch::new(std::path::absolute(target)?)?;
    let mut bad = 0;
    for patch in &patches {
        let found = scratch.try_patch(patch)?;
        match &found {
            Found::Caught => println!("caught    {}", patch.name),
            Found::Missed(tests) => println!("MISSED    {} by {}", patch.name, tests.join(" and ")),
            Found::Unusable(why) => println!("UNUSABLE  {}: {why}", patch.name),
        }
        bad += u32::from(found != Found::Caught);
    }
    ensure!(
        bad == 0,
        "{bad} of {} planted bugs were not caught",
        patches.len()
    );
    println!("{} planted bugs, all caught", patches.len());
    Ok(())
}

async fn pgbench(runs: u32, scale: u32, more: &[String]) -> Result<()> {
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    for run in 1..=runs {
        let mut stage = Stage::own(server()).await?;
        let figures = scenario::pgbench::run(&mut stage, scale, &more).await?;
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
