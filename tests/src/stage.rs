//! A database of its own for one test, on the shared server or on one of its own, with the two roles of every
//! scenario: the application, which owns the tables, and the engine, which `docs/grants.sql` lets work.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, anyhow, ensure};
use crossfade_core::name::MigrationName;
use crossfade_core::phase::Phase;
use crossfade_lab::grants::Grants;
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::process::{Ended, Process};
use crate::until;

/// Owns the tables; applications are it.
pub const APPLICATION: &str = "app";
/// What `crossfade` connects as. No superuser.
pub const ENGINE: &str = "engine";
/// The password of both, for connections by TCP.
pub const PASSWORD: &str = "as on a throwaway server";

/// The server of all tests that need no settings of their own. It lives in a runtime of its own, since each test's
/// ends with the test; when this process ends, the server's watchdog removes it.
static SHARED: LazyLock<Result<(Runtime, Server), String>> = LazyLock::new(|| {
    let starting = std::thread::spawn(|| -> Result<(Runtime, Server)> {
        let runtime = Runtime::new()?;
        // Many a test ends with a migration that goes on.
        let options = ServerOptions::default().setting("max_replication_slots", "400");
        let server = runtime.block_on(start(options))?;
        Ok((runtime, server))
    });
    let started = starting
        .join()
        .map_err(|_| "the thread that starts the server panicked".to_owned())?;
    started.map_err(|error| format!("{error:#}"))
});

/// Grants to one role from several databases at once trip over each other in the shared catalogs.
static GRANTING: Mutex<()> = Mutex::const_new(());

static NUMBER: AtomicU32 = AtomicU32::new(1);

/// See the module.
pub struct Stage {
    server: Held,
    database: String,
    engine: String,
    name: MigrationName,
    folder: TempDir,
}

enum Held {
    Shared(&'static Server),
    Own(Box<Server>),
}

impl Deref for Held {
    type Target = Server;

    fn deref(&self) -> &Server {
        match self {
            Held::Shared(server) => server,
            Held::Own(server) => server,
        }
    }
}

impl Stage {
    /// A fresh database on the server that all tests of this program share.
    ///
    /// # Errors
    /// The server or the database cannot be made.
    pub async fn shared() -> Result<Stage> {
        let started = SHARED
            .as_ref()
            .map_err(|error| anyhow!("start the shared server: {error}"))?;
        Stage::on(Held::Shared(&started.1)).await
    }

    /// A database on a server of its own.
    ///
    /// # Errors
    /// The server or the database cannot be made.
    pub async fn own(options: ServerOptions) -> Result<Stage> {
        Stage::on(Held::Own(Box::new(start(options).await?))).await
    }

    /// Another database on the same shared server, whose migration has the same name.
    ///
    /// # Errors
    /// The database cannot be made.
    pub async fn namesake(&self) -> Result<Stage> {
        let Held::Shared(server) = &self.server else {
            anyhow::bail!("a stage has a namesake on the shared server only");
        };
        Stage::named(Held::Shared(server), new_database(), self.name.clone()).await
    }

    /// A database of the same name on a server of its own, whose migration has the same name.
    ///
    /// # Errors
    /// The server or the database cannot be made.
    pub async fn double(&self) -> Result<Stage> {
        let server = start(ServerOptions::default()).await?;
        Stage::named(
            Held::Own(Box::new(server)),
            self.database.clone(),
            self.name.clone(),
        )
        .await
    }

    async fn on(server: Held) -> Result<Stage> {
        let database = new_database();
        // Slots are the server's and not the database's: two tests must not share a name.
        let name = database.replace("shop", "change").parse()?;
        Stage::named(server, database, name).await
    }

    async fn named(server: Held, database: String, name: MigrationName) -> Result<Stage> {
        server.create_database(&database, APPLICATION).await?;
        let stage = Stage {
            name,
            server,
            database,
            engine: ENGINE.to_owned(),
            folder: TempDir::new()?,
        };
        let grants = Grants {
            engine: ENGINE,
            database: &stage.database,
            schema: "public",
            owner: APPLICATION,
        };
        let _one_at_a_time = GRANTING.lock().await;
        stage.superuser().await?.batch_execute(&grants.script()).await?;
        Ok(stage)
    }

