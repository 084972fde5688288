//! A server, and the results of a run on it.

use std::path::Path;

use crossfade_bench::ground::Ground;
use crossfade_bench::machine::Machine;
use crossfade_bench::record::{Record, Suite};
use crossfade_bench::server::ServerFacts;
use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;

/// A throwaway server.
pub(crate) struct Scene {
    server: Server,
    pub(crate) ground: Ground,
}

impl Scene {
    pub(crate) async fn start() -> Scene {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        let connection = server.superuser();
        let config = ConnectConfig::parse(&connection).unwrap();
        let ground = Ground::new(config, connection);
        Scene { server, ground }
    }

    /// What is there so far, or nothing.
    pub(crate) async fn record(&self, path: Option<&Path>, again: &[Suite]) -> Record {
        let admin = self.ground.admin().await.unwrap();
        let server = ServerFacts::read(&admin).await.unwrap();
        Record::open(path, again, Machine::here(), server).unwrap()
    }

    /// Databases and slots that are ours.
    pub(crate) async fn traces(&self) -> Vec<String> {
        let client = self.server.connect("postgres", "postgres").await.unwrap();
        let traces = "SELECT datname::text FROM pg_database WHERE datname LIKE 'crossfade%'
                UNION ALL SELECT slot_name::text FROM pg_replication_slots";
        let rows = client.query(traces, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// The same server, that is to reach itself by this.
    pub(crate) fn ground_by(&self, connection: &str) -> Ground {
        let config = ConnectConfig::parse(&self.server.superuser()).unwrap();
        Ground::new(config, connection)
    }

    pub(crate) async fn execute(&self, sql: &str) {
        let client = self.server.connect("postgres", "postgres").await.unwrap();
        client.batch_execute(sql).await.unwrap();
    }
}

/// What was told, one thing after the other.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Vec<String>);

impl Told {
    pub(crate) fn hear(&mut self) -> impl FnMut(&str) {
        |what| self.0.push(what.to_owned())
    }
}
