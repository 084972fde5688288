//! An engine that hangs: its process is stopped, its machine sleeps, its network is away. It cannot give a lock back;
//! the server must.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::app::{Orders, RETYPE, TABLE};
use crossfade_tests::stage::{ENGINE, Stage};
use crossfade_tests::until;
use rustix::process::Signal;

use super::{ROWS, WRITERS};

/// The cutover soon asks for its lock although a transaction with an old snapshot is there, and then waits for that
/// one, under the lock.
const LIMITS: [(&str, &str); 3] = [
    ("lock_timeout", "2s"),
    ("hold_budget", "4s"),
    ("cutover_max", "2s"),
];

const LOCKED: &str = "\
SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE relation = 'public.orders'::regclass AND mode = 'AccessExclusiveLock' AND granted
                  AND usename = $1)";

#[tokio::test]
async fn an_engine_that_hangs_under_the_lock_keeps_nobody_waiting() -> Result<()> {
    let stage = Stage::shared().await?;
    let orders = Orders::start(&stage, ROWS, WRITERS, 1).await?;
    let file = stage.change_file(TABLE, &[RETYPE], &LIMITS)?;
    let mut engine = stage.run_change(&file, &[])?;
    stage.reached_by(&mut engine, Phase::Ready).await?;
    let reader = stage.client().await?;
    reader
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class")
        .await?;
    let witness = stage.superuser().await?;
    stage.operate("cutover", &[]).await?.expect(0)?;
    until::so("the lock", async || {
        Ok(witness.query_one(LOCKED, &[&ENGINE]).await?.get(0))
    })
    .await?;
    engine.signal(Signal::STOP)?;
    let held: bool = witness.query_one(LOCKED, &[&ENGINE]).await?.get(0);
    ensure!(held, "the engine was stopped under the lock");
    orders.goes_on(20).await?;
    engine.signal(Signal::CONT)?;
    reader.batch_execute("COMMIT").await?;
    // The lost session ends the attempt; the engine begins again, and does not have to be asked again.
    engine.end().await?.expect(0)?;
    ensure!(stage.column_type(TABLE, "id").await? == "bigint");
    orders.stop_and_compare().await?;
    Ok(())
}
