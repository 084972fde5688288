//! The harness of moves: two servers, the estate on one of them with an application that can be redirected, and the
//! `crossfade` binary as a role without superuser.

mod beside;
pub mod there_and_back;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use crossfade_lab::estate::{
    Application, ApplicationOptions, Route, Story, check_ledger, differences, schema,
};
use crossfade_lab::server::{self, Requirements, Server, ServerOptions};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

use crate::process::{Ended, Process};

/// Owns the tables; applications are it.
pub const APPLICATION: &str = "app";
/// What `crossfade` connects as. No superuser.
pub const ENGINE: &str = "mover";
const PASSWORD: &str = "as on a throwaway server";
const DATABASE: &str = "estate";
/// How long any single step may take.
const STEP_MAX: Duration = Duration::from_secs(900);

/// What of a move is to be tried.
#[derive(Clone, Debug)]
pub struct MovingOptions {
    /// The source's version; the usual one if it is not said.
    pub from: Option<u32>,
    /// The target's.
    pub to: Option<u32>,
    /// See [`schema::rows`].
    pub scale: u32,
    /// Connections that write.
    pub writers: u32,
    /// The target's tables are made by hand, and not from a dump.
    pub existing: bool,
    /// Of the application.
    pub seed: u64,
    /// Between two transactions of a writer.
    pub thinks: Duration,
    /// What `--copy` says.
    pub copy: String,
    /// `pgbench` writes as well, to tables of its own of this scale.
    pub pgbench: Option<u32>,
}

impl Default for MovingOptions {
    fn default() -> Self {
        MovingOptions {
            from: None,
            to: None,
            scale: 1,
            writers: 3,
            existing: false,
            seed: 1,
            thinks: Duration::from_millis(5),
            copy: "auto".to_owned(),
            pgbench: None,
        }
    }
}

/// See the module.
pub struct Moving {
    /// Where the tables come from.
    pub from: Server,
    /// Where they move to.
    pub to: Server,
    /// Where the application writes.
    pub route: Route,
    options: MovingOptions,
    folder: TempDir,
    following: JoinHandle<()>,
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn start(major: Option<u32>) -> Result<Server> {
    let installation = match major {
        Some(major) => Some(server::search(Requirements::major(major)).await?),
        None => None,
    };
    let server = Server::start(ServerOptions {
        installation,
        ..ServerOptions::default()
    })
    .await?;
    server.create_role(APPLICATION, PASSWORD, "").await?;
    server.create_role(ENGINE, PASSWORD, "REPLICATION").await?;
    server.create_database(DATABASE, APPLICATION).await?;
    let superuser = server.connect("postgres", DATABASE).await?;
    superuser
        .batch_execute(&format!(
            "GRANT {APPLICATION} TO {ENGINE}; GRANT CREATE ON DATABASE {DATABASE} TO {ENGINE};
             GRANT pg_read_all_stats TO {ENGINE}"
        ))
        .await?;
    server.announce();
    Ok(server)
}

impl Moving {
    /// Two servers, and the estate on the first.
    ///
    /// # Errors
    /// A server or the estate cannot be made.
    pub async fn start(options: MovingOptions) -> Result<Moving> {
        let (from, to) = (start(options.from).await?, start(options.to).await?);
        schema::build(&from.connect(APPLICATION, DATABASE).await?, options.scale).await?;
        if options.existing {
            let target = to.connect(APPLICATION, DATABASE).await?;
            target.batch_execute(&schema::create()).await?;
            target.batch_execute(schema::finish()).await?;
            target.batch_execute(WITHOUT_WHAT_ACTS).await?;
        }
        if let Some(scale) = options.pgbench {
            beside::initialize(&from, scale).await?;
            if options.existing {
                beside::create_tables(&to).await?;
            }
        }
        Moving::between(from, to, options)
    }

    fn between(from: Server, to: Server, options: MovingOptions) -> Result<Moving> {
        let folder = TempDir::new()?;
        let leader = folder.path().join("leader");
        let route = Route::new(from.connection(APPLICATION, DATABASE));
        let places = [&from, &to].map(|server| server.connection(APPLICATION, DATABASE));
        let following = tokio::spawn(follow(leader, route.clone(), places));
        Ok(Moving {
            from,
            to,
            route,
            options,
            folder,
            following,
        })
    }

    /// Two servers with empty databases.
    ///
    /// # Errors
    /// A server cannot be made.
    pub async fn bare() -> Result<Moving> {
        Moving::between(start(None).await?, start(None).await?, MovingOptions::default())
    }

