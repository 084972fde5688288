//! Repeats a history of the simulator's world on a server: one session for each open transaction and snapshot, every
//! step when the one before it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use crossfade_core::change::{Change, StreamItem, TransactionPart};
use crossfade_core::name::TableName;
use crossfade_core::piece::MESSAGE_PREFIX;
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_replication::reader::{Reader, ReaderHandle, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::{HandOut, Shape, ShapeColumn};
use crossfade_replication::slot;
use crossfade_replication::transport::Connection;
use crossfade_sim::{Script, Step};
use crossfade_tests::stage::Stage;
use crossfade_tests::until;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::text::{self, COLUMNS};

/// A statement that waits for a lock at all is a difference: the world's writers do not choose it.
const NO_LOCK: Duration = Duration::from_secs(5);

/// A session of a writer.
struct Session {
    client: Arc<Client>,
    pid: i32,
}

/// An open transaction, by the server's id.
struct Open {
    session: Session,
    committing: Option<JoinHandle<Result<(), tokio_postgres::Error>>>,
    savepoints: usize,
    asynchronous: bool,
}

/// A snapshot in use.
struct Taken {
    reader: Option<Client>,
    modelled: Snapshot,
    real: Snapshot,
}

/// See the module.
pub(super) struct Player<'a> {
    stage: &'a Stage,
    script: &'a Script,
    table: String,
    superuser: Client,
    idle: Vec<Session>,
    open: BTreeMap<Xid, Open>,
    /// The server's ids by the world's.
    xids: BTreeMap<Xid, Xid>,
    snapshots: Vec<Taken>,
    stream: Delivered,
}

impl<'a> Player<'a> {
    /// Makes the table with its first rows, and a slot behind them.
    pub(super) async fn start(stage: &'a Stage, number: usize, script: &'a Script) -> Result<Self> {
        let table = format!("history_{number}");
        let owner = stage.client().await?;
        let create = text::create(&table, script.respelled, script.unique);
        owner.batch_execute(&create).await?;
        for row in &script.base {
            owner.batch_execute(&text::insert(&table, row)).await?;
        }
        let publish = format!("CREATE PUBLICATION {table} FOR TABLE {table}");
        owner.batch_execute(&publish).await?;
        let superuser = stage.superuser().await?;
        let stream = Delivered::of(stage, &superuser, &table).await?;
        Ok(Player {
            stage,
            script,
            table,
            superuser,
            idle: Vec::new(),
            open: BTreeMap::new(),
            xids: BTreeMap::new(),
            snapshots: Vec::new(),
            stream,
        })
    }

