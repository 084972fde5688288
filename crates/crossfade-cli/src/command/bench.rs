//! `crossfade bench`: measurements, on a throwaway server unless one is given.

use std::fmt::Write as _;

use crossfade_bench::copy::{CopyReport, measure};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;

use super::Context;
use crate::args::{Bench, BenchCopy, BenchWhat};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::units::{bytes, count};
use crate::output::{self, Console, HEADING};
use crate::signals;

pub(super) async fn perform(context: &Context, typed: Bench) -> Outcome {
    match typed.what {
        BenchWhat::Copy(copy) => perform_copy(context, &copy).await,
    }
}

async fn perform_copy(context: &Context, typed: &BenchCopy) -> Outcome {
    let mut stop = signals::watch()?;
    tokio::select! {
        measured = copy(context, typed) => {
            let report = measured?;
            let object = serde_json::to_value(&report).map_err(Failure::usage)?;
            context.console.object(&object);
            context.console.result(&render(&report));
            Ok(Exit::Done)
        }
        _ = stop.changed() => Ok(Exit::Interrupted),
    }
}

async fn copy(context: &Context, typed: &BenchCopy) -> Result<CopyReport, Failure> {
    let told = |what: &str| told(context.console, what);
    let Some(url) = &context.url else {
        let server = Server::start(options()).await.map_err(Failure::no_access)?;
        let config = ConnectConfig::parse(&server.connection(SUPERUSER, "postgres"))?;
        return measure(&config, typed.rows, told)
            .await
            .map_err(Failure::no_access);
    };
    let config = ConnectConfig::parse(url)?;
    measure(&config, typed.rows, told)
        .await
        .map_err(Failure::no_access)
}

fn told(console: Console, what: &str) {
    console.note(&format!("{what} …"));
}

/// Commits are flushed as on a user's server; checkpoints come when the WAL is large, not in the middle of a way.
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

fn render(report: &CopyReport) -> String {
    let mut text = format!(
        "{HEADING}Copying {} rows, {}, on PostgreSQL {}{HEADING:#} (fsync {}; medians of {})\n",
        count(report.rows),
        bytes(report.bytes),
        output::plan::version(report.server_version_num),
        if report.fsync { "on" } else { "off" },
        report.rounds
    );
    for figures in &report.ways {
        // Writing to a String cannot fail.
        writeln!(
            text,
            "  {:<16}  {:>9} rows/s  {:>5.2} × {}  {:>4} bytes of WAL a row",
            figures.way,
            count(figures.rows_per_second as u64),
            figures.ratio,
            report.baseline,
            figures.wal_bytes_per_row
        )
        .ok();
    }
    text
}
