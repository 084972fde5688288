//! `crossfade verify`: asks the running engine to compare every row, waits, and says what came of it.

use std::time::{Duration, Instant};

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::operate::MigrationStatus;
use crossfade_coordinator::report::Verification;
use crossfade_coordinator::verify::{Answer, ask, look};
use crossfade_core::name::MigrationName;

use super::{Context, running};
use crate::args::VerifyNow;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::output::{self, Console};
use crate::{meaning, signals};

/// An engine that has lost a connection comes back, and compares from the beginning.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn perform(context: &Context, VerifyNow { name, repair }: VerifyNow) -> Outcome {
    let config = meaning::connection(context.url.as_deref())?;
    let console = context.console;
    let asked = match ask(&config, &name, repair).await {
        Ok(Some(asked)) => asked,
        Ok(None) => return Ok(nobody_there(console, &name)),
        Err(ended) => return running::explained(console, &name, Err(ended)),
    };
    let mut stop = signals::watch()?;
    let mut last = String::new();
    let mut seen = Instant::now();
    loop {
        match look(&config, &asked).await {
            Ok(Answer::Verified(found)) => return Ok(conclude(console, &name, &found)),
            Ok(Answer::Waiting(migration)) => {
                seen = Instant::now();
                tell(console, &migration, &mut last);
            }
            Ok(Answer::EngineGone) if seen.elapsed() < AWAY_MAX => {}
            Ok(Answer::EngineGone) => return Ok(nobody_there(console, &name)),
            Err(ended) => return running::explained(console, &name, Err(ended)),
        }
        let pause = tokio::time::timeout(LOOK_INTERVAL, stop.wait_for(|asked| *asked));
        if pause.await.is_ok() {
            console.note("The engine goes on comparing; `crossfade status` shows what comes of it.");
            return running::explained(console, &name, Ok(Ended::Interrupted));
        }
    }
}

fn nobody_there(console: Console, name: &MigrationName) -> Exit {
    let hint =
        format!("Start one that follows: `crossfade continue {name}`; of a move with --from URL, too.");
    running::nobody_there(console, name, &hint)
}

/// One line when something is new.
fn tell(console: Console, migration: &MigrationStatus, last: &mut String) {
    let verify = &migration.progress["verify"];
    let line = match migration.progress["activity"].as_str() {
        Some("Verifying") => format!(
            "comparing: {} slices, {} of about {} rows",
            verify["slices"], verify["rows"], migration.progress["rows_expected"]
        ),
        Some(activity) => format!("waiting: the engine is at {activity}"),
        None => return,
    };
    if *last != line {
        console.note(&line);
        *last = line;
    }
}

fn conclude(console: Console, name: &MigrationName, found: &Verification) -> Exit {
    if !found.equal {
        let ended = Ended::NotEqual {
            verification: Box::new(found.clone()),
        };
        return output::ended::explain(console, Some(name), &ended);
    }
    console.object(&serde_json::json!({
        "outcome": Exit::Done.word(),
        "exit_code": Exit::Done.code(),
        "migration": name,
        "verification": found,
    }));
    console.result(&output::verification::equal(name, found));
    Exit::Done
}
