//! One session that copies ranges, one transaction each.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::{CopyStep, Source};
use crossfade_postgres::copy::{self, CtidRange};
use crossfade_postgres::session::{Prepared, Session, SqlClass};
use crossfade_postgres::state::{self, Generation};

use crate::keeper::{Kept, source_state};
use crate::{CopyError, culprit};

/// Copies ranges through one session, which must have the plan's search path.
pub struct Copier {
    session: Session,
    source: Source,
    /// One statement per target.
    statements: Vec<Prepared>,
    name: MigrationName,
    generation: Generation,
}

/// What came of a range.
#[derive(Debug)]
pub enum Outcome {
    /// Its rows are committed.
    Done(Copied),
    /// Nothing of it is in the target.
    NotDone(CopyError),
    /// The answer to the commit was lost: only the target, or the ledger, can tell.
    Unknown(CopyError),
}

/// What a range held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Rows written, over all targets.
    pub rows: u64,
}

impl Copier {
    /// Prepares a session for copying. The session is in no transaction.
    ///
    /// # Errors
    /// When the statements do not fit the tables as they are.
    pub async fn prepare(
        session: Session,
        step: &CopyStep,
        name: &MigrationName,
        generation: Generation,
    ) -> Result<Self, CopyError> {
        session.batch_execute(copy::COPIER_SETTINGS).await?;
        let mut statements = Vec::with_capacity(step.targets.len());
        for target in &step.targets {
            statements.push(
                session
                    .prepare(&copy::copy_template(&step.source, target))
                    .await?,
            );
        }
        Ok(Copier {
            session,
            source: step.source.clone(),
            statements,
            name: name.clone(),
            generation,
        })
    }

    /// The session: to cancel it, and to leave it out of lists of others' sessions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Copies one range into every target. A dropped future leaves the transaction open: drop the copier too.
    pub async fn copy_range(&self, range: CtidRange, kept: &Kept) -> Outcome {
        match self.copy(range, kept).await {
            Ok(copied) => self.commit(copied).await,
            Err(error) => {
                // The first error is the one to tell; a lost connection has rolled back by itself.
                let _ = self.session.batch_execute("ROLLBACK").await;
                Outcome::NotDone(self.named(error, range, kept).await)
            }
        }
    }

    /// An error that lies in a row names the row.
    async fn named(&self, error: CopyError, range: CtidRange, kept: &Kept) -> CopyError {
        let CopyError::Sql(source) = error else {
            return error;
        };
        if !source.lies_in_a_row() {
            return source.into();
        }
        match culprit::find(&self.session, &self.source, &self.statements, range, kept).await {
            Ok(Some(key)) => CopyError::Row {
                table: self.source.name.to_string(),
                key,
                source,
            },
            // What it was looked for because of says more than why it was not found.
            Ok(None) | Err(_) => source.into(),
        }
    }

    async fn copy(&self, range: CtidRange, kept: &Kept) -> Result<Copied, CopyError> {
        self.session
            .batch_execute(&copy::begin_reading(&self.source))
            .await?;
        self.session
            .batch_execute(&copy::import_snapshot(&kept.name))
            .await?;
        // The generation was raised before the snapshot was taken. Had it been raised since, the snapshot would
        // find the old row, and locking it would fail: the store takes that for what it is.
        state::guard(&self.session, &self.name, self.generation).await?;
        if source_state(&self.session, &self.source).await?.filenode != kept.filenode {
            return Err(CopyError::SourceChanged {
                table: self.source.name.to_string(),
            });
        }
        let mut rows = 0;
        for statement in &self.statements {
            rows += self
                .session
                .execute(statement, &[&range.lower(), &range.upper()])
                .await?;
        }
        Ok(Copied { rows })
    }

    async fn commit(&self, copied: Copied) -> Outcome {
        match self.session.batch_execute("COMMIT").await {
            Ok(()) => Outcome::Done(copied),
            Err(error) if error.class() == SqlClass::Lost => Outcome::Unknown(error.into()),
            // The server answered: the transaction is rolled back.
            Err(error) => Outcome::NotDone(error.into()),
        }
    }
}
