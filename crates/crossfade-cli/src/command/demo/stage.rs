//! The demo's stage: a throwaway server with a filled table, its owner, and an engine's role without superuser.

use crossfade_lab::compare::{self, Comparison};
use crossfade_lab::grants::Grants;
use crossfade_lab::ledger::Ledger;
use crossfade_lab::orders::{Column, Size, schema};
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_lab::writers::{WriterOptions, Writers};
use crossfade_postgres::connect::ConnectConfig;

use crate::args::Demo;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::units::count;

/// The migration's name.
pub(super) const MIGRATION: &str = "orders";
/// What it changes.
pub(super) const TABLE: &str = "orders";
/// The column that it adds, and what is in it.
const ADDED: (&str, &str) = ("priority", "0");

const DATABASE: &str = "shop";
/// Owns the tables; the writers are it.
const OWNER: &str = "shop";
const ENGINE: &str = "crossfade";
/// What the writers do follows from it, but for who comes first.
const SEED: u64 = 1;

/// See the module. Dropping it leaves neither process nor file.
pub(super) struct Stage {
    server: Server,
    size: Size,
}

impl Stage {
    /// Starts the server and fills the table.
    pub(super) async fn build(console: Console, typed: &Demo) -> Result<Stage, Failure> {
        console.note("Starting a throwaway PostgreSQL …");
        let server = Server::start(options()).await.map_err(Failure::no_access)?;
        let size = Size {
            orders: typed.rows.into(),
        };
        let stage = Stage { server, size };
        console.note(&format!(
            "PostgreSQL {}, fsync and synchronous_commit on. Filling `{TABLE}` with {} rows …",
            stage.server.version(),
            count(typed.rows.into())
        ));
        stage.fill().await?;
        Ok(stage)
    }

    async fn fill(&self) -> Result<(), Failure> {
        let server = &self.server;
        for (role, attributes) in [(OWNER, ""), (ENGINE, "")] {
            // Nobody logs in with it: both come in by the socket.
            let password = format!("{role} of a demo");
            server
                .create_role(role, &password, attributes)
                .await
                .map_err(Failure::no_access)?;
        }
        server
            .create_database(DATABASE, OWNER)
            .await
            .map_err(Failure::no_access)?;
        let grants = Grants {
            engine: ENGINE,
            database: DATABASE,
            schema: "public",
            owner: OWNER,
        };
        let superuser = server
            .connect(SUPERUSER, DATABASE)
            .await
            .map_err(Failure::no_access)?;
        superuser
            .batch_execute(&grants.script())
            .await
            .map_err(Failure::no_access)?;
        let owner = server
            .connect(OWNER, DATABASE)
            .await
            .map_err(Failure::no_access)?;
        schema::build(&owner, self.size).await.map_err(Failure::no_access)
    }

    /// Lets the writers go.
    pub(super) async fn writers(&self, typed: &Demo) -> Result<Writers, Failure> {
        let options = WriterOptions {
            connection: self.server.connection(OWNER, DATABASE),
            writers: typed.writers.into(),
            seed: SEED,
            size: self.size,
        };
        Writers::start(&options).await.map_err(Failure::no_access)
    }

    /// How the engine connects.
    pub(super) fn engine_connection(&self) -> Result<ConnectConfig, Failure> {
        Ok(ConnectConfig::parse(&self.server.connection(ENGINE, DATABASE))?)
    }

    /// The whole table against the ledger.
    pub(super) async fn compare(&self, ledger: &Ledger) -> Result<Comparison, Failure> {
        let client = self
            .server
            .connect(OWNER, DATABASE)
            .await
            .map_err(Failure::no_access)?;
        let columns = Column::ALL.map(|column| column.name().to_owned());
        let target = compare::Target {
            table: TABLE.to_owned(),
            columns: columns.into_iter().chain([ADDED.0.to_owned()]).collect(),
        };
        let compared = compare::compare(&client, &target, ledger, |mut row| {
            row.push(Some(ADDED.1.to_owned()));
            row
        });
        compared.await.map_err(Failure::no_access)
    }

    /// Such as `15.10`.
    pub(super) fn server_version(&self) -> &str {
        self.server.version()
    }
}

/// As on a user's server: every commit is flushed, checkpoints are an hour's matter and not a minute's.
fn options() -> ServerOptions {
    let options = ServerOptions {
        durable: true,
        ..ServerOptions::default()
    };
    options
        .setting("synchronous_commit", "on")
        .setting("max_wal_size", "4GB")
        .setting("shared_buffers", "512MB")
}
