//! A server with a source, its target and an applier; pieces made from SQL.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Weak};

use crossfade_applier::{Applier, ApplyError, Outcome};
use crossfade_core::change::{Cell, Row};
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::piece::{KeyCells, LedgerNote, Piece, Put};
use crossfade_core::plan::{
    CopyMode, CopyStep, Equality, Estimate, Expression, Key, Order, Source, SourceColumn, Target,
    TargetColumn,
};
use crossfade_core::position::Lsn;
use crossfade_core::way_back::{Direction, WayBack};
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::apply::decode;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Generation};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

const ROLE: &str = "engine";

/// The server of all scenes that are alive: a cluster takes longer to make than most tests to run. It lives on a
/// runtime of its own, since each test's ends with the test.
static SERVER: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static DATABASES: AtomicU32 = AtomicU32::new(0);

async fn server() -> Arc<Server> {
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let start = async {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        server.create_role(ROLE, "", "").await.unwrap();
        server
    };
    let server = Arc::new(RUNTIME.spawn(start).await.unwrap());
    server.announce();
    *shared = Arc::downgrade(&server);
    server
}

/// The generation that appliers of a scene are given.
pub(crate) const GENERATION: Generation = Generation(1);

pub(crate) struct Scene {
    server: Arc<Server>,
    database: String,
    /// Looks and prepares, as the engine's role.
    pub(crate) session: Session,
    pub(crate) step: CopyStep,
    pub(crate) name: MigrationName,
}

/// A table `public.t` and its target `shadow.t`, with the same columns unless the test changes the step.
pub(crate) struct Table<'a> {
    /// Runs before the tables are made.
    pub(crate) before: &'a str,
    /// Columns of both tables: names and types.
    pub(crate) columns: &'a [(&'a str, &'a str)],
    /// Positions of the key.
    pub(crate) key: Option<&'a [usize]>,
    /// Table constraints of the target, each with a comma before it.
    pub(crate) constraints: &'a str,
    /// Rows travel in binary.
    pub(crate) binary: bool,
}

impl Default for Table<'_> {
    fn default() -> Self {
        Table {
            before: "",
            columns: &[("id", "integer"), ("u", "integer"), ("note", "text")],
            key: Some(&[0]),
            constraints: "",
            binary: true,
        }
    }
}

