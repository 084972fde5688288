//! Plans and runs a change through the library, as the command line does:
//!
//! ```text
//! cargo run -p crossfade-coordinator --example retype -- 'dbname=shop' orders 'ALTER COLUMN id TYPE bigint'
//! ```

use std::process::ExitCode;
use std::time::Duration;

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::run::{RunOptions, What, run};
use crossfade_core::cutover::OldSnapshots;
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner;
use crossfade_postgres::session::{Session, SessionOptions};
use tokio::sync::watch;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, table, alter] = arguments.as_slice() else {
        return Err("give a connection string, a table and an ALTER TABLE action".into());
    };
    let config = ConnectConfig::parse(url)?;
    let session = Session::open(&config, &SessionOptions::default()).await?;
    let request = ChangeRequest::from_arguments(table, std::slice::from_ref(alter))?;
    let planned = planner::plan(&session, &request, &"example".parse()?).await?;

    let options = RunOptions {
        copiers: 2,
        cutover_when_ready: true,
        roll_back: false,
        verify: true,
        repair: false,
        old_snapshots: OldSnapshots::Wait,
        reconnect_max: Duration::from_secs(60),
    };
    // Nobody asks this run to stop, and nobody watches it.
    let (_stop, stopped) = watch::channel(false);
    let (status, _) = watch::channel(None);
    match run(
        &config,
        What::Plan(Box::new(planned.plan)),
        options,
        stopped,
        status,
    )
    .await
    {
        Ended::Done(report) => {
            print(&format!(
                "{} rows copied, {} changes applied",
                report.rows_copied, report.changes_applied
            ));
            Ok(ExitCode::SUCCESS)
        }
        other => {
            print(&format!("{other:?}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn print(line: &str) {
    println!("{line}");
}
