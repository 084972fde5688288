//! An engine in this process: with its progress shown, and stopped by signals.

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::run::{RunOptions, What, run};
use crossfade_core::code::FailureCode;
use crossfade_core::name::MigrationName;
use crossfade_postgres::connect::ConnectConfig;
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Console, progress};
use crate::signals;

/// Runs it to its end and says how it ended.
pub(crate) async fn to_its_end(
    console: Console,
    config: &ConnectConfig,
    name: &MigrationName,
    what: What,
    options: RunOptions,
) -> Outcome {
    let stop = signals::watch()?;
    let ended = shown(console, config, what, options, stop).await;
    Ok(output::ended::explain(console, Some(name), &ended))
}

/// Runs it to its end under a progress display.
pub(crate) async fn shown(
    console: Console,
    config: &ConnectConfig,
    what: What,
    options: RunOptions,
    stop: watch::Receiver<bool>,
) -> Ended {
    let (status, watched) = watch::channel(None);
    let engine = run(config, what, options, stop, status);
    let (ended, ()) = tokio::join!(engine, progress::show(console, watched));
    ended
}

/// What a command on a migration ended with.
pub(crate) fn explained(console: Console, name: &MigrationName, ended: Result<Ended, Ended>) -> Outcome {
    match ended {
        Ok(ended) => Ok(output::ended::explain(console, Some(name), &ended)),
        Err(ended) => Err(Failure::Engine {
            name: Some(name.clone()),
            ended,
        }),
    }
}

/// A request was left and nobody is there to take it.
pub(crate) fn nobody_there(console: Console, name: &MigrationName, hint: &str) -> Exit {
    console.object(&serde_json::json!({
        "outcome": Exit::Stopped.word(),
        "exit_code": Exit::Stopped.code(),
        "migration": name,
        "code": FailureCode::NoEngine,
        "reason": "no engine works on it",
        "remedy": hint,
    }));
    console.result(&format!("No engine works on `{name}`. {hint}\n"));
    Exit::Stopped
}

/// A request was left and an engine is there to take it.
pub(crate) fn taken(console: Console, name: &MigrationName, text: &str) -> Exit {
    console.object(&serde_json::json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "migration": name,
    }));
    console.result(&format!("{text}\n"));
    Exit::Done
}
