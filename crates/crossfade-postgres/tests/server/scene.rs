//! A server with two ordinary roles, the engine's and the application's, and a table that both use.

use std::future::Future;
use std::time::Duration;

use crossfade_lab::server::{Server, ServerOptions};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};

pub(crate) const DATABASE: &str = "app";

pub(crate) struct Scene {
    pub(crate) server: Server,
    /// The engine's role, which owns the table `public.t`.
    pub(crate) engine: Session,
    /// A second session of it.
    pub(crate) witness: Session,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        let server = Server::start(ServerOptions::default()).await.unwrap();
        server.announce();
        server.create_role("engine", "", "REPLICATION").await.unwrap();
        server.create_role("application", "", "").await.unwrap();
        server.create_database(DATABASE, "engine").await.unwrap();
        let engine = open(&server, "engine").await;
        let table = "CREATE TABLE public.t (id int PRIMARY KEY); GRANT ALL ON public.t TO application";
        engine.batch_execute(table).await.unwrap();
        let witness = open(&server, "engine").await;
        Scene {
            server,
            engine,
            witness,
        }
    }

    pub(crate) fn config(&self, role: &str) -> ConnectConfig {
        ConnectConfig::parse(&self.server.connection(role, DATABASE)).unwrap()
    }

    /// A session of the application.
    pub(crate) async fn application(&self) -> Session {
        open(&self.server, "application").await
    }

    /// Until the condition holds, or for a minute.
    pub(crate) async fn until<F: Future<Output = bool>>(&self, condition: impl Fn() -> F) {
        let poll = async {
            while !condition().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), poll).await.unwrap();
    }
}

async fn open(server: &Server, role: &str) -> Session {
    let config = ConnectConfig::parse(&server.connection(role, DATABASE)).unwrap();
    Session::open(&config.with_application_name(role), &SessionOptions::default())
        .await
        .unwrap()
}
