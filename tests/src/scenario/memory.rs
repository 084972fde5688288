//! How much memory the tool takes: while it copies many rows, and while it applies one large transaction.

use anyhow::{Result, ensure};
use crossfade_core::phase::Phase;

use crate::memory::watched;
use crate::stage::Stage;

/// The tool's own resident memory stays below this.
pub const LIMIT: u64 = 64 << 20;

/// Copies `rows` rows; returns the tool's peak in bytes.
///
/// # Errors
/// The change failed, or took more than [`LIMIT`].
pub async fn copying(stage: &Stage, rows: u64) -> Result<u64> {
    fill(stage, rows).await?;
    let process = stage.run("t", "ALTER COLUMN id TYPE bigint", &["--cutover", "auto"])?;
    let (ended, peak) = watched(process).await?;
    let ended = ended.expect(0)?;
    ensure!(ended.reported("rows_copied")? == rows, "{}", ended.object);
    below_limit(peak)
}

/// Applies one transaction of `changes` changes, committed while the new table follows.
///
/// # Errors
/// The change failed, rows differ, or it took more than [`LIMIT`].
pub async fn applying(stage: &Stage, changes: u64) -> Result<u64> {
    fill(stage, changes).await?;
    let watching = tokio::spawn(watched(stage.run("t", "ALTER COLUMN id TYPE bigint", &[])?));
    stage.reached(Phase::Ready).await?;
    let client = stage.client().await?;
    client
        .batch_execute("UPDATE t SET n = n + 1, note = note || '.'")
        .await?;
    let sums = "SELECT count(*)::text || ' ' || sum(n)::text || ' ' || sum(length(note))::text FROM t";
    let before: String = client.query_one(sums, &[]).await?.get(0);
    stage.operate("cutover", &[]).await?.expect(0)?;
    let (ended, peak) = watching.await??;
    let ended = ended.expect(0)?;
    ensure!(ended.reported("changes_applied")? >= changes, "{}", ended.object);
    let after: String = client.query_one(sums, &[]).await?.get(0);
    ensure!(before == after, "before {before}, after {after}");
    below_limit(peak)
}

async fn fill(stage: &Stage, rows: u64) -> Result<()> {
    let fill = format!(
        "CREATE TABLE t (id integer, n integer NOT NULL, note text);
         INSERT INTO t SELECT i, i % 1000, 'row ' || i FROM generate_series(1, {rows}) AS i;
         ALTER TABLE t ADD PRIMARY KEY (id);"
    );
    let client = stage.client().await?;
    client.batch_execute(&fill).await?;
    Ok(client.batch_execute("VACUUM ANALYZE t").await?)
}

fn below_limit(peak: u64) -> Result<u64> {
    ensure!(peak > 0, "the peak was never read");
    ensure!(peak < LIMIT, "the tool took {} MB", peak >> 20);
    Ok(peak)
}
