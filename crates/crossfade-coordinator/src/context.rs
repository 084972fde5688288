//! What every part of one engine knows and nothing changes: where, which plan, which generation.

use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::{Event, copy_step};
use crossfade_core::phase::Phase;
use crossfade_core::plan::{CopyStep, Plan, Stage, Statement};
use crossfade_core::verify::Verified;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::planner;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::state::{self, Generation};
use tokio::sync::mpsc;

use crate::failure::Failure;
use crate::hands::Opened;

/// What a task or a worker has to say.
pub(crate) enum Message {
    /// The answer to a command.
    Event(Event),
    /// The answer to `OpenSnapshot`, with what the copy needs of it.
    Opened(Box<Opened>),
    /// For the report.
    Note(Note),
}

/// For the report, beside the answers.
#[derive(Debug)]
pub(crate) enum Note {
    /// Others may have queued behind our request for the lock this long.
    LockQueue(Duration),
    /// The lock was held this long, up to the swap's COMMIT, and so many sessions waited for it then.
    Swapped { held: Duration, waiting: u32 },
    /// Every row was compared.
    Verified {
        found: Verified,
        /// Columns that were not.
        unverified: Vec<String>,
    },
    /// Something worth a line.
    Line(String),
}

/// One message, or why there is none.
pub(crate) type Answer = Result<Message, Failure>;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// Where the source is and which cluster, with the application name of this migration's sessions.
    pub(crate) config: ConnectConfig,
    /// Where its target is, with the state schema, if that is another server.
    pub(crate) far: Option<Far>,
    /// What runs.
    pub(crate) plan: Plan,
    /// Which way.
    pub(crate) direction: Direction,
    /// The plan's step in that direction.
    step: CopyStep,
    /// Ours (R24).
    pub(crate) generation: Generation,
    /// The server's history; rises with a promotion.
    pub(crate) timeline: u32,
    /// This machine, for the audit trail.
    pub(crate) host: String,
    /// Where answers go. Commands bound their number.
    pub(crate) answers: mpsc::UnboundedSender<Answer>,
}

/// The target's server, of a move.
#[derive(Clone, Debug)]
pub(crate) struct Far {
    /// Where it is, and which cluster.
    pub(crate) config: ConnectConfig,
    /// The move, as which our sessions may write there.
    pub(crate) writes_for: String,
}

impl Context {
    /// The migration's name.
    pub(crate) fn name(&self) -> &str {
        self.plan.name.as_str()
    }

    /// A context of the way there; see [`Context::turn`].
    pub(crate) fn new(
        config: ConnectConfig,
        plan: Plan,
        generation: Generation,
        answers: mpsc::UnboundedSender<Answer>,
    ) -> Self {
        Context {
            config,
            far: None,
            direction: Direction::Forward,
            step: copy_step(&plan).clone(),
            plan,
            generation,
            timeline: 0,
            host: host(),
            answers,
        }
    }

    /// Takes the direction of that phase. The oids of the new tables are looked up: they were not made when the plan was.
    pub(crate) async fn turn(&mut self, session: &Session, phase: Phase) -> Result<(), Failure> {
        let step = copy_step(&self.plan);
        let after_swap = matches!(phase, Phase::Swapped | Phase::RolledBack);
        if !after_swap || step.back.is_none() {
            return Ok(());
        }
        self.direction = Direction::Back;
        let mut back = step.towards(Direction::Back).clone();
        if phase == Phase::Swapped {
            let oid = planner::table_oid(session, &back.source.name).await?;
            back.source.oid = oid.unwrap_or(back.source.oid);
            for part in &mut back.source.parts {
                let oid = planner::table_oid(session, &part.name).await?;
                part.oid = oid.unwrap_or(part.oid);
            }
        }
        self.step = back;
        Ok(())
    }

    /// The step that is in force.
    pub(crate) fn step(&self) -> &CopyStep {
        &self.step
    }

    /// The slot of the stream that is followed.
    pub(crate) fn slot(&self) -> String {
        match self.direction {
            Direction::Forward => self.plan.name.slot(),
            Direction::Back => self.plan.name.back_slot(),
        }
    }

    /// The statements of a stage, each with its position in the plan, whose list goes on with the step backwards.
    pub(crate) fn statements(&self, stage: Stage) -> Vec<(i32, &Statement)> {
        numbered(&self.plan, self.direction, &self.step, stage)
    }

    /// As [`Context::statements`], of the way there whichever is in force.
    pub(crate) fn statements_there(&self, stage: Stage) -> Vec<(i32, &Statement)> {
        numbered(&self.plan, Direction::Forward, copy_step(&self.plan), stage)
    }

