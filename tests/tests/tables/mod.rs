//! Tables out of the ordinary, changed while they are written to, in both ways to copy: keys whose order or equality
//! only the server knows, identities other than the primary key, huge values, thousands of subtransactions.
//!
//! The **twin** is the oracle: a table of the same definition that the same transactions change alike.

mod huge;
mod keys;
mod subtransactions;

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_core::phase::Phase;
use crossfade_tests::process::Process;
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// A way to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Copy {
    Snapshot,
    Incremental,
}

impl Copy {
    const BOTH: [Copy; 2] = [Copy::Snapshot, Copy::Incremental];

    fn word(self) -> &'static str {
        match self {
            Copy::Snapshot => "snapshot",
            Copy::Incremental => "incremental",
        }
    }
}

/// A table and its twin, on the shared server.
struct Pair {
    stage: Stage,
    client: Client,
}

impl Pair {
    /// With these columns and constraints, and `n`, which the change makes wider.
    async fn new(columns: &str) -> Result<Pair> {
        let stage = Stage::shared().await?;
        let client = stage.client().await?;
        client.batch_execute("CREATE SCHEMA twin").await?;
        both(
            &client,
            &format!("CREATE TABLE {{t}} (n integer NOT NULL, {columns})"),
        )
        .await?;
        Ok(Pair { stage, client })
    }

    /// Runs statements on `{t}` for both, in one transaction.
    async fn both(&self, statements: &str) -> Result<()> {
        both(&self.client, statements).await
    }

    /// Starts the change; it waits for the cutover to be asked for.
    async fn start(&self, copy: Copy) -> Result<Process> {
        // Small chunks, and slow enough that what a test does comes between them.
        let limits = [("chunk_time", "1ms"), ("chunk_delay", "50ms")];
        let file = self
            .stage
            .change_file("t", &["ALTER COLUMN n TYPE bigint"], &limits)?;
        self.stage
            .run_change(&file, &["--cutover", "manual", "--copy", copy.word()])
    }

    /// Waits until it is ready, and cuts over.
    async fn cut_over(&self, mut engine: Process) -> Result<()> {
        self.stage.reached_by(&mut engine, Phase::Ready).await?;
        self.stage.operate("cutover", &[]).await?.expect(0)?;
        engine.end().await?.expect(0)?;
        let now = self.stage.column_type("t", "n").await?;
        ensure!(now == "bigint", "the new table is in place: n is {now}");
        Ok(())
    }

    /// Waits until so many chunks are copied, and says how many it found.
    async fn chunks(&self, count: i64) -> Result<i64> {
        let superuser = self.stage.superuser().await?;
        let copied = "SELECT count(*) FROM crossfade.chunk WHERE migration = $1";
        until::some(format!("{count} chunks are copied"), || async {
            let name = self.stage.name().as_str();
            let found: i64 = superuser.query_one(copied, &[&name]).await?.get(0);
            Ok((found >= count).then_some(found))
        })
        .await
    }

    /// Both have the same rows, of which there are some.
    async fn compare(&self) -> Result<()> {
        let twins = "SELECT (SELECT count(*) FROM (TABLE public.t EXCEPT ALL TABLE twin.t) AS x),
                            (SELECT count(*) FROM (TABLE twin.t EXCEPT ALL TABLE public.t) AS y),
                            (SELECT count(*) FROM public.t)";
        let row = self.client.query_one(twins, &[]).await?;
        let (more, missing, rows): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        ensure!(
            more == 0 && missing == 0,
            "{more} rows too many, {missing} are missing"
        );
        ensure!(rows > 0, "the table is empty");
        Ok(())
    }
}

async fn both(client: &Client, statements: &str) -> Result<()> {
    let [table, twin] = ["public.t", "twin.t"].map(|table| statements.replace("{t}", table));
    Ok(client.batch_execute(&format!("{table};\n{twin}")).await?)
}

/// A writer that changes both tables until it is told to stop.
struct Writer {
    commits: watch::Receiver<i64>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<()>>,
}

impl Writer {
    /// Runs the statements in turn; `{i}` is the round's number, from 1 on.
    async fn start(pair: &Pair, statements: &'static [&'static str]) -> Result<Writer> {
        let client = pair.stage.client().await?;
        let (counted, commits) = watch::channel(0);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(async move {
            for (round, statement) in (1..).zip(statements.iter().cycle()) {
                if *stopped.borrow() {
                    break;
                }
                both(&client, &statement.replace("{i}", &round.to_string())).await?;
                counted.send_replace(round);
            }
            Ok(())
        });
        Ok(Writer { commits, stop, task })
    }

    /// Waits for so many more commits.
    async fn goes_on(&mut self, count: i64) -> Result<()> {
        let goal = *self.commits.borrow() + count;
        let going = self.commits.wait_for(|commits| *commits >= goal);
        match tokio::time::timeout(until::DEADLINE, going).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => (&mut self.task).await?.context("keep writing"),
            Err(_) => bail!("the writer stands still"),
        }
    }

    async fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?
    }
}
