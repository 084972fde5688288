//! `crossfade demo`: a busy table retyped live on a throwaway server, and the proof that nothing was lost.
//!
//! The engine is what users run, through the same functions as `crossfade run`, as a role without superuser. The
//! proof is not the engine's: the writers' ledger is in this process, knows every acknowledged commit, and is
//! compared with the whole new table. The server is gone when this ends, however it ends.

mod proof;
mod stage;

use std::time::{Duration, Instant};

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::run::{RunOptions, What};
use crossfade_core::cutover::OldSnapshots;
use crossfade_postgres::change::ChangeRequest;
use tokio::sync::watch;

use self::proof::{Clock, Proof};
use self::stage::{MIGRATION, Stage, TABLE};
use super::{Context, planning, running};
use crate::args::Demo;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::output::{self, Console};
use crate::signals;

/// What is changed, live.
const ALTERS: [&str; 5] = [
    "ALTER COLUMN id TYPE bigint",
    // The default is a text, and no text is cast to an enum by itself: a plain ALTER TABLE wants this too.
    "ALTER COLUMN status DROP DEFAULT",
    "ALTER COLUMN status TYPE order_status USING status::order_status",
    "ALTER COLUMN status SET DEFAULT 'new'",
    "ADD COLUMN priority integer NOT NULL DEFAULT 0",
];
/// How long the writers have the table to themselves, before the engine begins and after it has ended.
const UNDISTURBED: Duration = Duration::from_secs(2);

pub(super) async fn perform(context: &Context, typed: Demo) -> Outcome {
    if context.url.is_some() {
        return Err(
            Failure::usage(anyhow::anyhow!("use --url: the demo starts a server of its own"))
                .next("For a server of yours see `crossfade run --help`."),
        );
    }
    let stop = signals::watch()?;
    let mut asked = stop.clone();
    // Dropping the show kills its server and removes its files: nobody has to be asked to end first.
    tokio::select! {
        outcome = show(context.console, &typed, stop) => outcome,
        _ = asked.changed() => {
            output::advise("Interrupted; the demo's server is gone.");
            Ok(Exit::Interrupted)
        }
    }
}

async fn show(console: Console, typed: &Demo, stop: watch::Receiver<bool>) -> Outcome {
    let stage = Stage::build(console, typed).await?;
    let writers = stage.writers(typed).await?;
    console.note(&format!(
        "{} writers write as fast as they can. Now the change: {}",
        typed.writers,
        ALTERS.join("; ")
    ));
    tokio::time::sleep(UNDISTURBED).await;
    let clock = Clock::now();
    let ended = retype(console, &stage, typed, stop).await?;
    let report = match ended {
        Ended::Done(report) => *report,
        other => {
            return Ok(output::ended::explain(
                console,
                Some(&MIGRATION.parse().map_err(Failure::usage)?),
                &other,
            ));
        }
    };
    tokio::time::sleep(UNDISTURBED).await;
    let written = writers.stop().await.map_err(Failure::no_access)?;
    console.note("The writers have stopped. Comparing every row and column with what they know …");
    let comparison = stage.compare(&written.ledger).await?;
    let proof = Proof::new(&clock, &report, &written.statistics, &comparison, Instant::now());
    console.object(&proof.object());
    console.result(&proof.render(stage.server_version()));
    Ok(proof.exit())
}

async fn retype(
    console: Console,
    stage: &Stage,
    typed: &Demo,
    stop: watch::Receiver<bool>,
) -> Result<Ended, Failure> {
    let name = MIGRATION.parse().map_err(Failure::usage)?;
    let mut request = ChangeRequest::from_arguments(TABLE, &ALTERS).map_err(Failure::usage)?;
    // The demo ends with the swap.
    request.way_back.off = true;
    let config = stage.engine_connection()?;
    let planned = planning::plan(&config, &request, &name).await?;
    let options = RunOptions {
        copiers: typed.copiers.into(),
        cutover_when_ready: true,
        roll_back: false,
        verify: true,
        repair: false,
        old_snapshots: OldSnapshots::Wait,
        reconnect_max: Duration::from_secs(60),
    };
    let what = What::Plan(Box::new(planned.plan));
    Ok(running::shown(console, &config, what, options, stop).await)
}