    /// From now on engines connect as a role of their own: it has what `crossfade grants` asks for to change that table, and
    /// nothing else.
    ///
    /// # Errors
    /// What `crossfade grants` or the server answered.
    pub async fn grant_afresh(&mut self, table: &str) -> Result<()> {
        let role = format!("granted of {}", self.database);
        let url = self.server.connection(SUPERUSER, &self.database);
        let asked = arguments_to(&url, &["grants", "--table", table, "--to", &role]);
        let asked = Process::start(&asked)?.end().await?.expect(0)?;
        let grants = asked.object["grants"].as_array();
        let grants = grants.with_context(|| format!("find the grants in {}", asked.object))?;
        let _one_at_a_time = GRANTING.lock().await;
        let superuser = self.superuser().await?;
        for grant in grants {
            let statement = grant["statement"].as_str().context("read a grant")?;
            superuser.batch_execute(statement).await?;
        }
        self.engine = role;
        Ok(())
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The server, if it is this stage's own: to restart or kill it.
    pub fn own_server(&mut self) -> Option<&mut Server> {
        match &mut self.server {
            Held::Own(server) => Some(server),
            Held::Shared(_) => None,
        }
    }

    /// Another server, a copy of this one, is the stage's from now on. The former one is given back.
    ///
    /// # Errors
    /// The former one is shared.
    pub fn move_to(&mut self, server: Server) -> Result<Server> {
        match std::mem::replace(&mut self.server, Held::Own(Box::new(server))) {
            Held::Own(former) => Ok(*former),
            Held::Shared(_) => anyhow::bail!("a shared server is nobody's to leave"),
        }
    }

    /// The name that this stage's migration has unless a test gives another one.
    pub fn name(&self) -> &MigrationName {
        &self.name
    }

    /// The database.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// How the application connects.
    pub fn application(&self) -> String {
        self.server.connection(APPLICATION, &self.database)
    }

    /// How the engine connects.
    pub fn engine(&self) -> String {
        self.server.connection(&self.engine, &self.database)
    }

    /// How the engine connects through what listens on that port.
    pub fn engine_through(&self, port: u16) -> String {
        let database = &self.database;
        format!("host=127.0.0.1 port={port} user={ENGINE} password='{PASSWORD}' dbname={database}")
    }

    /// A session of the application.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn client(&self) -> Result<Client> {
        Ok(self.server.connect(APPLICATION, &self.database).await?)
    }

    /// A session of the superuser, who sees everyone.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn superuser(&self) -> Result<Client> {
        Ok(self.server.connect(SUPERUSER, &self.database).await?)
    }