    /// Two servers with empty databases in that encoding, which compare by bytes.
    ///
    /// # Errors
    /// A server cannot be made.
    pub async fn encoded(encoding: &str) -> Result<Moving> {
        let moving = Moving::bare().await?;
        for server in [&moving.from, &moving.to] {
            let superuser = server.connect("postgres", "postgres").await?;
            for sql in [
                format!("DROP DATABASE {DATABASE}"),
                format!(
                    "CREATE DATABASE {DATABASE} OWNER {APPLICATION} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
                ),
                format!("GRANT CREATE ON DATABASE {DATABASE} TO {ENGINE}"),
            ] {
                superuser.batch_execute(&sql).await?;
            }
        }
        Ok(moving)
    }

    /// Starts the application.
    ///
    /// # Errors
    /// It cannot connect.
    pub async fn application(&self) -> Result<Application> {
        let options = ApplicationOptions {
            writers: self.options.writers,
            seed: self.options.seed,
            scale: self.options.scale,
            pause: self.options.thinks,
            ..ApplicationOptions::default()
        };
        Ok(Application::start(&self.route, &options).await?)
    }

    /// Starts `crossfade move` of everything, whose hook leads the application over.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_move(&self, more: &[&str]) -> Result<Process> {
        let hook = format!(
            "printf %s \"$CROSSFADE_DIRECTION\" > '{0}/new' && mv '{0}/new' '{0}/leader'",
            self.folder.path().display()
        );
        let from = if self.options.existing { "existing" } else { "dump" };
        let mut arguments = vec!["--all", "--yes", "--name", "estate", "--hook-switch", &hook];
        arguments.extend(["--schema-from", from, "--copy", &self.options.copy]);
        arguments.extend(more);
        self.crossfade_move((&self.from, &self.to), &arguments)
    }

