//! The session, the transaction of the batch, and its end.

use crossfade_core::name::MigrationName;
use crossfade_core::piece::Piece;
use crossfade_core::plan::CopyStep;
use crossfade_core::position::Lsn;
use crossfade_postgres::apply;
use crossfade_postgres::session::{Session, SqlClass, SqlError};
use crossfade_postgres::state::{Generation, advance_statement, guard_statement};

use crate::error::ApplyError;
use crate::target::TargetApplier;

/// Applies pieces to all targets of a step, in one session, which must have the plan's search path.
pub struct Applier {
    session: Session,
    targets: Vec<TargetApplier>,
    name: MigrationName,
    generation: Generation,
    /// A batch has begun and not ended.
    open: bool,
}

/// What came of a piece.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the open transaction of its batch, with more to come.
    Pending,
    /// The batch is committed.
    Applied {
        /// The position that committed with it.
        lsn: Lsn,
    },
    /// Nothing of the whole batch is in the target.
    NotApplied(ApplyError),
    /// The answer to the commit was lost: only the stored position can tell.
    Unknown(ApplyError),
}

impl Applier {
    /// Prepares a session for applying: settings, staging tables, statements. The session is in no transaction.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn prepare(
        session: Session,
        step: &CopyStep,
        name: &MigrationName,
        generation: Generation,
    ) -> Result<Self, SqlError> {
        session.batch_execute(apply::APPLIER_SETTINGS).await?;
        session.batch_execute(apply::CLIENT_ENCODING).await?;
        let mut targets = Vec::with_capacity(step.targets.len());
        for (ordinal, target) in step.targets.iter().enumerate() {
            targets.push(TargetApplier::prepare(&session, &step.source, target, ordinal).await?);
        }
        Ok(Applier {
            session,
            targets,
            name: name.clone(),
            generation,
            open: false,
        })
    }

    /// The session: to cancel it, and to leave it out of lists of others' sessions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// From now on commits wait for the local flush only, or again for what the server asks (R28).
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn commit_locally(&self, locally: bool) -> Result<(), SqlError> {
        let value = if locally { "local" } else { "on" };
        self.session
            .batch_execute(&format!("SET synchronous_commit = {value}"))
            .await
    }

    /// Applies one piece. After anything but [`Outcome::Pending`] no transaction is open. A dropped future leaves one
    /// open: drop the applier too.
    pub async fn apply(&mut self, piece: &Piece) -> Outcome {
        match self.run(piece).await {
            Ok(()) => match piece.applied {
                Some(lsn) => self.commit(lsn).await,
                None => Outcome::Pending,
            },
            Err(error) => {
                self.roll_back().await;
                Outcome::NotApplied(error)
            }
        }
    }

    /// Gives up the open batch, if there is one.
    pub async fn roll_back(&mut self) {
        if std::mem::take(&mut self.open) {
            // A lost connection has rolled back by itself.
            let _ = self.session.batch_execute("ROLLBACK").await;
        }
    }

    async fn run(&mut self, piece: &Piece) -> Result<(), ApplyError> {
        if piece.first == self.open {
            return Err(ApplyError::OutOfOrder);
        }
        if piece.first {
            self.open = true;
            self.begin().await?;
        }
        for target in &self.targets {
            target.apply(&self.session, piece).await?;
        }
        match piece.applied {
            Some(to) => self.advance(to).await,
            None => Ok(()),
        }
    }

    async fn begin(&self) -> Result<(), ApplyError> {
        let guard = guard_statement(&self.name, self.generation);
        let counts = self.session.run_script(&[apply::BEGIN, &guard]).await?;
        match counts.last() {
            Some(1) => Ok(()),
            Some(_) | None => Err(ApplyError::Superseded {
                name: self.name.to_string(),
            }),
        }
    }

    async fn advance(&self, to: Lsn) -> Result<(), ApplyError> {
        let counts = self
            .session
            .run_script(&[&advance_statement(&self.name, to)])
            .await?;
        match counts.last() {
            Some(1) => Ok(()),
            Some(_) | None => Err(ApplyError::PositionNotMoved { to }),
        }
    }

    async fn commit(&mut self, lsn: Lsn) -> Outcome {
        self.open = false;
        match self.session.batch_execute("COMMIT").await {
            Ok(()) => Outcome::Applied { lsn },
            Err(error) if error.class() == SqlClass::Lost => Outcome::Unknown(error.into()),
            // The server answered, with a deferred constraint perhaps: the transaction is rolled back.
            Err(error) => Outcome::NotApplied(error.into()),
        }
    }
}
