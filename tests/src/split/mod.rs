//! One table split into several under writers: the examples of `docs/examples`, where rows come and go, change their key
//! and move from one new table to another.
//!
//! The **twin** is the oracle: every transaction changes the table and its twin alike, until the swap takes the old shape
//! away and with it the writers' last transaction. Behind the swap writers of the new shape change the new tables and
//! **twins** of them, and writers of the old shape the view of the file and the twin, until the rollback takes those away.

pub mod examples;
mod run;
mod writers;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use crossfade_core::phase::Phase;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::task::JoinSet;
use tokio_postgres::Client;

pub use self::run::{Figures, Options, run};
use self::writers::{Work, write};
use crate::process::Process;
use crate::stage::Stage;
use crate::until;

/// What is split, and what shall come of it.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The file in `docs/examples`.
    pub file: &'static str,
    /// Makes the table and fills it with `{rows}` rows; run in both schemas.
    pub setup: &'static str,
    /// The table's name.
    pub table: &'static str,
    /// Keeps the table in its old shape while a transaction lives; fails when it has another one.
    pub look: &'static str,
    /// What writers do to `{t}`; `{k}` is a key that may be there, `{n}` any number, `{new}` a key that was not yet.
    pub writes: &'static [&'static str],
    /// Each a query over the new tables, and one over the twin that must have the same rows.
    pub equal: &'static [(&'static str, &'static str)],
    /// The new tables.
    pub tables: &'static [&'static str],
    /// As `look`, of the new tables.
    pub new_look: &'static str,
    /// What writers of the new shape do to the tables of the schema `{s}`; `{k}`, `{n}` and `{new}` as in `writes`.
    pub new_writes: &'static [&'static str],
    /// The rows that must be the same as those which the file's query reads from the new tables' twins.
    pub old: &'static str,
    /// A new row of the old shape, of the key `{new}`.
    pub insert: &'static str,
}

/// Rows in a test. No writer touches the last sixth of them.
pub const ROWS: u64 = 6000;
const WRITERS: u64 = 3;
/// Three writers at full speed are faster than an engine that is built for debugging.
pub const THINKS: Duration = Duration::from_millis(15);
/// The view, if it cannot have the table's own name.
const VIEW: &str = "as_it_was";
/// Keys that nobody has had are above it: for writers of the old shape, of the new one, and of the view.
const NEW_KEYS: [u64; 3] = [10_000_000, 100_000_000, 500_000_000];

impl Example {
    /// Its file.
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/examples")
            .join(self.file)
    }

    /// The statements that make the table with so many rows.
    pub fn filled(&self, rows: u64) -> String {
        self.setup.replace("{rows}", &rows.to_string())
    }

    /// The query of the old shape in its file.
    fn query(&self) -> Result<String> {
        let file: toml::Table = std::fs::read_to_string(self.path())?.parse()?;
        let query = file["old_shape"]["query"].as_str().context("a query")?;
        Ok(query.to_owned())
    }
}

/// One example on a stage.
pub struct Split {
    /// Where it is.
    pub stage: Stage,
    example: &'static Example,
    file: PathBuf,
    rows: u64,
    thinks: Duration,
    commits: Arc<AtomicU64>,
    writers: JoinSet<Result<()>>,
}

