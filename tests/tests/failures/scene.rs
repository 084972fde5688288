//! A database with a table, its twin, an application's sessions, and an engine in this process.
//!
//! The **twin** is the oracle: a table of the same definition that no engine touches and that the application
//! changes by the same statements in the same transactions ([`both`]). In the end the new table has the twin's rows.
//!
//! A **gate** holds the engine at a row: the changed column is computed by `public.gate(number)`, which waits for
//! as long as the test keeps the gate of that number shut. It holds no lock on a table and no transaction id.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crossfade_coordinator::ended::Ended;
use crossfade_coordinator::operate::{self, Request};
use crossfade_coordinator::report::{Report, Status};
use crossfade_coordinator::run::{RunOptions, What, run};
use crossfade_core::cutover::OldSnapshots;
use crossfade_core::limits::Limits;
use crossfade_core::migration::Activity;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::Plan;
use crossfade_core::refusal::Refusal;
use crossfade_lab::grants::Grants;
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::change::{ChangeRequest, CopyRequest};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner::{self, PlanError};
use crossfade_postgres::session::{Session, SessionOptions};
use tokio::runtime::Runtime;
use tokio::sync::{Mutex, OnceCell, watch};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// The application: owns the tables.
pub(super) const APP: &str = "app";
/// The engine: no superuser, what `docs/grants.sql` grants.
pub(super) const ENGINE: &str = "engine";

/// The longest that anything may take; a test that reaches it has failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// One server for all tests: a cluster takes longer to make than most tests to run. It lives on a runtime of its
/// own, since each test's ends with the test; the lab's watchdog removes it when the process ends.
static SERVER: OnceCell<Arc<Server>> = OnceCell::const_new();
static RUNTIME: std::sync::LazyLock<Runtime> =
    std::sync::LazyLock::new(|| Runtime::new().expect("a runtime for the server"));
static NUMBER: AtomicU32 = AtomicU32::new(1);
/// Grants to one role from several databases at once trip over each other in the shared catalogs.
static GRANTING: Mutex<()> = Mutex::const_new(());

pub(super) async fn shared_server() -> Arc<Server> {
    let start = || async { RUNTIME.spawn(server(options())).await.expect("the server starts") };
    Arc::clone(SERVER.get_or_init(start).await)
}

/// What the tests need of a server.
pub(super) fn options() -> ServerOptions {
    ServerOptions::default()
        .setting("max_connections", "300")
        .setting("max_prepared_transactions", "20")
        .setting("max_replication_slots", "60")
        .setting("max_wal_senders", "60")
        .setting("max_wal_size", "4GB")
}

/// A server with the roles.
pub(super) async fn server(options: ServerOptions) -> Arc<Server> {
    let server = Server::start(options).await.unwrap();
    server.announce();
    add_roles(&server).await;
    Arc::new(server)
}

pub(super) async fn add_roles(server: &Server) {
    server.create_role(APP, "", "").await.unwrap();
    server.create_role(ENGINE, "", "").await.unwrap();
}

const GATE: &str = "
CREATE FUNCTION public.gate(number integer) RETURNS bigint LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
    IF number > 0 THEN
        PERFORM pg_catalog.pg_advisory_xact_lock_shared(number);
    END IF;
    RETURN number;
END $$;
CREATE SCHEMA twin;";

/// The change of most tests: only the engine computes it, and a gate can hold it there.
pub(super) const GATED: &str = "ALTER COLUMN gate TYPE bigint USING public.gate(gate)";

pub(super) struct Scene {
    pub(super) server: Arc<Server>,
    pub(super) database: String,
    /// A session of the application.
    pub(super) app: Client,
    /// The migration's name; slots are shared by all databases of a server, so it is unique.
    pub(super) name: MigrationName,
    config: ConnectConfig,
}

/// How to run, beyond the defaults.
pub(super) struct How {
    pub(super) copiers: usize,
    /// Cut over without being asked.
    pub(super) auto: bool,
    pub(super) old_snapshots: OldSnapshots,
}

impl Default for How {
    fn default() -> Self {
        How {
            copiers: 2,
            auto: true,
            old_snapshots: OldSnapshots::Wait,
        }
    }
}

