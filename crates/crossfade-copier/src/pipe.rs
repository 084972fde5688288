//! Two sessions, one on each server, that copy ranges from one to the other, one transaction of each a range.

use crossfade_core::name::MigrationName;
use crossfade_core::plan::{Source, Target};
use crossfade_postgres::apply;
use crossfade_postgres::copy::{self, CtidRange};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::state::{self, Generation};

use crate::keeper::{Kept, source_state};
use crate::{Copied, CopyError, Outcome};

/// Copies ranges of any table from one server to another.
pub struct Pipe {
    source: Session,
    target: Session,
    generation: Generation,
}

impl Pipe {
    /// With a session on either server, in no transaction.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn prepare(
        source: Session,
        target: Session,
        generation: Generation,
    ) -> Result<Self, CopyError> {
        source.batch_execute(copy::COPIER_SETTINGS).await?;
        for session in [&source, &target] {
            session.batch_execute(apply::CLIENT_ENCODING).await?;
        }
        Ok(Pipe {
            source,
            target,
            generation,
        })
    }

    /// Copies one range of a table, under the name that the state schema knows the table by. What the snapshot sees is
    /// durable on the source (R13). A dropped future leaves the transactions open: drop the pipe too.
    pub async fn copy_range(
        &self,
        (source, target): (&Source, &Target),
        name: &MigrationName,
        range: CtidRange,
        kept: &Kept,
    ) -> Outcome {
        match self.copy((source, target), name, range, kept).await {
            Ok(copied) => self.commit(copied).await,
            Err(error) => {
                // The first error is the one to tell; a lost connection has rolled back by itself.
                let _ = self.source.batch_execute("ROLLBACK").await;
                let _ = self.target.batch_execute("ROLLBACK").await;
                Outcome::NotDone(error)
            }
        }
    }

    async fn copy(
        &self,
        (source, target): (&Source, &Target),
        name: &MigrationName,
        range: CtidRange,
        kept: &Kept,
    ) -> Result<Copied, CopyError> {
        self.source.batch_execute(&copy::begin_reading(source)).await?;
        self.source
            .batch_execute(&copy::import_snapshot(&kept.name))
            .await?;
        if source_state(&self.source, source).await?.filenode != kept.filenode {
            return Err(CopyError::SourceChanged {
                table: source.name.to_string(),
            });
        }
        self.target.batch_execute("BEGIN").await?;
        state::guard(&self.target, name, self.generation).await?;
        let [out, into] = copy::pipe_templates(source, target, range);
        let rows = self.source.pipe(&out, &self.target, &into).await?;
        Ok(Copied { rows })
    }

    async fn commit(&self, copied: Copied) -> Outcome {
        // It has read, and nothing hangs on its end.
        let _ = self.source.batch_execute("COMMIT").await;
        match self.target.batch_execute("COMMIT").await {
            Ok(()) => Outcome::Done(copied),
            Err(error) if error.class() == SqlClass::Lost => Outcome::Unknown(error.into()),
            // The server answered: the transaction is rolled back.
            Err(error) => Outcome::NotDone(error.into()),
        }
    }
}