impl Split {
    /// The table and its twin, and writers at work, on a server that tests share.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn start(example: &'static Example, seed: u64) -> Result<Split> {
        Split::on(Stage::shared().await?, example, ROWS, THINKS, seed).await
    }

    async fn on(
        stage: Stage,
        example: &'static Example,
        rows: u64,
        thinks: Duration,
        seed: u64,
    ) -> Result<Split> {
        let client = stage.client().await?;
        client.batch_execute("CREATE SCHEMA twin").await?;
        for schema in ["public", "twin"] {
            let setup = example.filled(rows);
            let setup = format!("SET search_path = {schema}; {setup}; RESET search_path");
            client
                .batch_execute(&setup)
                .await
                .with_context(|| setup.clone())?;
        }
        let mut split = Split {
            stage,
            example,
            file: example.path(),
            rows,
            thinks,
            commits: Arc::new(AtomicU64::new(0)),
            writers: JoinSet::new(),
        };
        let work = Work {
            look: example.look.to_owned(),
            writes: example.writes.to_vec(),
            sides: ["public", "twin"].map(|schema| (schema, format!("{schema}.{}", example.table))),
            keys: split.keys(),
            new_keys: NEW_KEYS[0],
            thinks,
        };
        split.work(work, seed).await?;
        Ok(split)
    }

    /// Those that are there at the beginning, and that writers know.
    fn keys(&self) -> RangeInclusive<u64> {
        1..=self.rows * 5 / 6
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

    /// Has the file ask for a view of the old shape.
    fn ask_for_view(&mut self) -> Result<()> {
        let view = format!("[old_shape]\nview = \"{VIEW}\"\n");
        self.edit(|text| text.replace("[old_shape]\n", &view))
    }

    /// Changes a copy of the file.
    ///
    /// # Errors
    /// It cannot be written, or is what it was.
    pub fn edit(&mut self, edit: impl Fn(&str) -> String) -> Result<()> {
        let text = std::fs::read_to_string(&self.file)?;
        let edited = edit(&text);
        ensure!(edited != text, "{} is what it was", self.example.file);
        self.file = self.stage.folder().join(self.example.file);
        std::fs::write(&self.file, edited)?;
        Ok(())
    }

    /// Starts the change, or goes on with it; it waits for the cutover to be asked for.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, more: &[&str]) -> Result<Process> {
        // Writers take the new tables in any order, and one of them is in the way of many an attempt.
        let limits = ["--limit", "chunk_time=20ms", "--limit", "lock_timeout=500ms"];
        let more = [&["--cutover", "manual"], &limits[..], more].concat();
        self.stage.run_change(&self.file, &more)
    }

    /// Transactions so far.
    fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Waits for so many more transactions.
    ///
    /// # Errors
    /// There are not so many before the deadline.
    pub async fn goes_on(&self, count: u64) -> Result<()> {
        let goal = self.commits() + count;
        until::so(format!("{count} more transactions"), || async {
            Ok(self.commits() >= goal)
        })
        .await
    }

    /// Verified while writers write, swapped, and the same as the twin. Then writers of the new shape are at work.
    ///
    /// # Errors
    /// Anything that is not as it must be.
    pub async fn swap(mut self, engine: Process) -> Result<(Split, Process)> {
        let engine = self.swap_only(engine).await?;
        self.work_in_the_new_shape(self.keys()).await?;
        Ok((self, engine))
    }

    async fn swap_only(&mut self, mut engine: Process) -> Result<Process> {
        self.cut_over(&mut engine).await?;
        self.compare_and_copy().await?;
        Ok(engine)
    }

    /// Verified while writers write, and swapped, which ends them.
    ///
    /// # Errors
    /// Anything that is not as it must be.
    pub async fn cut_over(&mut self, engine: &mut Process) -> Result<()> {
        self.stage.reached_by(engine, Phase::Ready).await?;
        self.goes_on(50).await?;
        self.verified_by(engine).await?;
        self.stage.operate("cutover", &[]).await?.expect(0)?;
        self.swapped(engine).await
    }

    /// Waits for the swap, which ends the writers.
    ///
    /// # Errors
    /// It does not come, or a writer failed.
    pub async fn swapped(&mut self, engine: &mut Process) -> Result<()> {
        self.stage.reached_by(engine, Phase::Swapped).await?;
        self.writers_end().await
    }

    /// The new tables are the same as the twin.
    ///
    /// # Errors
    /// They are not.
    pub async fn compare(&self) -> Result<()> {
        let client = self.stage.client().await?;
        for (new, twin) in self.example.equal {
            same(&client, new, twin).await?;
        }
        Ok(())
    }

    /// They are, and get twins of their own.
    async fn compare_and_copy(&self) -> Result<()> {
        self.compare().await?;
        let client = self.stage.client().await?;
        client.batch_execute("CREATE SCHEMA twins").await?;
        for table in self.example.tables {
            let copy = format!(
                "CREATE TABLE twins.{table} (LIKE public.{table} INCLUDING ALL); INSERT INTO twins.{table} TABLE public.{table}"
            );
            client.batch_execute(&copy).await.context(copy)?;
        }
        Ok(())
    }

    async fn work_in_the_new_shape(&mut self, keys: RangeInclusive<u64>) -> Result<()> {
        let work = Work {
            look: self.example.new_look.to_owned(),
            writes: self.example.new_writes.to_vec(),
            sides: ["public", "twins"].map(|schema| (schema, String::new())),
            keys,
            thinks: self.thinks,
            new_keys: NEW_KEYS[1],
        };
        self.work(work, 17).await
    }

    /// Writers of the old shape, through the view; those of the new shape keep to rows of their own.
    async fn work_in_both_shapes(&mut self) -> Result<()> {
        let of_the_new_shape = NEW_KEYS[1] + 1..=NEW_KEYS[1] + 100;
        self.work_in_the_new_shape(of_the_new_shape).await?;
        let example = self.example;
        let mut writes: Vec<&str> = example.writes.to_vec();
        writes.retain(|write| !write.contains("ON CONFLICT"));
        writes.push(example.insert);
        let work = Work {
            look: format!("SELECT FROM public.{VIEW} LIMIT 0"),
            writes,
            sides: [
                ("public", format!("public.{VIEW}")),
                ("twin", format!("twin.{}", example.table)),
            ],
            keys: self.keys(),
            new_keys: NEW_KEYS[2],
            thinks: self.thinks,
        };
        self.work(work, 23).await
    }

    /// Verifies; an engine that ends meanwhile is told with what it said.
    async fn verified_by(&self, engine: &mut Process) -> Result<()> {
        let verified = self.stage.operate("verify", &[]).await?;
        if engine.is_running()? {
            verified.expect(0)?;
            return Ok(());
        }
        anyhow::bail!("before it was verified it ended: {}", engine.ended_early().await?)
    }

    /// Waits until the retired table follows, and has everything that was written before.
    ///
    /// # Errors
    /// It does not, or the engine ends.
    pub async fn follows_back(&self, engine: &mut Process) -> Result<()> {
        let pid = engine.pid();
        let now = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let client = self.stage.client().await?;
        let written: i64 = client.query_one(now, &[]).await?.get(0);
        let ready = until::so("the retired table follows".to_owned(), || async {
            let inserted: i64 = client.query_one(now, &[]).await?.get(0);
            let status = self.stage.status().await?;
            let lag = status["way_back"]["lag_bytes"].as_i64();
            let has = lag.is_some_and(|lag| inserted - lag >= written);
            Ok(has && status["way_back"]["ready"] == true && status["engine"]["pid"] == pid)
        });
        tokio::select! {
            ready = ready => ready,
            said = engine.ended_early() => anyhow::bail!("before the retired table followed it ended: {}", said?),
        }
    }

    /// Every write to the new tables is in the old one, which is in its place.
    ///
    /// # Errors
    /// Anything that is not as it must be.
    pub async fn roll_back(mut self, engine: Process) -> Result<Stage> {
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

    /// After writes in both shapes: what was written through the view is what the same statements make of a table of the
    /// old shape.
    async fn both_are_in_the_old_table(&self) -> Result<()> {
        let client = self.stage.client().await?;
        let example = self.example;
        let new = format!("id BETWEEN {} AND {}", NEW_KEYS[1], NEW_KEYS[2] - 1);
        let of = |rows: &str, keys: &str| format!("SELECT * FROM ({rows}) AS r WHERE {keys}");
        let old_twin = example.old.replace("public.", "twin.");
        let others = format!("NOT ({new})");
        same(&client, &of(example.old, &others), &of(&old_twin, &others)).await?;
        client.batch_execute("SET search_path = twins; ANALYZE").await?;
        same(&client, &of(example.old, &new), &of(&example.query()?, &new)).await?;
        let function = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'as_it_was%'";
        let left: i64 = client.query_one(function, &[]).await?.get(0);
        ensure!(left == 0, "its function is left");
        Ok(())
    }

    async fn writers_end(&mut self) -> Result<()> {
        while let Some(writer) = self.writers.join_next().await {
            writer??;
        }
        Ok(())
    }
}

