//! From a change to a plan, against a real server, as a role without superuser.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

mod expressions;
mod grants;
mod keys;
mod nothing_changes;
mod plans;
mod refusals;
mod splits;

use crossfade_core::plan::{CopyStep, Plan, Step};
use crossfade_core::refusal::Refusal;
use crossfade_lab::server::{SUPERUSER, Server, ServerOptions};
use crossfade_postgres::change::ChangeRequest;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner::{self, PlanError, Planned};
use crossfade_postgres::session::{Session, SessionOptions};
use tokio_postgres::Client;

const NAME: &str = "widen";

/// A server with the fixture.
struct World {
    server: Server,
    superuser: Client,
}

impl World {
    async fn create() -> World {
        World::with(ServerOptions::default()).await
    }

    async fn with(options: ServerOptions) -> World {
        let server = Server::start(options).await.unwrap();
        server.announce();
        let superuser = server.connect(SUPERUSER, "postgres").await.unwrap();
        superuser
            .batch_execute(include_str!("../fixtures/planner.sql"))
            .await
            .unwrap();
        superuser
            .batch_execute("RESET ROLE; RESET search_path")
            .await
            .unwrap();
        let world = World { server, superuser };
        world.counted("shop.touched").await;
        world
    }

    /// What follows is another snapshot where the server names NOT NULL constraints and explains itself otherwise: from 18 on.
    fn by_version(&self) -> insta::internals::SettingsBindDropGuard {
        let mut settings = insta::Settings::clone_current();
        if self.server.installation().major >= 18 {
            settings.set_snapshot_suffix("18");
        }
        settings.bind_to_scope()
    }

    async fn session(&self, role: &str) -> Session {
        let config = ConnectConfig::parse(&self.server.connection(role, "postgres")).unwrap();
        Session::open(&config, &SessionOptions::default()).await.unwrap()
    }

    /// Waits until the statistics have the updates of a table.
    async fn counted(&self, table: &str) {
        // 14 has no such function, and reports when it likes.
        let report = "SELECT pg_stat_force_next_flush()";
        self.superuser.batch_execute(report).await.ok();
        let seen = format!("SELECT pg_stat_get_tuples_updated('{table}'::regclass) > 0");
        while !self
            .superuser
            .query_one(&seen, &[])
            .await
            .unwrap()
            .get::<_, bool>(0)
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn sql(&self, sql: &str) {
        self.superuser
            .batch_execute(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    async fn try_plan(&self, role: &str, table: &str, alters: &[&str]) -> Result<Planned, PlanError> {
        let request = ChangeRequest::from_arguments(table, alters).unwrap();
        let session = self.session(role).await;
        planner::plan(&session, &request, &NAME.parse().unwrap()).await
    }

    async fn plan(&self, table: &str, alters: &[&str]) -> Plan {
        match self.try_plan("engine", table, alters).await {
            Ok(planned) => planned.plan,
            Err(PlanError::Refused(refusals)) => panic!("{refusals:#?}"),
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn refusals_of(&self, role: &str, table: &str, alters: &[&str]) -> Vec<Refusal> {
        match self.try_plan(role, table, alters).await {
            Ok(planned) => panic!("planned: {:#?}", planned.plan),
            Err(PlanError::Refused(refusals)) => refusals,
            Err(error) => panic!("{error:?}"),
        }
    }

    async fn codes(&self, table: &str, alters: &[&str]) -> Vec<&'static str> {
        let refusals = self.refusals_of("engine", table, alters).await;
        refusals.into_iter().map(|refusal| refusal.code.word()).collect()
    }
}

fn step(plan: &Plan) -> &CopyStep {
    let [Step::CopyIntoTables(step)] = plan.steps.as_slice() else {
        panic!("one step");
    };
    step
}

fn shown(refusals: &[Refusal]) -> String {
    let line = |refusal: &Refusal| {
        format!(
            "{}: {}\n  {}\n  {}\n",
            refusal.code, refusal.object, refusal.message, refusal.remedy
        )
    };
    refusals.iter().map(line).collect()
}
