//! One session that copies chunks, one transaction each: lock, snapshot, the chunk's end; then, once the snapshot
//! may be used, its rows and its ledger row. Where the targets are on another server these two are written through a
//! second session, whose transaction commits when what was read is durable (R13).

use crossfade_core::ledger::{ChunkId, Opening, Span};
use crossfade_core::migration::OpenedChunk;
use crossfade_core::name::MigrationName;
use crossfade_core::plan::CopyStep;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_postgres::apply::fetch::Fetcher;
use crossfade_postgres::copy::chunk::{
    Bounds, CHUNK_SETTINGS, chunk_copy, chunk_end, chunk_first, chunk_pipe, chunk_rows,
};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::state::{self, Generation};
use crossfade_postgres::{apply, copy, wal};

use crate::CopyError;
use crate::copier::{Copied, Outcome};
use crate::keeper::source_state;

/// Copies chunks through one session, which must have the plan's search path.
pub struct ChunkCopier {
    /// Reads; and writes, if the targets are here.
    session: Session,
    /// Writes, if they are on another server.
    there: Option<Session>,
    fetcher: Fetcher,
    step: CopyStep,
    name: MigrationName,
    generation: Generation,
    /// The snapshot of the transaction that is open.
    snapshot: Option<Snapshot>,
}

impl ChunkCopier {
    /// Prepares a session for copying chunks, and the one on the server of the targets, if that is another. They are in no
    /// transaction.
    ///
    /// # Errors
    /// When a server refuses, or the source has no key.
    pub async fn prepare(
        (session, there): (Session, Option<Session>),
        step: &CopyStep,
        name: &MigrationName,
        generation: Generation,
    ) -> Result<Self, CopyError> {
        session.batch_execute(CHUNK_SETTINGS).await?;
        let fetcher = Fetcher::prepare(&session, &step.source).await?;
        if let Some(there) = &there {
            there.batch_execute(CHUNK_SETTINGS).await?;
            there.batch_execute(apply::CLIENT_ENCODING).await?;
        }
        Ok(ChunkCopier {
            session,
            there,
            fetcher,
            step: step.clone(),
            name: name.clone(),
            generation,
            snapshot: None,
        })
    }

    /// Its sessions: to cancel them, and to leave them out of lists of others' sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(&self.session).chain(&self.there)
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
        if self.there.is_none() {
            // The generation was raised before the snapshot is taken; had it been raised since, the snapshot would find
            // the old row, and locking it would fail.
            state::guard(session, &self.name, self.generation).await?;
        }
        let row = session.query_one(copy::CURRENT_SNAPSHOT, &[]).await?;
        let snapshot = row.get::<_, &str>(0).parse()?;
        let file = source_state(session, source).await?.filenode;
        let position: Lsn = wal::insert_position(session).await?;
        let mut span = Span {
            lower: opening.lower.clone(),
            upper: opening.limit.clone(),
        };
        if let Some(rows) = opening.rows
            && let Some(end) = self.find_end(&span, rows).await?
        {
            span.upper = Some(end);
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
        let statement = chunk_end(&self.step.source, bounds(span), &last).ok_or(CopyError::NoKey)?;
        Ok(self.fetcher.read_key(&self.session, &statement).await?)
    }

    /// Copies the chunk that was opened into every target, its ledger row with it. Afterwards no transaction is open.
    pub async fn copy(&mut self, id: ChunkId, span: &Span) -> Outcome {
        match self.write(id, span).await {
            Ok(copied) => self.commit(copied).await,
            Err(error) => {
                self.roll_back().await;
                Outcome::NotDone(self.named(error, span).await)
            }
        }
    }

    /// An error that lies in a row names the row, as the source is now.
    async fn named(&self, error: CopyError, span: &Span) -> CopyError {
        let CopyError::Sql(source) = error else {
            return error;
        };
        // What the other server refuses cannot be tried here by halves; the engine says which table it was.
        if !source.lies_in_a_row() || self.there.is_some() {
            return source.into();
        }
        let found = self.find_culprit(span).await;
        self.roll_back().await;
        match found {
            Ok(Some(key)) => CopyError::Row {
                table: self.step.source.name.to_string(),
                key,
                source,
            },
            // What it was looked for because of says more than why it was not found.
            Ok(None) | Err(_) => source.into(),
        }
    }

