//! The examples of `docs/examples`, each under writers, in both ways to copy: rows come and go, change their key and
//! move from one new table to another.
//!
//! The **twin** is the oracle, as in `tables`: every transaction changes the table and its twin alike, until the swap
//! takes the old shape away and with it the writers' last transaction. Behind the swap writers of the new shape change
//! the new tables and **twins** of them, until the rollback takes those away.

mod back;
mod examples;
mod found;
mod view;

use std::ops::RangeInclusive;
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
    /// The new tables.
    tables: &'static [&'static str],
    /// As `look`, of the new tables.
    new_look: &'static str,
    /// What writers of the new shape do to the tables of the schema `{s}`; `{k}`, `{n}` and `{new}` as in `writes`.
    new_writes: &'static [&'static str],
    /// The rows that must be the same as those which the file's query reads from the new tables' twins.
    old: &'static str,
    /// A new row of the old shape, of the key `{new}`.
    insert: &'static str,
}

/// What one writer does, again and again.
#[derive(Clone)]
struct Work {
    look: String,
    writes: Vec<&'static str>,
    /// What every write is done to: `{s}` is a schema, `{t}` a table.
    sides: [(&'static str, String); 2],
    /// What `{k}` is taken from.
    keys: RangeInclusive<u64>,
    /// Keys that nobody has had are above it.
    new_keys: u64,
    /// Between two transactions of a writer.
    thinks: Duration,
}

/// Keys from 1 on that are there at the beginning.
const KEYS: u64 = 5000;
const WRITERS: u64 = 3;
/// Three writers at full speed are faster than an engine that is built for debugging.
const THINKS: Duration = Duration::from_millis(15);

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/examples")
        .join(file)
}

impl Example {
    /// The query of the old shape in its file.
    fn query(&self) -> Result<String> {
        let file: toml::Table = std::fs::read_to_string(example(self.file))?.parse()?;
        let query = file["old_shape"]["query"].as_str().context("a query")?;
        Ok(query.to_owned())
    }
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
        let mut split = Split {
            stage,
            example,
            commits: Arc::new(AtomicU64::new(0)),
            writers: JoinSet::new(),
        };
        let work = Work {
            look: example.look.to_owned(),
            writes: example.writes.to_vec(),
            sides: ["public", "twin"].map(|schema| (schema, format!("{schema}.{}", example.table))),
            keys: 1..=KEYS,
            new_keys: 1_000_000,
            thinks: THINKS,
        };
        split.work(work, seed).await?;
        Ok(split)
    }

    async fn work(&mut self, work: Work, seed: u64) -> Result<()> {
        for writer in 0..WRITERS {
            let client = self.stage.client().await?;
            let random = ChaCha8Rng::seed_from_u64(seed ^ writer << 32);
            let commits = Arc::clone(&self.commits);
            self.writers
                .spawn(write(client, work.clone(), random, writer, commits));
        }
        Ok(())
    }

