//! The primary is lost in the middle of a run, and a standby takes its place.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_lab::orders::{Size, schema};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_lab::writers::{WriterOptions, Writers};
use crossfade_tests::app::{RETYPE, TABLE, compare_all};
use crossfade_tests::process::Process;
use crossfade_tests::stage::{APPLICATION, ENGINE, Stage, arguments_to};
use crossfade_tests::until;

use super::{ROWS, WRITERS};

/// The first version whose slots a standby may have too.
const SLOTS_ARE_COPIED_SINCE: u32 = 17;

/// What is acknowledged is on the standby, and our stream is never ahead of it.
const SYNCHRONOUS: &str = "ALTER SYSTEM SET synchronous_standby_names = 'standby'";
const STREAM_WAITS: &str = "ALTER SYSTEM SET synchronized_standby_slots = 'standby'";

/// A copy begins where the standby has all that the slot needs: the slot has to come so far.
const SLOT_MOVES: &str = "SELECT pg_log_standby_snapshot()";
const COPIER_WAKES: &str = "SELECT pg_reload_conf()";
const SLOT_IS_COPIED: &str = "\
SELECT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1 AND synced AND NOT temporary)";

#[tokio::test]
async fn a_lost_primary_loses_no_row() -> Result<()> {
    let mut stage = Stage::own(ServerOptions::default()).await?;
    let copied = stage.server().installation().major >= SLOTS_ARE_COPIED_SINCE;
    let standby = standby_of(&stage, copied).await?;
    let url = |role| {
        stage
            .server()
            .connection_to_either(&standby, role, stage.database())
    };
    let (engine_url, application) = (url(ENGINE), url(APPLICATION));
    let size = Size { orders: ROWS };
    schema::build(&stage.client().await?, size).await?;
    let options = WriterOptions {
        connection: application,
        writers: WRITERS,
        seed: 1,
        size,
    };
    let writers = Writers::start(&options).await?;
    let more = ["--cutover", "manual", "--way-back", "none"];
    let arguments = stage.arguments(&["run", "--yes"], TABLE, RETYPE, &more);
    let mut engine = Process::start(&arguments_to(&engine_url, &arguments))?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    if copied {
        let primary = stage.superuser().await?;
        let witness = standby.connect(SUPERUSER, "postgres").await?;
        until::so("the standby has the slot", async || {
            // Otherwise both take up to half a minute.
            primary.execute(SLOT_MOVES, &[]).await?;
            witness.execute(COPIER_WAKES, &[]).await?;
            let slot = stage.name().slot();
            Ok(witness.query_one(SLOT_IS_COPIED, &[&slot]).await?.get(0))
        })
        .await?;
    }

    let written_before = writers.changes();
    let mut lost = stage.move_to(standby)?;
    lost.kill()?;
    let promoted = stage.superuser().await?;
    promoted.execute("SELECT pg_promote()", &[]).await?;
    until::so("writes go on", async || {
        Ok(writers.changes() > written_before + 50)
    })
    .await?;

    if copied {
        // As soon as the engine is connected anew, it is there to be asked.
        tokio::select! {
            asked = until::so("the engine is asked to swap", async || {
                Ok(stage.operate("cutover", &[]).await?.expect(0).is_ok())
            }) => asked?,
            said = engine.ended_early() => anyhow::bail!("it ended: {}", said?),
        }
        engine.end().await?.expect(0)?;
        ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    } else {
        let ended = engine.end().await?.expect(30)?;
        ensure!(ended.says("is gone, and changes with it"), "{}", ended.object);
        stage.operate("abort", &[]).await?.expect(0)?;
        let traces = stage.traces().await?;
        ensure!(traces.is_empty(), "abort left {traces:?}");
        ensure!(stage.column_type(TABLE, "id").await? == "integer");
    }
    compare_all(&stage, writers.stop().await?, &[], |row| row).await?;
    Ok(())
}

/// A standby that the primary waits for at each commit and, where that is possible, keeps copies of slots.
async fn standby_of(stage: &Stage, copied: bool) -> Result<Server> {
    let primary = stage.superuser().await?;
    let slot = "SELECT pg_create_physical_replication_slot('standby')";
    primary.execute(slot, &[]).await?;
    let mut options = ServerOptions::default()
        .setting("primary_slot_name", "standby")
        .setting("hot_standby_feedback", "on");
    if copied {
        options = options.setting("sync_replication_slots", "on");
    }
    let standby = stage.server().standby("standby", options).await?;
    primary.execute(SYNCHRONOUS, &[]).await?;
    if copied {
        primary.execute(STREAM_WAITS, &[]).await?;
    }
    primary.execute("SELECT pg_reload_conf()", &[]).await?;
    Ok(standby)
}
