//! Writers that do the same to two tables, until one of them is not what it was.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

/// What one writer does, again and again.
#[derive(Clone)]
pub(super) struct Work {
    /// Keeps the table in its shape while a transaction lives; fails when it has another one.
    pub(super) look: String,
    /// What is done, one or several of them in a transaction.
    pub(super) writes: Vec<&'static str>,
    /// What every write is done to: `{s}` is a schema, `{t}` a table.
    pub(super) sides: [(&'static str, String); 2],
    /// What `{k}` is taken from.
    pub(super) keys: RangeInclusive<u64>,
    /// Keys that nobody has had are above it.
    pub(super) new_keys: u64,
    /// Between two transactions of a writer.
    pub(super) thinks: Duration,
}

/// Until the table is not what it was.
pub(super) async fn write(
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
        transaction.batch_execute(work.alone(&writes, new)).await?;
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

impl Work {
    /// Whoever writes to a range writes alone, and so does whoever makes a key that others may be told to write to: what
    /// comes or changes between a statement and its twin would be met by the one and not by the other.
    fn alone(&self, writes: &[&str], new: u64) -> &'static str {
        let makes_theirs = self.keys.contains(&(new + 1));
        let meets = |write: &&str| write.contains("BETWEEN") || makes_theirs && write.contains("{new}");
        match writes.iter().any(meets) {
            true => "SELECT pg_advisory_xact_lock(1)",
            false => "SELECT pg_advisory_xact_lock_shared(1)",
        }
    }
}

/// The swap has taken the table, or the column, away.
fn has_another_shape(error: &tokio_postgres::Error) -> bool {
    let gone = [SqlState::UNDEFINED_COLUMN, SqlState::UNDEFINED_TABLE];
    error.code().is_some_and(|code| gone.contains(code))
}
