//! The session, the transaction of the batch, and its end.

use crossfade_core::name::MigrationName;
use crossfade_core::piece::{LedgerNote, Piece};
use crossfade_core::plan::CopyStep;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::{Direction, carried_back_message};
use crossfade_postgres::session::{Session, SqlClass, SqlError};
use crossfade_postgres::state::{Generation, advance_statement, guard_statement, note_statements};
use crossfade_postgres::{apply, wal};

use crate::error::ApplyError;
use crate::target::TargetApplier;

/// Applies pieces to all targets of a step, in one session, which must have the plan's search path.
pub struct Applier {
    session: Session,
    targets: Vec<TargetApplier>,
    name: MigrationName,
    direction: Direction,
    generation: Generation,
    /// A batch has begun and not ended.
    open: bool,
    /// It has rows that were fetched.
    fetched: bool,
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
        direction: Direction,
        generation: Generation,
    ) -> Result<Self, SqlError> {
        session.batch_execute(apply::APPLIER_SETTINGS).await?;
        session.batch_execute(apply::CLIENT_ENCODING).await?;
        let mut targets = Vec::with_capacity(step.targets.len());
        for (ordinal, target) in step.targets.iter().enumerate() {
            targets.push(TargetApplier::prepare(&session, &step.source, target, (ordinal, ordinal)).await?);
        }
        Ok(Applier {
            session,
            targets,
            name: name.clone(),
            direction,
            generation,
            open: false,
            fetched: false,
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
            self.fetched = false;
            self.begin().await?;
        }
        self.fetched |= piece.fetched;
        for target in &self.targets {
            let applied = target.apply(&self.session, piece).await;
            applied.map_err(|error| error.of_batch(self.fetched))?;
        }
        match piece.applied {
            Some(to) => self.advance(to, piece).await,
            None => Ok(()),
        }
    }

    async fn begin(&self) -> Result<(), ApplyError> {
        let guard = guard_statement(&self.name, self.generation);
        let counts = self.session.run_script(&[apply::BEGIN, &guard]).await?;
        if counts.last() != Some(&1) {
            return Err(ApplyError::Superseded {
                name: self.name.to_string(),
            });
        }
        match self.direction {
            Direction::Forward => {}
            // On the retired table a transaction that does not say so is somebody else's (R31).
            Direction::Back => {
                wal::emit_here(&self.session, &carried_back_message(&self.name)).await?;
            }
        }
        Ok(())
    }

    /// Which single row of a piece the targets refuse for its values, in words; tried in transactions that are rolled
    /// back, without the rest of its batch and without what the piece removes: neither makes a value fit. `None` if
    /// each is taken by itself.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn find_refused(&mut self, piece: &Piece) -> Result<Option<String>, SqlError> {
        let (mut from, mut to) = (0, piece.puts.len());
        if to == 0 || self.refuses(piece, from, to).await?.is_none() {
            return Ok(None);
        }
        while to - from > 1 {
            let middle = from + (to - from) / 2;
            match self.refuses(piece, from, middle).await? {
                Some(_) => to = middle,
                None => from = middle,
            }
        }
        self.refuses(piece, from, to).await
    }

    /// Tries a part of a piece; if it is refused, the key of its first row.
    async fn refuses(&mut self, piece: &Piece, from: usize, to: usize) -> Result<Option<String>, SqlError> {
        let part = Piece {
            first: true,
            truncate: false,
            removes: Vec::new(),
            deletes: Vec::new(),
            puts: piece.puts[from..to].to_vec(),
            applied: None,
            aligned: None,
            fetched: false,
            ledger: LedgerNote::default(),
        };
        let mut refused = None;
        for target in 0..self.targets.len() {
            self.session.batch_execute(apply::BEGIN).await?;
            if let Err(error) = self.targets[target].apply(&self.session, &part).await
                && error.lies_in_a_row()
            {
                refused = Some(target);
            }
            self.session.batch_execute("ROLLBACK").await?;
        }
        match refused {
            Some(target) => Ok(Some(
                self.targets[target].key_of_first(&self.session, &part).await?,
            )),
            None => Ok(None),
        }
    }

    async fn advance(&self, to: Lsn, piece: &Piece) -> Result<(), ApplyError> {
        advance(&self.session, &self.name, self.direction, (to, piece)).await
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

/// Moves the position, in the transaction of a batch's last piece.
pub(crate) async fn advance(
    session: &Session,
    name: &MigrationName,
    direction: Direction,
    (to, piece): (Lsn, &Piece),
) -> Result<(), ApplyError> {
    let mut statements = note_statements(name, &piece.ledger);
    statements.push(advance_statement(name, direction, to, piece.aligned.as_ref()));
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let counts = session.run_script(&statements).await?;
    match counts.last() {
        Some(1) => Ok(()),
        Some(_) | None => Err(ApplyError::PositionNotMoved { to }),
    }
}
