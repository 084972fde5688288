//! Ctrl-C and SIGTERM in every phase: the end comes within ten seconds, with 130 and how to go on, and going on
//! comes to the end.

use std::time::Duration;

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::gate::Gate;
use crossfade_tests::process::Process;
use crossfade_tests::stage::{Stage, arguments_to};
use rustix::process::Signal;

use super::{ROWS, WRITERS, goes_on_to_the_end};

/// What users are promised.
const STOP_MAX: Duration = Duration::from_secs(10);

/// Interrupts an engine that is between `phase` and the next one.
async fn interrupted_in(phase: Phase, signal: Signal) -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, phase).await?;
    let ended = engine.end_by(signal, STOP_MAX).await?.expect(130)?;
    ensure!(ended.object["outcome"] == "interrupted", "{}", ended.object);
    goes_on_to_the_end(&stage, orders).await
}

#[tokio::test]
async fn ctrl_c_once_planned() -> Result<()> {
    interrupted_in(Phase::Planned, Signal::INT).await
}

#[tokio::test]
async fn sigterm_once_prepared() -> Result<()> {
    interrupted_in(Phase::Prepared, Signal::TERM).await
}

#[tokio::test]
async fn ctrl_c_while_copying() -> Result<()> {
    interrupted_in(Phase::Copying, Signal::INT).await
}

#[tokio::test]
async fn sigterm_once_copied() -> Result<()> {
    interrupted_in(Phase::Copied, Signal::TERM).await
}

#[tokio::test]
async fn ctrl_c_while_following() -> Result<()> {
    interrupted_in(Phase::Following, Signal::INT).await
}

#[tokio::test]
async fn sigterm_once_ready() -> Result<()> {
    interrupted_in(Phase::Ready, Signal::TERM).await
}

/// Whatever a command waits for, the end comes in time: here it waits for a lock of the state itself.
#[tokio::test]
async fn ctrl_c_while_a_command_does_not_come_back() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let gate = Gate::close(&stage, Phase::Following).await?;
    let engine = stage.run(TABLE, RETYPE, &[])?;
    gate.reached().await?;
    engine.end_by(Signal::INT, STOP_MAX).await?.expect(130)?;
    gate.open().await?;
    goes_on_to_the_end(&stage, orders).await
}

/// The slot's creation waits for every transaction that is writing.
#[tokio::test]
async fn sigterm_while_the_slot_waits_for_an_old_transaction() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let client = stage.client().await?;
    client.batch_execute("BEGIN; SELECT pg_current_xact_id()").await?;
    let mut engine = stage.run(TABLE, RETYPE, &[])?;
    stage.reached_by(&mut engine, Phase::Copying).await?;
    engine.end_by(Signal::TERM, STOP_MAX).await?.expect(130)?;
    client.batch_execute("COMMIT").await?;
    goes_on_to_the_end(&stage, orders).await
}

#[tokio::test]
async fn without_json_the_message_says_how_to_go_on() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, 1, 1).await?;
    let name = stage.name().as_str();
    let arguments = stage.arguments(&["run", "--yes"], TABLE, RETYPE, &["--way-back", "none"]);
    let mut arguments = arguments_to(&stage.engine(), &arguments);
    arguments.retain(|argument| argument != "--json");
    let engine = Process::start(&arguments)?;
    stage.reached(Phase::Ready).await?;
    let ended = engine.end_by(Signal::INT, STOP_MAX).await?.expect(130)?;
    ensure!(
        ended.says(&format!("crossfade continue {name}")),
        "{}",
        ended.stderr
    );
    ensure!(ended.says(&format!("crossfade abort {name}")), "{}", ended.stderr);
    goes_on_to_the_end(&stage, orders).await
}

/// After the swap there may be much to validate: that, too, is left for the next engine.
#[tokio::test]
async fn ctrl_c_after_the_swap() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let gate = Gate::close_at(&stage, "confirmed the swap").await?;
    let engine = super::run(&stage)?;
    gate.reached().await?;
    ensure!(
        stage.column_type(TABLE, "id").await? == "bigint",
        "the new table is in place"
    );
    engine.end_by(Signal::INT, STOP_MAX).await?.expect(130)?;
    gate.open().await?;
    goes_on_to_the_end(&stage, orders).await
}