    /// Starts `crossfade` as the engine's role, with `--json`.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn crossfade(&self, arguments: &[&str]) -> Result<Process> {
        Process::start(&arguments_to(&self.engine(), arguments))
    }

    /// Runs `crossfade` to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub async fn ended(&self, arguments: &[&str]) -> Result<Ended> {
        self.crossfade(arguments)?.end().await
    }

    /// Starts `crossfade run` of this stage's migration, without a way back: it ends with the swap.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run(&self, table: &str, alter: &str, more: &[&str]) -> Result<Process> {
        let more = [&["--way-back", "none"], more].concat();
        self.run_with_way_back(table, alter, &more)
    }

    /// Starts `crossfade run` of this stage's migration: it goes on after the swap.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_with_way_back(&self, table: &str, alter: &str, more: &[&str]) -> Result<Process> {
        self.crossfade(&self.arguments(&["run", "--yes"], table, alter, more))
    }

    /// Starts `crossfade run` of this stage's migration, of a change file.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn run_change(&self, file: &Path, more: &[&str]) -> Result<Process> {
        let file = file.display().to_string();
        let run = ["run", "--yes", "--name", self.name.as_str(), "--change", &file];
        self.crossfade(&[&run, more].concat())
    }

    /// A command on this stage's migration that is told the change: `plan`, `run --yes`.
    pub fn arguments<'a>(
        &'a self,
        verb: &[&'a str],
        table: &'a str,
        alter: &'a str,
        more: &[&'a str],
    ) -> Vec<&'a str> {
        let change = ["--name", self.name.as_str(), "--table", table, "--alter", alter];
        [verb, &change, more].concat()
    }

    /// Runs a command on this stage's migration to its end: `abort`, `status`, …
    ///
    /// # Errors
    /// As [`Stage::ended`].
    pub async fn operate(&self, verb: &str, more: &[&str]) -> Result<Ended> {
        let mut arguments = vec![verb, self.name.as_str()];
        arguments.extend(more);
        self.ended(&arguments).await
    }

    /// Writes a change file, without a way back.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn change_file(&self, table: &str, alters: &[&str], limits: &[(&str, &str)]) -> Result<PathBuf> {
        self.write_change("none", table, alters, limits)
    }

    /// Writes a change file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn change_file_with_way_back(
        &self,
        table: &str,
        alters: &[&str],
        limits: &[(&str, &str)],
    ) -> Result<PathBuf> {
        self.write_change("auto", table, alters, limits)
    }

    fn write_change(
        &self,
        way_back: &str,
        table: &str,
        alters: &[&str],
        limits: &[(&str, &str)],
    ) -> Result<PathBuf> {
        let limits = limits.iter().map(|(name, value)| format!("{name} = {value:?}\n"));
        let text = format!(
            "table = {table:?}\nalter = {alters:?}\nway_back = {way_back:?}\n\n[limits]\n{}",
            limits.collect::<String>()
        );
        let file = self.folder.path().join("change.toml");
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// Where a test may put files; gone with the stage.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `crossfade status --json` says of this stage's migration.
    ///
    /// # Errors
    /// There is none.
    pub async fn status(&self) -> Result<Value> {
        let ended = self.operate("status", &[]).await?.expect(0)?;
        let migration = ended.object.pointer("/migrations/0").cloned();
        migration.with_context(|| format!("find a migration in {}", ended.object))
    }

    /// How far this stage's migration has come; `None` before it is stored.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn phase(&self, superuser: &Client) -> Result<Option<Phase>> {
        let there = superuser
            .query_one("SELECT to_regclass('crossfade.migration') IS NOT NULL", &[])
            .await?;
        if !there.get::<_, bool>(0) {
            return Ok(None);
        }
        let select = "SELECT phase FROM crossfade.migration WHERE name = $1";
        let row = superuser.query_opt(select, &[&self.name.as_str()]).await?;
        Ok(row.and_then(|row| Phase::from_word(row.get(0))))
    }

    /// Waits until it has come so far, or farther.
    ///
    /// # Errors
    /// It does not, before the deadline.
    pub async fn reached(&self, phase: Phase) -> Result<()> {
        let superuser = self.superuser().await?;
        until::so(format!("`{}` is {}", self.name, phase.as_str()), || async {
            Ok(self.phase(&superuser).await? >= Some(phase))
        })
        .await
    }

    /// As [`Stage::reached`]; an engine that ends before is a failure, told at once with what it said.
    ///
    /// # Errors
    /// The engine ended, or it is not so before the deadline.
    pub async fn reached_by(&self, engine: &mut Process, phase: Phase) -> Result<()> {
        tokio::select! {
            reached = self.reached(phase) => reached,
            said = engine.ended_early() => {
                // Whoever ended in that very moment may have come so far.
                let now = self.phase(&self.superuser().await?).await?;
                ensure!(now >= Some(phase), "before `{}` it ended: {}", phase.as_str(), said?);
                Ok(())
            }
        }
    }

    /// What is left of a migration: slot, publication, schemas, sessions. Sessions are given the time to end.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn traces(&self) -> Result<Vec<String>> {
        let superuser = self.superuser().await?;
        let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        until::so(format!("the sessions of `{}` end", self.name), || async {
            let row = superuser
                .query_one(sessions, &[&self.name.application_name()])
                .await?;
            Ok(row.get::<_, i64>(0) == 0)
        })
        .await?;
        let traces = "SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_name IN ($1::text, $1::text || '_back')
                UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname IN ($2::text, $2::text || '_back')
                UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname IN ($3::text, $4::text)";
        let name = &self.name;
        let (slot, publication, schema, retired) = (
            name.slot(),
            name.publication(),
            name.schema(),
            name.retired_schema(),
        );
        let rows = superuser
            .query(traces, &[&slot, &publication, &schema, &retired])
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// The type of a column of a table in `public`.
    ///
    /// # Errors
    /// There is no such column.
    pub async fn column_type(&self, table: &str, column: &str) -> Result<String> {
        let select = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                       WHERE attrelid = to_regclass('public.' || $1) AND attname = $2";
        Ok(self
            .superuser()
            .await?
            .query_one(select, &[&table, &column])
            .await?
            .get(0))
    }

    /// How many lines the audit trail has for this stage's migration.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn audit_lines(&self) -> Result<i64> {
        let select = "SELECT count(*) FROM crossfade.audit WHERE migration = $1";
        Ok(self
            .superuser()
            .await?
            .query_one(select, &[&self.name.as_str()])
            .await?
            .get(0))
    }
}

/// The name of one that there is not yet.
fn new_database() -> String {
    format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The arguments of every run.
pub fn arguments_to(url: &str, arguments: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    all.extend(["--json", "--color", "never", "--url", url].map(str::to_owned));
    all
}

async fn start(options: ServerOptions) -> Result<Server> {
    let server = Server::start(options).await?;
    for role in [APPLICATION, ENGINE] {
        server.create_role(role, PASSWORD, "").await?;
    }
    server.announce();
    Ok(server)
}