impl Scene {
    pub(crate) async fn new(table: Table<'_>) -> Self {
        let server = server().await;
        let database = format!("app{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.create_database(&database, ROLE).await.unwrap();
        let session = open(&server, &database).await;
        session.batch_execute(&definition(&table)).await.unwrap();
        state::ensure(&session).await.unwrap();
        let generation = "INSERT INTO crossfade.generation VALUES ('m', 1)";
        session.batch_execute(generation).await.unwrap();
        state::start_position(&session, "m", Direction::Forward, Lsn(1))
            .await
            .unwrap();
        let row = session
            .query_one("SELECT 'public.t'::regclass::oid", &[])
            .await
            .unwrap();
        Scene {
            server,
            database,
            session,
            step: step(&table, row.get(0)),
            name: "m".parse().unwrap(),
        }
    }

    pub(crate) async fn applier(&self) -> Applier {
        let session = open(&self.server, &self.database).await;
        Applier::prepare(session, &self.step, &self.name, Direction::Forward, GENERATION)
            .await
            .unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.session.batch_execute(sql).await.unwrap();
    }

    /// Rows of a query over the source's columns, as the stream would carry them.
    pub(crate) async fn rows(&self, query: &str) -> Vec<Row> {
        self.cells(query)
            .await
            .into_iter()
            .map(|cells| Row(cells.into()))
            .collect()
    }

    pub(crate) async fn puts(&self, query: &str) -> Vec<Put> {
        self.rows(query)
            .await
            .into_iter()
            .map(|row| Put { row })
            .collect()
    }

    /// Keys, from a query over the key's columns.
    pub(crate) async fn keys(&self, query: &str) -> Vec<KeyCells> {
        self.cells(query)
            .await
            .into_iter()
            .map(|cells| KeyCells(cells.into()))
            .collect()
    }

    async fn cells(&self, query: &str) -> Vec<Vec<Cell>> {
        let format = if self.step.source.binary { "binary" } else { "text" };
        let copy = format!("COPY ({query}) TO STDOUT (FORMAT {format})");
        let messages = self.session.copy_out(&copy).await.unwrap();
        decode::rows(self.step.source.binary, messages, true).unwrap()
    }

    /// The first column of every row, as text.
    pub(crate) async fn texts(&self, query: &str) -> Vec<String> {
        let rows = self.session.query(query, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The target's rows in composite form, by key.
    pub(crate) async fn target(&self) -> Vec<String> {
        self.texts("SELECT t::text FROM shadow.t ORDER BY t").await
    }

    pub(crate) async fn applied(&self) -> Lsn {
        state::position(&self.session, "m", Direction::Forward)
            .await
            .unwrap()
            .unwrap()
    }

    /// That source and target hold the same rows.
    pub(crate) async fn assert_same(&self) {
        let difference = "SELECT 'only in ' || which || ': ' || r FROM (\
             (SELECT 'source' AS which, t::text AS r FROM t EXCEPT ALL SELECT 'source', t::text FROM shadow.t) UNION ALL \
             (SELECT 'target', t::text FROM shadow.t EXCEPT ALL SELECT 'target', t::text FROM t)) AS d";
        assert_eq!(self.texts(difference).await, Vec::<String>::new());
    }
}

async fn open(server: &Server, database: &str) -> Session {
    let config = ConnectConfig::parse(&server.connection(ROLE, database)).unwrap();
    let options = SessionOptions {
        search_path: "public".to_owned(),
        ..SessionOptions::default()
    };
    Session::open(&config, &options).await.unwrap()
}

fn definition(table: &Table<'_>) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|(name, kind)| format!("\"{name}\" {kind}"))
        .collect();
    let columns = columns.join(", ");
    let key: Vec<&str> = table
        .key
        .iter()
        .copied()
        .flatten()
        .map(|position| table.columns[*position].0)
        .collect();
    let key = if key.is_empty() {
        String::new()
    } else {
        format!(", PRIMARY KEY ({})", key.join(", "))
    };
    format!(
        "{before}; CREATE SCHEMA shadow; CREATE TABLE t ({columns}{key}); \
         CREATE TABLE shadow.t ({columns}{key}{constraints})",
        before = table.before,
        constraints = table.constraints,
    )
}

pub(crate) fn expression(sql: &str, reads: &[usize]) -> Expression {
    Expression {
        sql: sql.to_owned(),
        reads: reads.to_vec(),
    }
}

fn step(table: &Table<'_>, oid: u32) -> CopyStep {
    let source_column = |(name, kind): &(&str, &str)| SourceColumn {
        name: (*name).to_owned(),
        type_oid: 0,
        type_name: (*kind).to_owned(),
        equality: Equality::Server,
        order: Order::Server,
    };
    let target_column = |(position, (name, kind)): (usize, &(&str, &str))| TargetColumn {
        name: (*name).to_owned(),
        type_name: (*kind).to_owned(),
        value: expression(&format!("\"{name}\""), &[position]),
    };
    CopyStep {
        source: Source {
            name: TableName::new("public", "t"),
            oid,
            columns: table.columns.iter().map(source_column).collect(),
            key: table.key.map(|key| Key {
                columns: key.to_vec(),
            }),
            identity_to_restore: None,
            full_identity: false,
            binary: table.binary,
            never_missing: Vec::new(),
            each_row_once: false,
            parts: Vec::new(),
            definition: String::new(),
        },
        keeps_source: false,
        targets: vec![Target {
            shadow: TableName::new("shadow", "t"),
            name: TableName::new("public", "t"),
            columns: table.columns.iter().enumerate().map(target_column).collect(),
            key: table.key.map(<[usize]>::to_vec),
            filter: None,
            derived: None,
            partitioned: false,
            definition: String::new(),
        }],
        copy_mode: CopyMode::Snapshot,
        copy_mode_reason: String::new(),
        estimate: Estimate::default(),
        statements: Vec::new(),
        view: None,
        way_back: WayBack::default(),
        back: None,
    }
}

/// A whole batch in one piece.
pub(crate) fn batch(applied: u64, deletes: Vec<KeyCells>, puts: Vec<Put>) -> Piece {
    Piece {
        first: true,
        truncate: false,
        removes: Vec::new(),
        deletes,
        puts,
        applied: Some(Lsn(applied)),
        aligned: None,
        fetched: false,
        ledger: LedgerNote::default(),
    }
}

/// The put with these columns kept.
pub(crate) fn keeping(mut put: Put, columns: &[usize]) -> Put {
    for column in columns {
        put.row.0[*column] = Cell::Unchanged;
    }
    put
}

#[track_caller]
pub(crate) fn assert_applied(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
}

#[track_caller]
pub(crate) fn not_applied(outcome: Outcome) -> ApplyError {
    match outcome {
        Outcome::NotApplied(error) => error,
        Outcome::Pending | Outcome::Applied { .. } | Outcome::Unknown(_) => panic!("{outcome:?}"),
    }
}