    /// The key of the first row that cannot be copied, found by halves.
    async fn find_culprit(&self, span: &Span) -> Result<Option<String>, CopyError> {
        let (session, source) = (&self.session, &self.step.source);
        session.batch_execute(&copy::begin_reading(source)).await?;
        let mut span = span.clone();
        self.fetcher.stage_span(session, &span).await?;
        let count = chunk_rows(source, bounds(&span)).ok_or(CopyError::NoKey)?;
        let mut rows = session
            .query_one(&count, &[])
            .await?
            .get::<_, i64>(0)
            .cast_unsigned();
        while rows > 1 {
            let lower_half = Span {
                lower: span.lower.clone(),
                upper: self.find_end(&span, rows / 2).await?,
            };
            if self.fails(&lower_half).await? {
                (span, rows) = (lower_half, rows / 2);
            } else {
                span.lower = lower_half.upper;
                rows -= rows / 2;
            }
        }
        if rows == 0 || !self.fails(&span).await? {
            return Ok(None);
        }
        self.fetcher.stage_span(session, &span).await?;
        let first = chunk_first(source, bounds(&span)).ok_or(CopyError::NoKey)?;
        Ok(session.query_opt(&first, &[]).await?.map(|row| row.get(0)))
    }

    async fn fails(&self, span: &Span) -> Result<bool, CopyError> {
        self.session.batch_execute("SAVEPOINT half").await?;
        self.fetcher.stage_span(&self.session, span).await?;
        let failed = match self.insert(span).await {
            Ok(_) => false,
            Err(CopyError::Sql(error)) if error.lies_in_a_row() => true,
            Err(error) => return Err(error),
        };
        self.session.batch_execute("ROLLBACK TO SAVEPOINT half").await?;
        Ok(failed)
    }

    async fn write(&mut self, id: ChunkId, span: &Span) -> Result<Copied, CopyError> {
        let snapshot = self.snapshot.take().ok_or(CopyError::NotOpened)?;
        self.fetcher.stage_span(&self.session, span).await?;
        let (rows, writer) = match &self.there {
            None => (self.insert(span).await?, &self.session),
            Some(there) => (self.carry(span, there).await?, there),
        };
        let chunk = state::Chunk {
            number: id.0,
            span: span.clone(),
            snapshot,
            rows,
        };
        state::record_chunk(writer, self.name.as_str(), &chunk).await?;
        Ok(Copied { rows })
    }

    /// Between the staged bounds, out of this server and into the other one, where a transaction is open afterwards. What
    /// was read is durable then: a crash of this server takes nothing of it back (R13).
    async fn carry(&self, span: &Span, there: &Session) -> Result<u64, CopyError> {
        there.batch_execute("BEGIN").await?;
        state::guard(there, &self.name, self.generation).await?;
        let mut rows = 0;
        for target in &self.step.targets {
            let [out, into] = chunk_pipe(&self.step.source, target, bounds(span)).ok_or(CopyError::NoKey)?;
            rows += self.session.pipe(&out, there, &into).await?;
        }
        self.session.batch_execute("COMMIT").await?;
        wal::make_durable(&self.session).await?;
        Ok(rows)
    }

    /// Between the staged bounds, into every target.
    async fn insert(&self, span: &Span) -> Result<u64, CopyError> {
        let mut rows = 0;
        for target in &self.step.targets {
            let statement = chunk_copy(&self.step.source, target, bounds(span)).ok_or(CopyError::NoKey)?;
            rows += self.session.run_script(&[&statement]).await?.iter().sum::<u64>();
        }
        Ok(rows)
    }

    /// Lets go of a snapshot that is not to be used.
    pub async fn release(&mut self) {
        self.snapshot = None;
        self.roll_back().await;
    }

    /// A lost connection has rolled back by itself.
    async fn roll_back(&self) {
        let _ = self.session.batch_execute("ROLLBACK").await;
        if let Some(there) = &self.there {
            let _ = there.batch_execute("ROLLBACK").await;
        }
    }

    async fn commit(&self, copied: Copied) -> Outcome {
        let writer = self.there.as_ref().unwrap_or(&self.session);
        match writer.batch_execute("COMMIT").await {
            Ok(()) => Outcome::Done(copied),
            Err(error) if error.class() == SqlClass::Lost => Outcome::Unknown(error.into()),
            // The server answered: the transaction is rolled back.
            Err(error) => Outcome::NotDone(error.into()),
        }
    }
}

fn bounds(span: &Span) -> Bounds {
    Bounds {
        lower: span.lower.is_some(),
        upper: span.upper.is_some(),
    }
}
