//! The examples of `docs/examples`, each under writers, in both ways to copy: rows come and go, change their key and
//! move from one new table to another.
//!
//! The **twin** is the oracle, as in `tables`: every transaction changes the table and its twin alike, until the swap
//! takes the old shape away and with it the writers' last transaction.

mod examples;
mod found;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// What is split, and what shall come of it.
pub(crate) struct Example {
    /// The file in `docs/examples`.
    file: &'static str,
    /// Makes and fills `{t}`; run in both schemas.
    setup: &'static str,
    /// The table's name.
    table: &'static str,
    /// Keeps the table in its old shape while a transaction lives; fails when it has another one.
    look: &'static str,
    /// What writers do to `{t}`; `{k}` is a key that may be there, `{n}` any number, `{new}` a key that was not yet.
    writes: &'static [&'static str],
    /// Each a query over the new tables, and one over the twin that must have the same rows.
    equal: &'static [(&'static str, &'static str)],
}

/// Keys from 1 on that are there at the beginning.
const KEYS: u64 = 5000;
const WRITERS: u64 = 3;
/// Between two transactions of a writer.
const THINKS: Duration = Duration::from_millis(8);

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/examples")
        .join(file)
}

/// One example on a stage.
pub(crate) struct Split {
    pub(crate) stage: Stage,
    example: &'static Example,
    commits: Arc<AtomicU64>,
    writers: JoinSet<Result<()>>,
}

impl Split {
    pub(crate) async fn start(example: &'static Example, seed: u64) -> Result<Split> {
        let stage = Stage::shared().await?;
        let client = stage.client().await?;
        client.batch_execute("CREATE SCHEMA twin").await?;
        for schema in ["public", "twin"] {
            let setup = format!("SET search_path = {schema}; {}; RESET search_path", example.setup);
            client
                .batch_execute(&setup)
                .await
                .with_context(|| setup.clone())?;
        }
        let commits = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for writer in 0..WRITERS {
            let client = stage.client().await?;
            let random = ChaCha8Rng::seed_from_u64(seed ^ writer << 32);
            writers.spawn(write(client, example, random, writer, Arc::clone(&commits)));
        }
        Ok(Split {
            stage,
            example,
            commits,
            writers,
        })
    }

    /// Starts the change; it waits for the cutover to be asked for.
    pub(crate) fn run(&self, more: &[&str]) -> Result<Process> {
        let more = [&["--cutover", "manual", "--limit", "chunk_time=20ms"], more].concat();
        self.stage.run_change(&example(self.example.file), &more)
    }

    /// Waits for so many more transactions.
    pub(crate) async fn goes_on(&self, count: u64) -> Result<()> {
        let goal = self.commits.load(Ordering::Relaxed) + count;
        until::so(format!("{count} more transactions"), || async {
            Ok(self.commits.load(Ordering::Relaxed) >= goal)
        })
        .await
    }

    /// Verified while writers write, swapped, and the same as the twin.
    pub(crate) async fn finish(mut self, mut engine: Process) -> Result<Stage> {
        self.stage.reached_by(&mut engine, Phase::Ready).await?;
        self.goes_on(50).await?;
        self.stage.operate("verify", &[]).await?.expect(0)?;
        self.stage.operate("cutover", &[]).await?.expect(0)?;
        engine.end().await?.expect(0)?;
        while let Some(writer) = self.writers.join_next().await {
            writer??;
        }
        self.compare().await?;
        Ok(self.stage)
    }

    async fn compare(&self) -> Result<()> {
        let client = self.stage.client().await?;
        for (new, twin) in self.example.equal {
            let (new, twin) = (
                format!("SELECT n::text FROM ({new}) AS n"),
                format!("SELECT n::text FROM ({twin}) AS n"),
            );
            let both = format!(
                "SELECT (SELECT count(*) FROM ({new}) AS n), (SELECT count(*) FROM ({new} EXCEPT ALL {twin}) AS x),
                        (SELECT count(*) FROM ({twin} EXCEPT ALL {new}) AS y)"
            );
            let row = client.query_one(&both, &[]).await.with_context(|| both.clone())?;
            let (rows, more, missing): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            ensure!(
                rows > 0 && more == 0 && missing == 0,
                "{new}: {rows} rows, {more} too many, {missing} missing"
            );
        }
        Ok(())
    }
}

/// Until the table is not what it was.
async fn write(
    mut client: Client,
    example: &'static Example,
    mut random: ChaCha8Rng,
    writer: u64,
    commits: Arc<AtomicU64>,
) -> Result<()> {
    let mut new = 1_000_000 * (writer + 1);
    loop {
        let transaction = client.transaction().await?;
        match transaction.batch_execute(example.look).await {
            Err(error) if has_another_shape(&error) => return Ok(()),
            done => done.context(example.look)?,
        }
        for _ in 0..random.random_range(1..4) {
            new += 1;
            let write = example.writes[random.random_range(0..example.writes.len())];
            let write = write
                .replace("{k}", &random.random_range(1..=KEYS).to_string())
                .replace("{n}", &random.random_range(0..100_000).to_string())
                .replace("{new}", &new.to_string());
            for schema in ["public", "twin"] {
                let sql = write.replace("{t}", &format!("{schema}.{}", example.table));
                transaction
                    .batch_execute(&sql)
                    .await
                    .with_context(|| sql.clone())?;
            }
        }
        transaction.commit().await?;
        commits.fetch_add(1, Ordering::Relaxed);
        // Three writers at full speed are faster than an engine that is built for debugging.
        tokio::time::sleep(THINKS).await;
    }
}

/// The swap has taken the table, or the column, away.
fn has_another_shape(error: &tokio_postgres::Error) -> bool {
    let gone = [SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_TABLE];
    error.code().is_some_and(|code| gone.contains(code))
}