    pub(super) async fn play(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Begin { xid, asynchronous } => self.begin(*xid, *asynchronous).await,
            Step::Write(xid, write) => self.write(*xid, write).await,
            Step::Save(xid) => {
                let open = self.open_mut(*xid)?;
                let number = open.savepoints;
                open.savepoints += 1;
                self.run(*xid, &format!("SAVEPOINT s{number}")).await
            }
            Step::RollBackTo { xid, savepoint } => {
                self.open_mut(*xid)?.savepoints = savepoint + 1;
                self.run(*xid, &format!("ROLLBACK TO s{savepoint}")).await
            }
            Step::Commit(xid) => self.commit(*xid).await,
            Step::BecomeVisible(xid) => self.become_visible(*xid).await,
            Step::RollBack(xid) => {
                self.run(*xid, "ROLLBACK").await?;
                self.close(*xid)
            }
            Step::TakeSnapshot(modelled) => self.take_snapshot(modelled).await,
            Step::Read { snapshot, rows } => self.read(*snapshot, rows).await,
        }
    }

    fn open_mut(&mut self, xid: Xid) -> Result<&mut Open> {
        self.open.get_mut(&xid).context("find the transaction")
    }

    async fn run(&mut self, xid: Xid, statement: &str) -> Result<()> {
        let open = self.open_mut(xid)?;
        Ok(open.session.client.batch_execute(statement).await?)
    }

    async fn begin(&mut self, xid: Xid, asynchronous: bool) -> Result<()> {
        let session = match self.idle.pop() {
            Some(session) => session,
            None => self.connect().await?,
        };
        // What changes nothing does not wait for a standby, and would be visible early.
        let durable = match (asynchronous, self.delivers(xid)) {
            (true, _) => "off",
            (false, true) => "on",
            (false, false) => "local",
        };
        let begin = format!("BEGIN; SET LOCAL synchronous_commit = {durable}");
        session.client.batch_execute(&begin).await?;
        let id = session
            .client
            .query_one("SELECT pg_current_xact_id()::text", &[])
            .await?;
        let id = Xid(id.get::<_, &str>(0).parse()?);
        let before = self.xids.last_key_value();
        ensure!(
            before.is_none_or(|(_, before)| *before < id),
            "{id:?} after {before:?}"
        );
        self.xids.insert(xid, id);
        let open = Open {
            session,
            committing: None,
            savepoints: 0,
            asynchronous,
        };
        self.open.insert(xid, open);
        Ok(())
    }

    async fn connect(&self) -> Result<Session> {
        let client = self.stage.client().await?;
        let limit = format!("SET lock_timeout = {}", NO_LOCK.as_millis());
        client.batch_execute(&limit).await?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        Ok(Session {
            client: Arc::new(client),
            pid,
        })
    }

    async fn write(&mut self, xid: Xid, write: &crossfade_sim::Write) -> Result<()> {
        let statement = text::statement(&self.table, write);
        let touched = self
            .open_mut(xid)?
            .session
            .client
            .execute(&statement, &[])
            .await?;
        let is_truncate = matches!(write, crossfade_sim::Write::Truncate);
        ensure!(is_truncate || touched == 1, "{touched} rows were touched");
        Ok(())
    }

    /// Whether the world delivers a change of that transaction.
    fn delivers(&self, xid: Xid) -> bool {
        self.script
            .delivered
            .iter()
            .any(|(delivered, _)| *delivered == xid)
    }

    /// The commit record is in the log. What waits for the standby is known to be there once it is delivered, and is
    /// not visible then.
    async fn commit(&mut self, xid: Xid) -> Result<()> {
        let waits = self.delivers(xid) && !self.open_mut(xid)?.asynchronous;
        if !waits {
            return self.run(xid, "COMMIT").await;
        }
        let open = self.open_mut(xid)?;
        let client = Arc::clone(&open.session.client);
        open.committing = Some(tokio::spawn(async move { client.batch_execute("COMMIT").await }));
        let id = self.xids[&xid];
        self.stream.until(|part| part.xid == id.0 as u32).await
    }

    /// Ends the wait for the standby: the server says so with a warning, and the commit stands.
    async fn become_visible(&mut self, xid: Xid) -> Result<()> {
        let open = self.open_mut(xid)?;
        if let Some(committing) = open.committing.take() {
            let pid = open.session.pid;
            ensure!(
                !committing.is_finished(),
                "the server did not hold its commit back"
            );
            self.superuser
                .query_one("SELECT pg_cancel_backend($1)", &[&pid])
                .await?;
            committing.await??;
        }
        self.close(xid)
    }

    fn close(&mut self, xid: Xid) -> Result<()> {
        let open = self.open.remove(&xid).context("find the transaction")?;
        self.idle.push(open.session);
        Ok(())
    }

    async fn take_snapshot(&mut self, modelled: &Snapshot) -> Result<()> {
        let reader = self.stage.client().await?;
        reader
            .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            .await?;
        let real = reader
            .query_one("SELECT pg_current_snapshot()::text", &[])
            .await?;
        self.snapshots.push(Taken {
            reader: Some(reader),
            modelled: modelled.clone(),
            real: real.get::<_, &str>(0).parse()?,
        });
        Ok(())
    }

    async fn read(&mut self, snapshot: usize, expected: &[crossfade_core::change::Row]) -> Result<()> {
        let reader = self.snapshots[snapshot].reader.take();
        let reader = reader.context("find the snapshot's session")?;
        let found = rows(&reader, &self.table).await?;
        let real = &self.snapshots[snapshot].real;
        ensure!(found == expected, "snapshot {real} sees {found:?}");
        Ok(())
    }

    /// Every snapshot sees the same transactions in both, also of those that began after it.
    pub(super) fn compare_snapshots(&self) -> Result<()> {
        for (number, taken) in self.snapshots.iter().enumerate() {
            let (modelled, real) = (&taken.modelled, &taken.real);
            let expected: BTreeSet<Xid> = modelled.in_progress().map(|xid| self.xids[&xid]).collect();
            let found: BTreeSet<Xid> = real.in_progress().collect();
            ensure!(
                found == expected,
                "snapshot {number} {real}: in progress are {expected:?}"
            );
            for (xid, id) in &self.xids {
                let (expected, found) = (modelled.sees(*xid), real.sees(*id));
                ensure!(
                    found == expected,
                    "snapshot {number} {real}: sees {id:?}: {found}"
                );
            }
        }
        Ok(())
    }

    pub(super) async fn rows(&self) -> Result<Vec<crossfade_core::change::Row>> {
        rows(&self.superuser, &self.table).await
    }

    /// What was delivered, all of it: the last thing in the log is a message.
    pub(super) async fn compare_delivered(&mut self) -> Result<()> {
        let mark = "SELECT pg_logical_emit_message(true, $1, 'the end')";
        self.superuser.query(mark, &[&MESSAGE_PREFIX]).await?;
        self.stream.until(|part| !part.messages.is_empty()).await?;
        self.stream.transactions.pop();
        let names: BTreeMap<u32, Xid> = self.xids.iter().map(|(xid, id)| (id.0 as u32, *xid)).collect();
        let mut end = Lsn::default();
        let mut found = Vec::new();
        for transaction in std::mem::take(&mut self.stream.transactions) {
            let commit = transaction.commit_lsn.context("read a whole transaction")?;
            let (start, xid) = (transaction.final_lsn, transaction.xid);
            ensure!(
                end <= start && start < commit,
                "{xid}: {start} to {commit} after {end}"
            );
            end = commit;
            let changes = transaction.changes.into_iter().map(text::change);
            let name = *names.get(&xid).context("know the transaction")?;
            found.push((name, changes.collect::<Result<Vec<Change>>>()?));
        }
        for (found, expected) in found.iter().zip(&self.script.delivered) {
            ensure!(
                found == expected,
                "delivered was {found:?}, and in the world {expected:?}"
            );
        }
        let (found, expected) = (found.len(), self.script.delivered.len());
        ensure!(
            found == expected,
            "{found} transactions were delivered, and in the world {expected}"
        );
        Ok(())
    }

    /// Removes the slot, of which a server has only so many.
    pub(super) async fn end(self) -> Result<()> {
        let Player {
            stage, table, stream, ..
        } = self;
        stream.stop().await?;
        let mut connection = Connection::open(&ConnectConfig::parse(&stage.engine())?).await?;
        slot::drop(&mut connection, &table).await?;
        Ok(())
    }
}