    /// As [`Context::statements`], of the step backwards while the way there is in force.
    pub(crate) fn statements_back(&self, stage: Stage) -> Vec<(i32, &Statement)> {
        let back = copy_step(&self.plan).towards(Direction::Back);
        numbered(&self.plan, Direction::Back, back, stage)
    }

    /// Opens a session that evaluates expressions as the plan's author meant them, on the plan's server.
    pub(crate) async fn session(&self) -> Result<Session, Failure> {
        let options = SessionOptions {
            search_path: self.plan.search_path.clone(),
            synchronous_commit: SynchronousCommit::Local,
            writes_for: None,
        };
        Ok(Session::open(&self.config, &options).await?)
    }

    /// The same on the server that has the target and the state.
    pub(crate) async fn target_session(&self) -> Result<Session, Failure> {
        let Some(far) = &self.far else {
            return self.session().await;
        };
        let options = SessionOptions {
            search_path: self.plan.search_path.clone(),
            synchronous_commit: SynchronousCommit::Local,
            writes_for: Some(far.writes_for.clone()),
        };
        Ok(Session::open(&far.config, &options).await?)
    }

    /// Begins a transaction that may write: guarded by our generation.
    pub(crate) async fn begin(&self, session: &Session) -> Result<(), Failure> {
        session.batch_execute("BEGIN").await?;
        Ok(state::guard(session, &self.plan.name, self.generation).await?)
    }

    /// Writes down a publication before its slot is made (R34).
    pub(crate) async fn record_publication(
        &self,
        session: &Session,
        direction: Direction,
    ) -> Result<(), Failure> {
        let name = &self.plan.name;
        let (tables, publication) = match direction {
            Direction::Forward => (1, name.publication()),
            Direction::Back => (copy_step(&self.plan).targets.len(), name.back_publication()),
        };
        match state::record_publication(session, name, direction, tables).await? {
            true => Ok(()),
            false => Err(self.changes_missing(&publication)),
        }
    }

    /// A publication that is not the one any more with which a stream that we read began, or of `all` with which one that
    /// we shall read has (R34).
    pub(crate) async fn other_publication(
        &self,
        session: &Session,
        all: bool,
    ) -> Result<Option<String>, Failure> {
        let name = &self.plan.name;
        for (direction, publication) in [
            (Direction::Forward, name.publication()),
            (Direction::Back, name.back_publication()),
        ] {
            let read = all || direction == Direction::Forward || self.direction == Direction::Back;
            if read && !state::publication_is_the_same(session, name, direction).await? {
                return Ok(Some(publication));
            }
        }
        Ok(None)
    }

    /// The stream of such a publication may lack changes, and nobody knows which.
    pub(crate) fn changes_missing(&self, publication: &str) -> Failure {
        let reason = format!(
            "the publication {publication} was altered, dropped or made anew: changes may be missing from the stream"
        );
        let next = match self.direction {
            Direction::Forward => {
                "The source is untouched. `crossfade abort` removes what was made; then run the change again."
            }
            Direction::Back => {
                "There is no way back any more; the new table is in its place and complete. `crossfade complete` ends \
                 the migration."
            }
        };
        Failure::needs_operator(FailureCode::PublicationChanged, reason, next)
    }

    /// Says something worth a line to whoever watches.
    pub(crate) fn line(&self, line: impl Into<String>) {
        self.note(Note::Line(line.into()));
    }

    /// For the report. Nobody hears it once the engine has ended.
    pub(crate) fn note(&self, note: Note) {
        let _ = self.answers.send(Ok(Message::Note(note)));
    }

    /// Adds a line to the audit trail.
    pub(crate) async fn audit(
        &self,
        session: &Session,
        what: &str,
        sql: Option<&str>,
    ) -> Result<(), Failure> {
        Ok(state::audit(session, self.name(), &self.host, what, sql).await?)
    }
}

fn numbered<'a>(
    plan: &Plan,
    direction: Direction,
    step: &'a CopyStep,
    stage: Stage,
) -> Vec<(i32, &'a Statement)> {
    let first = match direction {
        Direction::Forward => 0,
        Direction::Back => i32::try_from(copy_step(plan).statements.len()).unwrap_or(i32::MAX),
    };
    let numbered = (first..).zip(&step.statements);
    numbered
        .filter(|(_, statement)| statement.stage == stage)
        .collect()
}

/// This machine's name, for people.
pub(crate) fn host() -> String {
    let from_file = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_file
        .or_else(|| std::env::var("HOSTNAME").ok())
        .unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "unknown host".to_owned()
    } else {
        name.to_owned()
    }
}