/// The cutover waits to be asked for.
pub(super) const MANUAL: How = How {
    copiers: 2,
    auto: false,
    old_snapshots: OldSnapshots::Wait,
};

impl Scene {
    /// A database of its own on the shared server; `tables` is run by the application.
    pub(super) async fn new(tables: &str) -> Self {
        Self::on(shared_server().await, "", tables).await
    }

    /// On a server of choice; `attributes` are those of `CREATE DATABASE`.
    pub(super) async fn on(server: Arc<Server>, attributes: &str, tables: &str) -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = format!("failures_{number}");
        let postgres = server.connect(SUPERUSER, "postgres").await.unwrap();
        let create = format!("CREATE DATABASE {database} OWNER {APP} {attributes}");
        postgres.batch_execute(&create).await.unwrap();
        let admin = server.connect(SUPERUSER, &database).await.unwrap();
        let grants = Grants {
            engine: ENGINE,
            database: &database,
            schema: "public",
            owner: APP,
        };
        admin
            .batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {APP}"))
            .await
            .unwrap();
        {
            let _one_at_a_time = GRANTING.lock().await;
            admin.batch_execute(&grants.script()).await.unwrap();
        }
        let app = server.connect(APP, &database).await.unwrap();
        app.batch_execute(GATE).await.unwrap();
        app.batch_execute(tables).await.unwrap();
        Scene {
            config: ConnectConfig::parse(&server.connection(ENGINE, &database)).unwrap(),
            name: format!("m{number}").parse().unwrap(),
            server,
            database,
            app,
        }
    }

    /// With `public.t`, of these columns beside `id` and `gate`, and its twin; `rows` is an `INSERT` or more on
    /// `{t}`.
    pub(super) async fn with_twin(columns: &str, rows: &str) -> Self {
        let scene = Scene::new(&gated_table(columns)).await;
        both(&scene.app, rows).await;
        scene
    }

    /// How the engine connects.
    pub(super) fn config(&self) -> &ConnectConfig {
        &self.config
    }

    /// Another session of the application.
    pub(super) async fn session(&self) -> Client {
        self.server.connect(APP, &self.database).await.unwrap()
    }

    /// A superuser's session.
    pub(super) async fn admin(&self) -> Client {
        self.server.connect(SUPERUSER, &self.database).await.unwrap()
    }

    pub(super) async fn try_plan(
        &self,
        table: &str,
        alters: &[&str],
        limits: Limits,
    ) -> Result<Plan, Vec<Refusal>> {
        let mut request = ChangeRequest::from_arguments(table, alters).unwrap();
        request.limits = limits;
        self.try_plan_of(request).await
    }

    async fn try_plan_of(&self, mut request: ChangeRequest) -> Result<Plan, Vec<Refusal>> {
        let session = Session::open(&self.config, &SessionOptions::default())
            .await
            .unwrap();
        request.way_back.off = true;
        match planner::plan(&session, &request, &self.name).await {
            Ok(planned) => Ok(planned.plan),
            Err(PlanError::Refused(refusals)) => Err(refusals),
            Err(error) => panic!("{error:?}"),
        }
    }

    pub(super) async fn plan(&self, table: &str, alters: &[&str], limits: Limits) -> Plan {
        self.try_plan(table, alters, limits)
            .await
            .expect("the change is not refused")
    }

    /// The plan of [`GATED`] on `public.t`, with this way to copy.
    pub(super) async fn plan_copied(&self, copy: CopyRequest) -> Plan {
        let mut request = ChangeRequest::from_arguments("public.t", &[GATED]).unwrap();
        request.copy = copy;
        self.try_plan_of(request)
            .await
            .expect("the change is not refused")
    }

    /// Runs [`GATED`] on `public.t`.
    pub(super) async fn run(&self, how: How) -> Engine {
        self.run_within(how, Limits::default()).await
    }

    pub(super) async fn run_within(&self, how: How, limits: Limits) -> Engine {
        let plan = self.plan("public.t", &[GATED], limits).await;
        self.start(What::Plan(Box::new(plan)), how)
    }

    /// Runs a change of `public.t` that is copied chunk by chunk.
    pub(super) async fn run_in_chunks(&self, how: How, alters: &[&str], limits: Limits) -> Engine {
        let mut request = ChangeRequest::from_arguments("public.t", alters).unwrap();
        request.limits = limits;
        request.copy = CopyRequest::Incremental;
        let plan = self.try_plan_of(request).await;
        let plan = plan.expect("the change is not refused");
        self.start(What::Plan(Box::new(plan)), how)
    }

    /// Runs a change of a table to its end.
    pub(super) async fn change(&self, table: &str, alters: &[&str]) -> Report {
        let plan = self.plan(table, alters, Limits::default()).await;
        self.start(What::Plan(Box::new(plan)), How::default())
            .done()
            .await
    }

    /// Goes on with the migration.
    pub(super) fn resume(&self, how: How) -> Engine {
        self.start(What::Resume(self.name.clone()), how)
    }

    pub(super) fn start(&self, what: What, how: How) -> Engine {
        let (stop, stop_seen) = watch::channel(false);
        let (status_sender, status) = watch::channel(None);
        let options = RunOptions {
            copiers: how.copiers,
            roll_back: false,
            cutover_when_ready: how.auto,
            verify: true,
            repair: false,
            old_snapshots: how.old_snapshots,
            reconnect_max: Duration::from_secs(10),
        };
        let config = self.config.clone();
        let task = tokio::spawn(async move { run(&config, what, options, stop_seen, status_sender).await });
        Engine { stop, status, task }
    }

    /// Asks for the cutover as another process would.
    pub(super) async fn cut_over(&self) {
        let taken = operate::request(&self.config, &self.name, Request::Cutover)
            .await
            .unwrap();
        assert!(taken, "an engine is there");
    }

    /// Shuts a gate.
    pub(super) async fn shut(&self, number: i32) -> Gate {
        let session = self.session().await;
        session
            .execute("SELECT pg_advisory_lock($1)", &[&i64::from(number)])
            .await
            .unwrap();
        Gate { session, number }
    }

    /// The schema of the retired table.
    pub(super) fn retired(&self) -> String {
        format!("{}.t", self.name.retired_schema())
    }

    /// The new table has exactly the twin's rows.
    pub(super) async fn assert_twins(&self) {
        self.assert_same("TABLE public.t", "TABLE twin.t").await;
    }

    /// Two queries give the same rows, every column in its text form, in any order.
    pub(super) async fn assert_same(&self, found: &str, expected: &str) {
        // The application may not look into the schema of the retired table.
        let session = self.admin().await;
        let rows = |query: &str| {
            format!("(SELECT r::text AS content, count(*) AS n FROM ({query}) AS r GROUP BY 1)")
        };
        let compare = format!(
            "SELECT left(content, 200), found.n, expected.n FROM {} AS found FULL JOIN {} AS expected USING (content)
              WHERE found.n IS DISTINCT FROM expected.n ORDER BY 1 LIMIT 8",
            rows(found),
            rows(expected)
        );
        let differing = session.query(&compare, &[]).await.unwrap();
        let lines: Vec<String> = differing
            .iter()
            .map(|row| {
                let [found, expected] = [1, 2].map(|place| row.get::<_, Option<i64>>(place).unwrap_or(0));
                format!("{found} times instead of {expected}: {}", row.get::<_, String>(0))
            })
            .collect();
        assert!(lines.is_empty(), "rows differ:\n{}", lines.join("\n"));
    }

    /// Whether a query says true.
    pub(super) async fn holds(&self, what: &str) -> bool {
        self.admin().await.query_one(what, &[]).await.unwrap().get(0)
    }

    /// Waits until a query says true.
    pub(super) async fn until(&self, what: &str) {
        let admin = self.admin().await;
        let deadline = Instant::now() + PATIENCE;
        while !admin.query_one(what, &[]).await.unwrap().get::<_, bool>(0) {
            assert!(Instant::now() < deadline, "never true: {what}");
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until the session of that process waits for a lock.
    pub(super) async fn until_waiting(&self, pid: i32) {
        self.until(&format!("SELECT cardinality(pg_blocking_pids({pid})) > 0"))
            .await;
    }

    /// Waits until the engine asks for the exclusive lock on `public.t` and does not have it.
    pub(super) async fn until_lock_asked(&self) {
        self.until(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'public.t'::regclass
                               AND mode = 'AccessExclusiveLock' AND NOT granted)",
        )
        .await;
    }

    /// Waits until the engine has the exclusive lock on `public.t`.
    pub(super) async fn until_locked(&self) {
        self.until(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'public.t'::regclass
                               AND mode = 'AccessExclusiveLock' AND granted)",
        )
        .await;
    }

    pub(super) async fn value(&self, query: &str) -> String {
        let row = self.session().await.query_one(query, &[]).await.unwrap();
        row.get::<_, Option<String>>(0).unwrap_or_default()
    }
}

