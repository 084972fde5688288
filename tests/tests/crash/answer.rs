//! The connection is lost at the swap's COMMIT, with the work done and not done: the transaction's own fate decides,
//! and nothing is swapped twice (R29).

use anyhow::{Result, ensure};
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::process::Process;
use crossfade_tests::proxy::{Fault, Proxy};
use crossfade_tests::stage::{Stage, arguments_to};

use super::{ROWS, WRITERS};

/// Statements of the swap's transaction hold this, and no other transaction's do.
const SWAP: &str = "SET SCHEMA";

async fn lost_at_the_swap(fault: Fault, times: u32) -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let proxy = Proxy::start(stage.server().port(), SWAP, fault, times).await?;
    let (name, url) = (stage.name().as_str(), stage.engine_through(proxy.port()));
    let more = ["--way-back", "none", "--cutover", "auto"];
    let run = stage.arguments(&["run", "--yes"], TABLE, RETYPE, &more);
    let ended = Process::start(&arguments_to(&url, &run))?
        .end()
        .await?
        .expect(0)?;
    ensure!(
        proxy.struck() == times,
        "the COMMIT met its fault {} times",
        proxy.struck()
    );
    ensure!(
        stage.column_type(TABLE, "id").await? == "bigint",
        "{}",
        ended.object
    );
    let swaps = "SELECT count(*) FROM crossfade.audit WHERE migration = $1 AND what = 'swapped'";
    let swapped: i64 = stage.superuser().await?.query_one(swaps, &[&name]).await?.get(0);
    ensure!(swapped == 1, "committed {swapped} swaps");
    orders.goes_on(20).await?;
    orders.stop_and_compare().await?;
    Ok(())
}

#[tokio::test]
async fn a_swap_whose_answer_is_lost_is_not_swapped_again() -> Result<()> {
    lost_at_the_swap(Fault::LoseAnswer, 1).await
}

#[tokio::test]
async fn a_swap_that_never_arrived_is_tried_again() -> Result<()> {
    lost_at_the_swap(Fault::LoseCommit, 2).await
}
