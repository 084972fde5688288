//! A server with a source `public.t (id, note)` and an empty target `shadow.t`.

use crossfade_copier::{Copier, CopyError, Outcome, SnapshotKeeper};
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{
    CopyMode, CopyStep, Equality, Estimate, Expression, Order, Source, SourceColumn, Target, TargetColumn,
};
use crossfade_core::way_back::WayBack;
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state::{self, Generation};

const ROLE: &str = "engine";
const DATABASE: &str = "app";

pub(crate) struct Scene {
    server: Server,
    pub(crate) session: Session,
    pub(crate) step: CopyStep,
    name: MigrationName,
}

impl Scene {
    pub(crate) async fn new(fill: &str) -> Self {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        server.announce();
        server.create_role(ROLE, "", "").await.unwrap();
        server.create_database(DATABASE, ROLE).await.unwrap();
        let session = open(&server).await;
        let tables = "CREATE TABLE t (id int, note text); CREATE SCHEMA shadow; \
                      CREATE TABLE shadow.t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, note text)";
        session.batch_execute(tables).await.unwrap();
        session.batch_execute(fill).await.unwrap();
        state::ensure(&session).await.unwrap();
        session
            .batch_execute("INSERT INTO crossfade.generation VALUES ('m', 1)")
            .await
            .unwrap();
        let row = session.query_one("SELECT 't'::regclass::oid", &[]).await.unwrap();
        Scene {
            server,
            session,
            step: step(row.get(0)),
            name: "m".parse().unwrap(),
        }
    }

    pub(crate) async fn open(&self) -> Session {
        open(&self.server).await
    }

    pub(crate) async fn keeper(&self) -> SnapshotKeeper {
        let lock = SnapshotKeeper::lock(self.open().await, &self.step.source)
            .await
            .unwrap();
        lock.import(None).await.unwrap()
    }

    pub(crate) async fn copier(&self) -> Copier {
        Copier::prepare(self.open().await, &self.step, &self.name, Generation(1))
            .await
            .unwrap()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.session.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.session.query_one(query, &[]).await.unwrap().get(0)
    }
}

async fn open(server: &Server) -> Session {
    let config = ConnectConfig::parse(&server.connection(ROLE, DATABASE)).unwrap();
    let options = SessionOptions {
        search_path: "public".to_owned(),
        ..SessionOptions::default()
    };
    Session::open(&config, &options).await.unwrap()
}

#[track_caller]
pub(crate) fn done(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Done(copied) => copied.rows,
        Outcome::NotDone(_) | Outcome::Unknown(_) => panic!("{outcome:?}"),
    }
}

#[track_caller]
pub(crate) fn not_done(outcome: Outcome) -> CopyError {
    match outcome {
        Outcome::NotDone(error) => error,
        Outcome::Done(_) | Outcome::Unknown(_) => panic!("{outcome:?}"),
    }
}

fn step(oid: u32) -> CopyStep {
    let expression = |sql: &str, read| Expression {
        sql: sql.to_owned(),
        reads: vec![read],
    };
    let source_column = |(name, kind): (&str, &str)| SourceColumn {
        name: name.to_owned(),
        type_oid: 0,
        type_name: kind.to_owned(),
        equality: Equality::Bytes,
        order: Order::Server,
    };
    let target_column = |(read, (name, kind)): (usize, (&str, &str))| TargetColumn {
        name: name.to_owned(),
        type_name: kind.to_owned(),
        value: expression(name, read),
    };
    CopyStep {
        source: Source {
            name: TableName::new("public", "t"),
            oid,
            columns: [("id", "integer"), ("note", "text")]
                .into_iter()
                .map(source_column)
                .collect(),
            key: None,
            identity_to_restore: None,
            full_identity: false,
            binary: true,
            never_missing: Vec::new(),
            each_row_once: false,
            parts: Vec::new(),
            definition: String::new(),
        },
        keeps_source: false,
        targets: vec![Target {
            shadow: TableName::new("shadow", "t"),
            name: TableName::new("public", "t"),
            columns: [("id", "bigint"), ("note", "text")]
                .into_iter()
                .enumerate()
                .map(target_column)
                .collect(),
            key: None,
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