    /// Starts the change; it waits for the cutover to be asked for.
    pub(crate) fn run(&self, more: &[&str]) -> Result<Process> {
        // Writers take the new tables in any order, and one of them is in the way of many an attempt.
        let limits = ["--limit", "chunk_time=20ms", "--limit", "lock_timeout=500ms"];
        let more = [&["--cutover", "manual"], &limits[..], more].concat();
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

    /// Verified while writers write, swapped, and the same as the twin. Then writers of the new shape are at work.
    pub(crate) async fn swap(self, engine: Process) -> Result<(Split, Process)> {
        let (mut split, engine) = self.swap_only(engine).await?;
        split.work_in_the_new_shape(1..=KEYS, THINKS).await?;
        Ok((split, engine))
    }

    async fn swap_only(mut self, mut engine: Process) -> Result<(Split, Process)> {
        self.stage.reached_by(&mut engine, Phase::Ready).await?;
        self.goes_on(50).await?;
        self.stage.operate("verify", &[]).await?.expect(0)?;
        self.stage.operate("cutover", &[]).await?.expect(0)?;
        self.stage.reached_by(&mut engine, Phase::Swapped).await?;
        self.writers_end().await?;
        self.compare().await?;
        let client = self.stage.client().await?;
        client.batch_execute("CREATE SCHEMA twins").await?;
        for table in self.example.tables {
            let copy = format!(
                "CREATE TABLE twins.{table} (LIKE public.{table} INCLUDING ALL); INSERT INTO twins.{table} TABLE public.{table}"
            );
            client.batch_execute(&copy).await.context(copy)?;
        }
        Ok((self, engine))
    }

    async fn work_in_the_new_shape(&mut self, keys: RangeInclusive<u64>, thinks: Duration) -> Result<()> {
        let work = Work {
            look: self.example.new_look.to_owned(),
            writes: self.example.new_writes.to_vec(),
            sides: ["public", "twins"].map(|schema| (schema, String::new())),
            keys,
            thinks,
            new_keys: 10_000_000,
        };
        self.work(work, 17).await
    }

    /// Waits until the retired table follows. How far behind it is also says what other tests write to the same server.
    pub(crate) async fn follows_back(&self, engine: &mut Process) -> Result<()> {
        let ready = until::so("the retired table follows".to_owned(), || async {
            Ok(self.stage.status().await?["way_back"]["ready"] == true)
        });
        tokio::select! {
            ready = ready => ready,
            said = engine.ended_early() => anyhow::bail!("before the retired table followed it ended: {}", said?),
        }
    }

    /// Every write to the new tables is in the old one, which is in its place.
    pub(crate) async fn roll_back(mut self, engine: Process) -> Result<Stage> {
        self.roll_back_only(engine).await?;
        let client = self.stage.client().await?;
        client.batch_execute("SET search_path = twins; ANALYZE").await?;
        same(&client, self.example.old, &self.example.query()?).await?;
        Ok(self.stage)
    }

    async fn roll_back_only(&mut self, engine: Process) -> Result<()> {
        self.goes_on(50).await?;
        self.stage.operate("rollback", &[]).await?.expect(0)?;
        engine.end().await?.expect(0)?;
        self.writers_end().await
    }

    async fn writers_end(&mut self) -> Result<()> {
        while let Some(writer) = self.writers.join_next().await {
            writer??;
        }
        Ok(())
    }

    async fn compare(&self) -> Result<()> {
        let client = self.stage.client().await?;
        for (new, twin) in self.example.equal {
            same(&client, new, twin).await?;
        }
        Ok(())
    }
}

/// Two queries have the same rows.
async fn same(client: &Client, new: &str, twin: &str) -> Result<()> {
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
    Ok(())
}

/// Until the table is not what it was.
async fn write(
    mut client: Client,
    work: Work,
    mut random: ChaCha8Rng,
    writer: u64,
    commits: Arc<AtomicU64>,
) -> Result<()> {
    let mut new = work.new_keys * (writer + 1);
    'again: loop {
        let transaction = client.transaction().await?;
        match transaction.batch_execute(&work.look).await {
            Err(error) if has_another_shape(&error) => return Ok(()),
            done => done.with_context(|| work.look.clone())?,
        }
        let count = random.random_range(1..4);
        let writes: Vec<&str> = (0..count)
            .map(|_| work.writes[random.random_range(0..work.writes.len())])
            .collect();
        transaction.batch_execute(alone(&writes)).await?;
        for write in writes {
            new += 1;
            let write = write
                .replace("{k}", &random.random_range(work.keys.clone()).to_string())
                .replace("{n}", &random.random_range(0..100_000).to_string())
                .replace("{new}", &new.to_string());
            for (schema, table) in &work.sides {
                let sql = write.replace("{t}", table).replace("{s}", schema);
                match transaction.batch_execute(&sql).await {
                    // Somebody else has moved the row to another partition.
                    Err(error) if error.code() == Some(&SqlState::T_R_SERIALIZATION_FAILURE) => {
                        continue 'again;
                    }
                    done => done.with_context(|| sql.clone())?,
                }
            }
        }
        transaction.commit().await?;
        commits.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(work.thinks).await;
    }
}

/// Whoever writes to a range writes alone: what somebody else puts into it or changes there between a statement and its
/// twin would be met by the one and not by the other.
fn alone(writes: &[&str]) -> &'static str {
    match writes.iter().any(|write| write.contains("BETWEEN")) {
        true => "SELECT pg_advisory_xact_lock(1)",
        false => "SELECT pg_advisory_xact_lock_shared(1)",
    }
}

/// The swap has taken the table, or the column, away.
fn has_another_shape(error: &tokio_postgres::Error) -> bool {
    let gone = [SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_TABLE];
    error.code().is_some_and(|code| gone.contains(code))
}