/// `public.t` and its twin, with a key, a gate and these columns.
pub(super) fn gated_table(columns: &str) -> String {
    let columns = if columns.is_empty() {
        String::new()
    } else {
        format!(", {columns}")
    };
    twins(&format!(
        "id integer PRIMARY KEY, gate integer NOT NULL DEFAULT 0{columns}"
    ))
}

/// `public.t` and its twin.
pub(super) fn twins(columns: &str) -> String {
    format!("CREATE TABLE public.t ({columns}); CREATE TABLE twin.t (LIKE public.t INCLUDING ALL);")
}

/// Runs statements on `{t}` for the table and for its twin, in one transaction.
pub(super) async fn both(session: &Client, statements: &str) {
    try_both(session, statements)
        .await
        .unwrap_or_else(|error| panic!("{statements}: {error:?}"));
}

pub(super) async fn try_both(session: &Client, statements: &str) -> Result<(), tokio_postgres::Error> {
    let [table, twin] = ["public.t", "twin.t"].map(|table| statements.replace("{t}", table));
    session.batch_execute(&format!("{table};\n{twin}")).await
}

pub(super) async fn pid(session: &Client) -> i32 {
    session
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0)
}

/// A shut gate: see the module.
pub(super) struct Gate {
    session: Client,
    number: i32,
}