async fn rows(session: &Client, table: &str) -> Result<Vec<crossfade_core::change::Row>> {
    let select = format!("SELECT {} FROM {table} ORDER BY key", COLUMNS.join(", "));
    let messages = session.simple_query(&select).await?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(found) => Some(text::row(found)),
        _ => None,
    });
    rows.collect()
}

/// The slot's stream, through the engine's reader.
struct Delivered {
    handle: ReaderHandle,
    batches: mpsc::Receiver<Vec<StreamItem>>,
    /// Whole ones, as the parts of each are put together.
    transactions: Vec<TransactionPart>,
}

impl Delivered {
    async fn of(stage: &Stage, superuser: &Client, table: &str) -> Result<Self> {
        let connect = ConnectConfig::parse(&stage.engine())?;
        let mut connection = Connection::open(&connect).await?;
        let slot = slot::create(&mut connection, table).await?;
        let select = "SELECT attrelid, attname::text, atttypid FROM pg_attribute
                       WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum";
        let columns = superuser.query(select, &[&table]).await?;
        let options = ReaderOptions {
            connect,
            slot: table.to_owned(),
            publication: table.to_owned(),
            shapes: vec![Shape {
                oid: columns.first().context("find the columns")?.get(0),
                table: TableName::new("public", table),
                former_name: None,
                columns: columns
                    .iter()
                    .map(|column| ShapeColumn {
                        name: column.get(1),
                        type_oid: column.get(2),
                    })
                    .collect(),
                key_columns: vec![0],
                full_identity: false,
                partitioned: false,
                hands_out: HandOut::Rows,
            }],
            binary: false,
            start: slot.consistent_point,
            history: None,
            limits: ReaderLimits::default(),
        };
        let (handle, batches) = Reader::start(options);
        Ok(Delivered {
            handle,
            batches,
            transactions: Vec::new(),
        })
    }

    /// Receives until such a transaction has come.
    async fn until(&mut self, wanted: impl Fn(&TransactionPart) -> bool) -> Result<()> {
        while !self
            .transactions
            .iter()
            .any(|part| part.commit_lsn.is_some() && wanted(part))
        {
            match tokio::time::timeout(until::DEADLINE, self.batches.recv()).await {
                Ok(Some(items)) => items.into_iter().for_each(|item| self.add(item)),
                Ok(None) => bail!("the reader ended"),
                Err(_) => bail!("it is never delivered"),
            }
        }
        Ok(())
    }

    fn add(&mut self, item: StreamItem) {
        let StreamItem::Transaction(part) = item else {
            return;
        };
        match self.transactions.last_mut() {
            Some(whole) if !part.first => {
                whole.changes.extend(part.changes);
                whole.messages.extend(part.messages);
                whole.commit_lsn = part.commit_lsn;
            }
            _ => self.transactions.push(part),
        }
    }

    async fn stop(self) -> Result<()> {
        self.handle.stop();
        Ok(self.handle.join().await?)
    }
}
