//! What an engine keeps the server from doing, watched from outside: the age of its snapshots, which hold back vacuum,
//! and the WAL that its slots retain.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;
use crossfade_core::name::MigrationName;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::stage::Stage;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The most that was seen while rows were copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// The oldest snapshot.
    pub snapshot: Duration,
    /// Chunks that others of the engine's sessions committed while one snapshot was held.
    pub chunks: i64,
    /// WAL that a slot retained, in bytes, in the first and in the second half of the time.
    pub wal: [u64; 2],
    /// WAL that was written, by everybody, from the first look to the last.
    pub written: u64,
    /// The insert position at the first look.
    began: Option<i64>,
    /// Looks at a session with a snapshot.
    pub looks: u64,
}

/// Looks until it is asked for what it saw.
pub struct Watch {
    stop: watch::Sender<bool>,
    looking: JoinHandle<Result<Held>>,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn begin(stage: &Stage) -> Result<Watch> {
        let client = stage.superuser().await?;
        let name = stage.name().clone();
        let (stop, stopped) = watch::channel(false);
        let looking = tokio::spawn(look_on(client, name, stopped));
        Ok(Watch { stop, looking })
    }

    /// What it saw.
    ///
    /// # Errors
    /// What the server answered meanwhile.
    pub async fn end(self) -> Result<Held> {
        self.stop.send_replace(true);
        self.looking.await?
    }
}

async fn look_on(client: Client, name: MigrationName, stop: watch::Receiver<bool>) -> Result<Held> {
    let mut held = Held::default();
    let mut chunks_at_first = HashMap::new();
    let mut retained = Vec::new();
    while !*stop.borrow() {
        retained.extend(look(&client, &name, &mut held, &mut chunks_at_first).await?);
        tokio::time::sleep(LOOK).await;
    }
    let (first, second) = retained.split_at(retained.len() / 2);
    held.wal = [first, second].map(|half| half.iter().copied().max().unwrap_or(0));
    Ok(held)
}

/// One look, while rows are copied; returns the WAL that is retained. A transaction is told from the next one of its
/// session by its virtual transaction id. The server reads a session's start and its snapshot one after the other, so a
/// session that ends its transaction between them has the one without the other.
async fn look(
    client: &Client,
    name: &MigrationName,
    held: &mut Held,
    chunks_at_first: &mut HashMap<String, i64>,
) -> Result<Option<u64>> {
    let copying = "SELECT (SELECT count(*) FROM crossfade.chunk WHERE migration = $1)
                     FROM crossfade.migration WHERE name = $1 AND phase = 'copying'";
    let there = "SELECT to_regclass('crossfade.migration') IS NOT NULL";
    if !client.query_one(there, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let Some(row) = client.query_opt(copying, &[&name.as_str()]).await? else {
        return Ok(None);
    };
    let chunks: i64 = row.get(0);
    let snapshots = "
        SELECT virtualtransaction, (1000 * extract(epoch FROM clock_timestamp() - xact_start))::bigint
          FROM pg_stat_activity JOIN pg_locks USING (pid)
         WHERE application_name = $1 AND backend_xmin IS NOT NULL AND locktype = 'virtualxid' AND granted
           AND backend_type = 'client backend' AND xact_start IS NOT NULL";
    for row in client.query(snapshots, &[&name.application_name()]).await? {
        let first = *chunks_at_first.entry(row.get(0)).or_insert(chunks);
        let age = Duration::from_millis(row.get::<_, i64>(1).try_into().unwrap_or(0));
        held.snapshot = held.snapshot.max(age);
        held.chunks = held.chunks.max(chunks - first);
        held.looks += 1;
    }
    let retained = "SELECT coalesce(max(pg_current_wal_insert_lsn() - restart_lsn), 0)::bigint,
                           (pg_current_wal_insert_lsn() - '0/0')::bigint
                      FROM pg_replication_slots WHERE database = current_database()";
    let row = client.query_one(retained, &[]).await?;
    let (wal, now): (i64, i64) = (row.get(0), row.get(1));
    let began = *held.began.get_or_insert(now);
    held.written = (now - began).try_into().unwrap_or(0);
    Ok(Some(wal.try_into().unwrap_or(0)))
}