impl Gate {
    /// Waits until somebody waits here.
    pub(super) async fn reached(&self, scene: &Scene) {
        let number = self.number;
        scene
            .until(&format!(
                "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = {number}
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))"
            ))
            .await;
    }

    pub(super) async fn open(self) {
        let number = i64::from(self.number);
        self.session
            .execute("SELECT pg_advisory_unlock($1)", &[&number])
            .await
            .unwrap();
    }
}

/// A run in this process.
pub(super) struct Engine {
    stop: watch::Sender<bool>,
    status: watch::Receiver<Option<Status>>,
    task: JoinHandle<Ended>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Engine {
    /// Waits until its status is as wanted.
    pub(super) async fn until(&mut self, wanted: impl Fn(&Status) -> bool) -> Status {
        let seen = self
            .status
            .wait_for(|status| status.as_ref().is_some_and(&wanted));
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        match seen.map(|seen| seen.map(|status| status.clone())) {
            Ok(Ok(status)) => return status.expect("there is a status"),
            Ok(Err(_)) => {}
            Err(_) => panic!("never as wanted: {:?}", self.status()),
        }
        panic!("the run ended before: {:?}", (&mut self.task).await);
    }

    pub(super) async fn until_ready(&mut self) {
        self.until(|status| status.activity == Some(Activity::Ready))
            .await;
    }

    /// Waits until a line worth showing holds this text.
    pub(super) async fn until_noted(&mut self, text: &str) {
        self.until(|status| status.note.as_ref().is_some_and(|note| note.contains(text)))
            .await;
    }

    pub(super) fn status(&self) -> Option<Status> {
        self.status.borrow().clone()
    }

    pub(super) fn interrupt(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for its end.
    pub(super) async fn ended(mut self) -> Ended {
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended
            .unwrap_or_else(|_| panic!("the run does not end: {:?}", self.status()))
            .unwrap()
    }

    /// Waits for its success.
    pub(super) async fn done(self) -> Report {
        match self.ended().await {
            Ended::Done(report) => *report,
            other => panic!("{other:?}"),
        }
    }
}
