//! What every part of one engine of a move knows and nothing changes: the plan, both servers, and which of them leads.

use crossfade_core::code::FailureCode;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyStep, Destination, Plan, ServerIdentity, Step};
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::state::{self, Generation};

use crate::context::host;
use crate::failure::{DEFECT, Failure};

/// One of the two servers.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    /// Where it is and which cluster, with the application name of this move's sessions.
    pub(crate) config: ConnectConfig,
    /// Which it is.
    pub(crate) server: ServerIdentity,
    /// The same for people.
    pub(crate) place: String,
    /// Ours there (R24).
    pub(crate) generation: Generation,
}

impl Side {
    /// Opens a session that may write there for the move.
    pub(crate) async fn session(&self, name: &MigrationName) -> Result<Session, Failure> {
        let options = SessionOptions {
            search_path: String::new(),
            synchronous_commit: SynchronousCommit::Local,
            writes_for: Some(name.to_string()),
        };
        Ok(Session::open(&self.config, &options).await?)
    }

    /// Waits for an ordinary commit there, which its synchronous standbys have (R29).
    pub(crate) async fn confirm(&self, name: &MigrationName) -> Result<(), Failure> {
        let session = self.session(name).await?;
        session.batch_execute("SET synchronous_commit = on").await?;
        Ok(state::audit(&session, name.as_str(), &host(), "confirmed the hand-over", None).await?)
    }

    /// Begins a transaction there that is guarded by our generation.
    pub(crate) async fn begin(&self, session: &Session, name: &MigrationName) -> Result<(), Failure> {
        session.batch_execute("BEGIN").await?;
        Ok(state::guard(session, name, self.generation).await?)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// As it is stored.
    pub(crate) plan: Plan,
    /// The server that the tables come from.
    pub(crate) source: Side,
    /// The server that they move to, which has the move's own row.
    pub(crate) target: Side,
    /// Hand-overs so far.
    pub(crate) leg: i32,
}

impl Shared {
    pub(crate) fn name(&self) -> &MigrationName {
        &self.plan.name
    }

    /// What goes with the tables.
    pub(crate) fn destination(&self) -> Result<&Destination, Failure> {
        self.plan.destination.as_deref().ok_or_else(|| {
            let reason = format!("`{}` is no move", self.plan.name);
            Failure::stopped(FailureCode::Defect, reason, DEFECT)
        })
    }

    /// Nobody is handed over: the target gets a copy that stands on its own.
    pub(crate) fn is_copy_only(&self) -> bool {
        let destination = self.plan.destination.as_deref();
        destination.is_some_and(|destination| destination.copy_only)
    }

    /// Which way rows go.
    pub(crate) fn direction(&self) -> Direction {
        direction_of(self.leg)
    }

    /// The server that is written to by applications.
    pub(crate) fn leader(&self) -> &Side {
        match self.direction() {
            Direction::Forward => &self.source,
            Direction::Back => &self.target,
        }
    }

    /// The other one.
    pub(crate) fn follower(&self) -> &Side {
        match self.direction() {
            Direction::Forward => &self.target,
            Direction::Back => &self.source,
        }
    }

    /// The slot of the stream of that direction: on the server that leads then.
    pub(crate) fn slot(&self, direction: Direction) -> String {
        match direction {
            Direction::Forward => self.plan.name.slot(),
            Direction::Back => self.plan.name.back_slot(),
        }
    }

    /// The publication of that direction.
    pub(crate) fn publication(&self, direction: Direction) -> String {
        match direction {
            Direction::Forward => self.plan.name.publication(),
            Direction::Back => self.plan.name.back_publication(),
        }
    }

    /// The tables, in the plan's order.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &CopyStep> {
        self.plan.steps.iter().map(|Step::CopyIntoTables(step)| &**step)
    }

    /// Their names.
    pub(crate) fn tables(&self) -> Vec<TableName> {
        self.steps().map(|step| step.source.name.clone()).collect()
    }

    /// What the state schemas know them by.
    pub(crate) fn state_names(&self) -> Vec<String> {
        let numbers = 0..self.plan.steps.len();
        numbers
            .map(|number| self.plan.name.of_table(number).to_string())
            .collect()
    }

    /// Adds a line to the audit trail of that server.
    pub(crate) async fn audit(
        &self,
        session: &Session,
        what: &str,
        sql: Option<&str>,
    ) -> Result<(), Failure> {
        Ok(state::audit(session, self.plan.name.as_str(), &host(), what, sql).await?)
    }
}

/// Which way rows go in that leg.
pub(crate) fn direction_of(leg: i32) -> Direction {
    match leg % 2 {
        0 => Direction::Forward,
        _ => Direction::Back,
    }
}

/// The other one.
pub(crate) fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::Forward => Direction::Back,
        Direction::Back => Direction::Forward,
    }
}
