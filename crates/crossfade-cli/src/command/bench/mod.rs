//! `crossfade bench`: measurements, on a throwaway server unless one is given.

mod meaning;
mod print;

use std::path::Path;

use crossfade_bench::compare::Earlier;
use crossfade_bench::ground::{Ground, GroundError};
use crossfade_bench::machine::Machine;
use crossfade_bench::record::{self, Record, RecordError};
use crossfade_bench::report::Report;
use crossfade_bench::server::ServerFacts;
use crossfade_bench::{BenchError, apply, copy, html, stall};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;

use self::meaning::Meant;
use super::Context;
use crate::args::{Bench, BenchResults};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Console};
use crate::signals;

pub(super) async fn perform(context: &Context, typed: Bench) -> Outcome {
    let mut stop = signals::watch()?;
    let (meant, results) = Meant::of(typed.what)?;
    let earlier = earlier(&results)?;
    let (ground, _server) = ground(context).await?;
    let measured = tokio::select! {
        measured = measure(context.console, &ground, &meant, &results) => Some(measured),
        _ = stop.changed() => None,
    };
    match measured {
        None => {
            // A slot that is left behind would make the server keep its WAL.
            ground.clear().await.map_err(Failure::no_access)?;
            if results.out.is_some() {
                output::advise("Interrupted; the same command goes on where it was.");
            }
            Ok(Exit::Interrupted)
        }
        Some(Err(error)) => {
            // What failed is worth more to know than that it could not be cleaned up.
            ground.clear().await.ok();
            Err(failure(error))
        }
        Some(Ok(report)) => show(context.console, &report, earlier.as_ref(), &results),
    }
}

fn show(console: Console, report: &Report, earlier: Option<&Earlier>, results: &BenchResults) -> Outcome {
    if let Some(path) = &results.html {
        std::fs::write(path, html::page(report, earlier)).map_err(|source| {
            let path = path.display().to_string();
            Failure::usage(RecordError::Write { path, source })
        })?;
    }
    console.object(&serde_json::to_value(report).map_err(Failure::usage)?);
    console.result(&print::summary(report, earlier));
    Ok(Exit::Done)
}

/// The earlier run, before anything is measured: a wrong name must not cost an hour.
fn earlier(results: &BenchResults) -> Result<Option<Earlier>, Failure> {
    let read = |path: &Path| {
        let report = record::read(path).map_err(Failure::usage)?;
        report
            .ok_or_else(|| Failure::usage(anyhow::anyhow!("read {}: there is no such file", path.display())))
    };
    let report = results.compare.as_deref().map(read).transpose()?;
    Ok(report.map(|report| Earlier { report }))
}

/// Where to measure; the server is ours if there is one.
async fn ground(context: &Context) -> Result<(Ground, Option<Server>), Failure> {
    if let Some(url) = &context.url {
        return Ok((Ground::new(ConnectConfig::parse(url)?, url), None));
    }
    context.console.note("Starting a throwaway PostgreSQL …");
    let server = Server::start(options()).await.map_err(Failure::no_access)?;
    let connection = server.connection(SUPERUSER, "postgres");
    let config = ConnectConfig::parse(&connection)?;
    Ok((Ground::new(config, connection), Some(server)))
}

async fn measure(
    console: Console,
    ground: &Ground,
    meant: &Meant,
    results: &BenchResults,
) -> Result<Report, BenchError> {
    let admin = ground.admin().await?;
    let server = ServerFacts::read(&admin).await?;
    drop(admin);
    let again = if results.again { meant.suites() } else { Vec::new() };
    let mut record = Record::open(results.out.as_deref(), &again, Machine::here(), server)?;
    if cfg!(debug_assertions) {
        let note = "this is a debug build, whose figures are worth nothing";
        record.report.note(note.to_owned());
    }
    let mut told = |what: &str| console.note(&format!("{what} …"));
    if let Some(options) = &meant.copy {
        copy::measure(ground, options, &mut record, &mut told).await?;
    }
    if let Some(options) = &meant.apply {
        apply::measure(ground, options, &mut record, &mut told).await?;
    }
    if let Some(options) = &meant.stall {
        stall::measure(ground, options, &mut record, &mut told).await?;
    }
    Ok(record.report)
}

/// Commits are flushed as on a user's server; checkpoints come when the WAL is large, not in the middle of a measurement.
fn options() -> ServerOptions {
    let options = ServerOptions {
        durable: true,
        ..ServerOptions::default()
    };
    options
        .setting("max_wal_size", "8GB")
        .setting("shared_buffers", "512MB")
        .setting("autovacuum", "off")
}

fn failure(error: BenchError) -> Failure {
    match error {
        BenchError::Connect(error) | BenchError::Ground(GroundError::Connect(error)) => {
            Failure::no_session(error)
        }
        BenchError::Record(_) | BenchError::Mix(_) => Failure::usage(error),
        error => Failure::no_access(error),
    }
}