/// Two queries have the same rows, each as often. What differs is looked for only where sums over all rows say that
/// something does: of millions of rows that takes long.
async fn same(client: &Client, new: &str, twin: &str) -> Result<()> {
    let (of_new, of_twin) = (digest(client, new).await?, digest(client, twin).await?);
    ensure!(of_new.0 > 0, "{new}: there are no rows");
    if of_new == of_twin {
        return Ok(());
    }
    let (new, twin) = (
        format!("SELECT n::text FROM ({new}) AS n"),
        format!("SELECT n::text FROM ({twin}) AS n"),
    );
    let both = format!(
        "SELECT (SELECT count(*) FROM ({new} EXCEPT ALL {twin}) AS x),
                (SELECT count(*) FROM ({twin} EXCEPT ALL {new}) AS y),
                (SELECT string_agg(left(n, 200), '; ') FROM (({new} EXCEPT ALL {twin}) LIMIT 3) AS x),
                (SELECT string_agg(left(n, 200), '; ') FROM (({twin} EXCEPT ALL {new}) LIMIT 3) AS y)"
    );
    let row = client.query_one(&both, &[]).await.with_context(|| both.clone())?;
    let (more, missing): (i64, i64) = (row.get(0), row.get(1));
    let first = |column| row.get::<_, Option<String>>(column).unwrap_or_default();
    anyhow::bail!(
        "{new}: {} rows, {more} too many, {missing} missing: {} instead of {}",
        of_new.0,
        first(2),
        first(3)
    )
}

/// How many rows a query has, and the sums of both halves of their digests.
async fn digest(client: &Client, query: &str) -> Result<(i64, String)> {
    let digest = format!(
        "SELECT count(*), coalesce(sum(('x' || left(d, 16))::bit(64)::bigint), 0) || ' '
                       || coalesce(sum(('x' || right(d, 16))::bit(64)::bigint), 0)
           FROM (SELECT md5(n::text) AS d FROM ({query}) AS n) AS digests"
    );
    let row = client
        .query_one(&digest, &[])
        .await
        .with_context(|| digest.clone())?;
    Ok((row.get(0), row.get(1)))
}
