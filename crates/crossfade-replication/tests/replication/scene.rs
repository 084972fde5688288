//! A server with one published table, and a reader on it.

use std::time::Duration;

use crossfade_core::change::{Change, StreamItem, TransactionPart};
use crossfade_core::name::TableName;
use crossfade_core::position::Lsn;
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_replication::assemble::PartLimits;
use crossfade_replication::reader::{ReadError, Reader, ReaderHandle, ReaderLimits, ReaderOptions};
use crossfade_replication::shape::{HandOut, Shape, ShapeColumn};
use crossfade_replication::slot::{self, CreatedSlot};
use crossfade_replication::transport::Connection;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_postgres::Client;

/// Longer than anything takes here.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(5);

pub(crate) const ROLE: &str = "engine";
pub(crate) const DATABASE: &str = "app";
pub(crate) const PASSWORD: &str = "pässword";

/// A server with the table `public.t`, the publication `p` and the slot `s`, all of a role that is no superuser.
pub(crate) struct Scene {
    pub(crate) server: Server,
    /// A session of the owner.
    pub(crate) client: Client,
    /// A session of the superuser, who sees everyone.
    pub(crate) superuser: Client,
    pub(crate) slot: CreatedSlot,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Self {
        let server = server(options).await;
        let client = server.connect(ROLE, DATABASE).await.unwrap();
        let superuser = server.connect("postgres", DATABASE).await.unwrap();
        client
            .batch_execute("CREATE TABLE t (id int PRIMARY KEY, note text); CREATE PUBLICATION p FOR TABLE t")
            .await
            .unwrap();
        let mut connection = Connection::open(&config(&server)).await.unwrap();
        let slot = slot::create(&mut connection, "s").await.unwrap();
        Scene {
            server,
            client,
            superuser,
            slot,
        }
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// The first column of the superuser's first row, as text.
    pub(crate) async fn ask(&self, sql: &str) -> Option<String> {
        let row = self.superuser.query_opt(sql, &[]).await.unwrap();
        row.and_then(|row| row.get(0))
    }

    /// Asks until the answer is as wished.
    pub(crate) async fn wait_until(
        &self,
        sql: &str,
        wished: impl Fn(Option<&str>) -> bool,
    ) -> Option<String> {
        let polling = async {
            loop {
                let answer = self.ask(sql).await;
                if wished(answer.as_deref()) {
                    return answer;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        timeout(DEADLINE, polling)
            .await
            .unwrap_or_else(|_| panic!("never as wished: {sql}"))
    }

    /// The process that streams to us, once there is one and it is not `other`.
    pub(crate) async fn walsender(&self, other: Option<&str>) -> String {
        let sql = "SELECT active_pid::text FROM pg_replication_slots WHERE slot_name = 's'";
        self.wait_until(sql, |pid| pid.is_some() && pid != other)
            .await
            .unwrap()
    }

    pub(crate) async fn terminate(&self, pid: &str) {
        self.ask(&format!("SELECT pg_terminate_backend({pid})::text"))
            .await;
    }

    pub(crate) async fn confirmed(&self) -> Lsn {
        let sql = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 's'";
        self.ask(sql).await.unwrap().parse().unwrap()
    }

    pub(crate) async fn shape(&self) -> Shape {
        let columns = self.client.query(
            "SELECT attname::text, atttypid FROM pg_attribute \
             WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            &[],
        );
        let columns = columns.await.unwrap();
        let row = self.client.query_one(
            "SELECT oid, relreplident = 'f' FROM pg_class WHERE oid = 't'::regclass",
            &[],
        );
        let row = row.await.unwrap();
        Shape {
            former_name: None,
            oid: row.get(0),
            table: TableName::new("public", "t"),
            columns: columns
                .iter()
                .map(|column| ShapeColumn {
                    name: column.get(0),
                    type_oid: column.get(1),
                })
                .collect(),
            key_columns: vec![0],
            full_identity: row.get(1),
            partitioned: false,
            hands_out: HandOut::Rows,
        }
    }

    pub(crate) async fn options(&self) -> ReaderOptions {
        ReaderOptions {
            connect: config(&self.server),
            slot: "s".to_owned(),
            publication: "p".to_owned(),
            shapes: vec![self.shape().await],
            binary: false,
            start: self.slot.consistent_point,
            history: None,
            limits: ReaderLimits {
                retry_first: Duration::from_millis(20),
                ..ReaderLimits::default()
            },
        }
    }

    pub(crate) async fn follow(&self) -> Following {
        Following::start(self.options().await)
    }
}

pub(crate) async fn server(options: ServerOptions) -> Server {
    let server = Server::start(options).await.unwrap();
    server.announce();
    server.create_role(ROLE, PASSWORD, "REPLICATION").await.unwrap();
    server.create_database(DATABASE, ROLE).await.unwrap();
    server
}

pub(crate) fn config(server: &Server) -> ConnectConfig {
    ConnectConfig::parse(&server.connection(ROLE, DATABASE)).unwrap()
}

/// Limits under which nearly nothing is held, and a transaction comes in parts of two changes.
pub(crate) fn narrow() -> ReaderLimits {
    ReaderLimits {
        part: PartLimits {
            changes_max: 2,
            bytes_max: 1 << 20,
        },
        batch_bytes_max: 1,
        batches_max: 1,
        ..ReaderLimits::default()
    }
}

/// A reader and what it has handed out.
pub(crate) struct Following {
    pub(crate) handle: ReaderHandle,
    pub(crate) batches: mpsc::Receiver<Vec<StreamItem>>,
    items: std::collections::VecDeque<StreamItem>,
}

impl Following {
    pub(crate) fn start(options: ReaderOptions) -> Self {
        let (handle, batches) = Reader::start(options);
        Following {
            handle,
            batches,
            items: Default::default(),
        }
    }

    /// The next item; `None` at the reader's end.
    pub(crate) async fn item(&mut self) -> Option<StreamItem> {
        if self.items.is_empty() {
            let batch = timeout(DEADLINE, self.batches.recv()).await;
            self.items
                .extend(batch.expect("an item in time").unwrap_or_default());
        }
        self.items.pop_front()
    }

    /// The next part of a transaction; keepalives are passed over.
    pub(crate) async fn part(&mut self) -> Option<TransactionPart> {
        loop {
            match self.item().await? {
                StreamItem::Transaction(part) => return Some(part),
                StreamItem::Keepalive { .. } => {}
            }
        }
    }

    /// The next change of a transaction that consists of it alone.
    pub(crate) async fn change(&mut self) -> Change {
        let mut part = self.part().await.unwrap();
        assert!(part.first && part.commit_lsn.is_some());
        assert_eq!(part.changes.len(), 1, "{part:?}");
        part.changes.remove(0)
    }

    /// Why the reader ended by itself.
    pub(crate) async fn error(mut self) -> ReadError {
        while self.item().await.is_some() {}
        timeout(DEADLINE, self.handle.join()).await.unwrap().unwrap_err()
    }

    pub(crate) async fn stop(self) {
        self.handle.stop();
        timeout(DEADLINE, self.handle.join()).await.unwrap().unwrap();
    }
}