    /// The same with hooks of the caller's own.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_move_hooked(&self, more: &[&str]) -> Result<Process> {
        let mut arguments = vec!["--all", "--yes", "--name", "estate"];
        arguments.extend(more);
        self.crossfade_move((&self.from, &self.to), &arguments)
    }

    /// Goes on with the move by `crossfade continue`.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_again(&self, more: &[&str]) -> Result<Process> {
        self.become_engine("continue", more)
    }

    /// Goes back by `crossfade rollback`, where no engine runs.
    ///
    /// # Errors
    /// It does not start.
    pub fn start_back(&self, more: &[&str]) -> Result<Process> {
        self.become_engine("rollback", more)
    }

    fn become_engine(&self, verb: &str, more: &[&str]) -> Result<Process> {
        let (from, to) = (self.engine(&self.from), self.engine(&self.to));
        let mut arguments = vec![verb, "estate", "--from", &from, "--url", &to];
        arguments.extend(["--json", "--color", "never"]);
        arguments.extend(more);
        Process::start(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }

    /// What `crossfade move --plan` says.
    ///
    /// # Errors
    /// It does not start or end.
    pub async fn plan_move(&self, more: &[&str]) -> Result<Ended> {
        self.plan_between(&self.from, &self.to, more).await
    }

    /// The same between two servers.
    ///
    /// # Errors
    /// As [`Moving::plan_move`].
    pub async fn plan_between(&self, from: &Server, to: &Server, more: &[&str]) -> Result<Ended> {
        let mut arguments = vec!["--plan", "--name", "estate"];
        arguments.extend(more);
        self.crossfade_move((from, to), &arguments)?.end().await
    }

    fn crossfade_move(&self, (from, to): (&Server, &Server), more: &[&str]) -> Result<Process> {
        let (from, to) = (self.engine(from), self.engine(to));
        let mut arguments = vec!["move"];
        arguments.extend(more);
        arguments.extend(["--from", &from, "--to", &to, "--json", "--color", "never"]);
        Process::start(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())
    }

    /// The database on both servers.
    pub fn database(&self) -> &'static str {
        DATABASE
    }

    /// A file of this test's own.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until the engine follows in that leg and has compared everything.
    ///
    /// # Errors
    /// Not in time, or the engine has ended.
    pub async fn verified(&self, engine: &mut Process, leg: u64) -> Result<()> {
        self.reached(engine, &format!("ready in leg {leg}"), |progress| {
            progress["leg"] == leg && progress["verified"] == true
        })
        .await
    }

    /// Waits until that leg has begun.
    ///
    /// # Errors
    /// As [`Moving::verified`].
    pub async fn led(&self, engine: &mut Process, leg: u64) -> Result<()> {
        self.reached(engine, &format!("leg {leg}"), |progress| {
            progress["leg"].as_u64() >= Some(leg)
        })
        .await
    }

    async fn reached(&self, engine: &mut Process, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        let deadline = Instant::now() + STEP_MAX;
        loop {
            let status = self.status().await.unwrap_or_default();
            if status["engine"].is_object() && is_so(&status["progress"]) {
                return Ok(());
            }
            if !engine.is_running()? {
                anyhow::bail!(
                    "waiting for {what}, the engine ended: {}",
                    engine.ended_early().await?
                );
            }
            ensure!(Instant::now() < deadline, "waited in vain for {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn engine(&self, server: &Server) -> String {
        server.connection(ENGINE, DATABASE)
    }

    /// Runs an operator's command, which takes the target.
    ///
    /// # Errors
    /// It does not start or end.
    pub async fn operate(&self, verb: &str, more: &[&str]) -> Result<Ended> {
        let mut arguments = vec![verb, "estate"];
        arguments.extend(more);
        let to = self.engine(&self.to);
        arguments.extend(["--url", &to, "--json", "--color", "never"]);
        Process::start(&arguments.into_iter().map(str::to_owned).collect::<Vec<_>>())?
            .end()
            .await
    }

    /// The same for commands that take both servers.
    ///
    /// # Errors
    /// As [`Moving::operate`].
    pub async fn operate_both(&self, verb: &str, more: &[&str]) -> Result<Ended> {
        let from = self.engine(&self.from);
        let mut arguments = vec!["--from", &from];
        arguments.extend(more);
        self.operate(verb, &arguments).await
    }

    /// What `status` says of the move; null before there is one.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn status(&self) -> Result<Value> {
        let ended = self.operate("status", &[]).await?;
        Ok(ended
            .object
            .pointer("/migrations/0")
            .cloned()
            .unwrap_or(Value::Null))
    }

    /// A session on one of the servers, as the application.
    ///
    /// # Errors
    /// It cannot connect.
    pub async fn client(&self, server: &Server) -> Result<Client> {
        Ok(server.connect(APPLICATION, DATABASE).await?)
    }

    /// The place of a server, as the application's story has it.
    pub fn place(&self, server: &Server) -> String {
        server.connection(APPLICATION, DATABASE)
    }

    /// Once the application has ended: nothing was lost or invented against its ledger where it wrote last.
    ///
    /// # Errors
    /// Something was, with all of it.
    pub async fn check_story(&self, leader: &Server, story: &Story) -> Result<()> {
        ensure!(
            story.failures.is_empty(),
            "the application failed: {:#?}",
            story.failures
        );
        let wrong = check_ledger(&self.client(leader).await?, story).await?;
        ensure!(wrong.is_empty(), "against the ledger: {wrong:#?}");
        Ok(())
    }

    /// Once the application has ended: waits until the follower has everything, and compares every row.
    ///
    /// # Errors
    /// Rows differ.
    pub async fn check_rows(&self, leader: &Server, follower: &Server) -> Result<()> {
        let (leader, follower) = (self.client(leader).await?, self.client(follower).await?);
        let deadline = Instant::now() + STEP_MAX;
        loop {
            let found = differences(&leader, &follower).await?;
            let rows: Vec<&String> = found.iter().filter(|line| line.contains(" rows")).collect();
            if rows.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "rows differ: {rows:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What the target has of the catalogs, once it leads, is what a fresh estate has.
    ///
    /// # Errors
    /// Something is missing, or too much.
    pub async fn check_catalogs(&self) -> Result<()> {
        let fresh = start(None).await?;
        schema::build(&fresh.connect(APPLICATION, DATABASE).await?, 1).await?;
        if self.options.pgbench.is_some() {
            beside::initialize(&fresh, 1).await?;
        }
        let found = differences(&self.client(&fresh).await?, &self.client(&self.to).await?).await?;
        let wrong: Vec<&String> = found
            .iter()
            .filter(|line| !line.contains(" rows") && !line.starts_with("sequence "))
            .collect();
        ensure!(wrong.is_empty(), "the catalogs differ: {wrong:#?}");
        Ok(())
    }
}

const WITHOUT_WHAT_ACTS: &str = "DO $$ DECLARE k record; BEGIN
    FOR k IN SELECT conrelid::regclass AS t, conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', k.t, k.conname);
    END LOOP;
    FOR k IN SELECT tgrelid::regclass AS t, tgname FROM pg_trigger WHERE NOT tgisinternal AND tgparentid = 0 LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', k.tgname, k.t);
    END LOOP; END $$";

/// Leads the application to where the hook says.
async fn follow(leader: PathBuf, route: Route, [source, target]: [String; 2]) {
    loop {
        match std::fs::read_to_string(&leader).as_deref() {
            Ok("forward") => route.redirect(target.clone()),
            Ok("back") => route.redirect(source.clone()),
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits for commits at a place.
///
/// # Errors
/// They do not come.
pub async fn more_commits(application: &Application, place: &str, count: u64) -> Result<()> {
    tokio::time::timeout(STEP_MAX, application.more_commits_at(place, count))
        .await
        .with_context(|| {
            let progress = application.progress();
            format!("{count} more commits at {place}: {progress:?}")
        })
}
