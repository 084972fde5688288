//! One session that copies ranges, one transaction each.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::{CopyStep, Source};
use crossfade_postgres::copy::{self, CtidRange};
use crossfade_postgres::session::{Prepared, Session, SqlClass};
use crossfade_postgres::state::{self, Generation};

use crate::CopyError;
use crate::keeper::{Kept, source_state};

/// Copies ranges through one session, which must have the plan's search path.
pub struct Copier {
    session: Session,
    name: String,
    generation: i64,
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
    /// A copier of this migration, in the engine's generation. The session is in no transaction.
    pub fn new(session: Session, name: &str, generation: i64) -> Self {
        let name = name.to_owned();
        Copier {
            session,
            name,
            generation,
        }
    }

    /// The session: to cancel it, and to leave it out of lists of others' sessions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Copies one range into every target. A dropped future leaves the transaction open: drop the copier too.
    pub async fn copy_range(&self, step: &CopyStep, range: CtidRange, keeper: &SnapshotKeeper) -> Outcome {
        match self.copy(step, range, keeper.kept()).await {
            Ok(copied) => self.commit(copied).await,
            Err(error) => {
                // The first error is the one to tell; a lost connection has rolled back by itself.
                let _ = self.session.batch_execute("ROLLBACK").await;
                Outcome::NotDone(error)
            }
        }
    }

    async fn copy(&self, step: &CopyStep, range: CtidRange, kept: &Kept) -> Result<Copied, CopyError> {
        self.session
            .batch_execute(&copy::begin_reading(&self.source))
            .await?;
        self.session
            .batch_execute(&copy::import_snapshot(&kept.name))
            .await?;
        // The generation was raised before the snapshot was taken. Had it been raised since, the snapshot would
        // find the old row, and locking it would fail: the store takes that for what it is.
        state::guard(&self.session, &self.name, self.generation).await?;
        if source_state(&self.session, source).await?.filenode != kept.filenode {
            return Err(CopyError::SourceChanged {
                table: source.name.to_string(),
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
