//! One session that copies chunks, one transaction each: lock, snapshot, the chunk's end; then, once the snapshot
//! may be used, its rows and its ledger row.

use crossfade_core::ledger::{ChunkId, Opening, Span, Upper};
use crossfade_core::migration::OpenedChunk;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::CopyStep;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_postgres::apply::fetch::Fetcher;
use crossfade_postgres::copy::chunk::{Bounds, CHUNK_SETTINGS, chunk_copy, chunk_end};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::state::{self, Generation};
use crossfade_postgres::{copy, wal};

use crate::CopyError;
use crate::copier::{Copied, Outcome};
use crate::keeper::source_state;

/// Copies chunks through one session, which must have the plan's search path.
pub struct ChunkCopier {
    session: Session,
    fetcher: Fetcher,
    step: CopyStep,
    name: MigrationName,
    generation: Generation,
    /// The snapshot of the transaction that is open.
    snapshot: Option<Snapshot>,
}

impl ChunkCopier {
    /// Prepares a session for copying chunks. The session is in no transaction.
    ///
    /// # Errors
    /// When the server refuses, or the source has no key.
    pub async fn prepare(
        session: Session,
        step: &CopyStep,
        name: &MigrationName,
        generation: Generation,
    ) -> Result<Self, CopyError> {
        session.batch_execute(CHUNK_SETTINGS).await?;
        let fetcher = Fetcher::prepare(&session, &step.source).await?;
        Ok(ChunkCopier {
            session,
            fetcher,
            step: step.clone(),
            name: name.clone(),
            generation,
            snapshot: None,
        })
    }

    /// The session: to cancel it, and to leave it out of lists of others' sessions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Locks the source, takes a snapshot and finds the chunk's end. The transaction stays open. A dropped future
    /// leaves it open too: drop the copier.
    ///
    /// # Errors
    /// When something fails; then no transaction is open.
    pub async fn open(&mut self, opening: &Opening) -> Result<OpenedChunk, CopyError> {
        let opened = self.begin(opening).await;
        match &opened {
            Ok(opened) => self.snapshot = Some(opened.snapshot.clone()),
            Err(_) => self.roll_back().await,
        }
        opened
    }

    async fn begin(&self, opening: &Opening) -> Result<OpenedChunk, CopyError> {
        let (session, source) = (&self.session, &self.step.source);
        session.batch_execute(&copy::begin_reading(source)).await?;
        // The generation was raised before the snapshot is taken; had it been raised since, the snapshot would find
        // the old row, and locking it would fail.
        state::guard(session, &self.name, self.generation).await?;
        let row = session.query_one(copy::CURRENT_SNAPSHOT, &[]).await?;
        let snapshot = row.get::<_, &str>(0).parse()?;
        let file = source_state(session, source).await?.filenode;
        let position: Lsn = wal::insert_position(session).await?;
        let mut span = Span {
            lower: opening.lower.clone(),
            upper: None,
        };
        match &opening.upper {
            Upper::Known(upper) => span.upper.clone_from(upper),
            Upper::AfterRows(rows) => span.upper = self.find_end(&span, *rows).await?,
        }
        Ok(OpenedChunk {
            id: opening.id,
            span,
            snapshot,
            file,
            position,
        })
    }

    async fn find_end(
        &self,
        span: &Span,
        rows: u64,
    ) -> Result<Option<crossfade_core::piece::KeyCells>, CopyError> {
        self.fetcher.stage_span(&self.session, span).await?;
        let last = rows.saturating_sub(1).to_string();
        let statement = chunk_end(&self.step.source, span.lower.is_some(), &last).ok_or(CopyError::NoKey)?;
        Ok(self.fetcher.read_key(&self.session, &statement).await?)
    }

    /// Copies the chunk that was opened into every target, its ledger row with it. Afterwards no transaction is open.
    pub async fn copy(&mut self, id: ChunkId, span: &Span) -> Outcome {
        match self.write(id, span).await {
            Ok(copied) => self.commit(copied).await,
            Err(error) => {
                self.roll_back().await;
                Outcome::NotDone(error)
            }
        }
    }

    async fn write(&mut self, id: ChunkId, span: &Span) -> Result<Copied, CopyError> {
        let snapshot = self.snapshot.take().ok_or(CopyError::NotOpened)?;
        let bounds = Bounds {
            lower: span.lower.is_some(),
            upper: span.upper.is_some(),
        };
        self.fetcher.stage_span(&self.session, span).await?;
        let mut rows = 0;
        for target in &self.step.targets {
            let statement = chunk_copy(&self.step.source, target, bounds).ok_or(CopyError::NoKey)?;
            rows += self.session.run_script(&[&statement]).await?.iter().sum::<u64>();
        }
        let chunk = state::Chunk {
            number: id.0,
            span: span.clone(),
            snapshot,
            rows,
        };
        state::record_chunk(&self.session, self.name.as_str(), &chunk).await?;
        Ok(Copied { rows })
    }

    /// Lets go of a snapshot that is not to be used.
    pub async fn release(&mut self) {
        self.snapshot = None;
        self.roll_back().await;
    }

    /// A lost connection has rolled back by itself.
    async fn roll_back(&self) {
        let _ = self.session.batch_execute("ROLLBACK").await;
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
