//! One session for many tables: whole batches of several of them in one transaction.
//!
//! Each table's rows commit with its own position, so nothing hangs on what else is in the transaction; but one commit
//! is waited for instead of many.

use std::collections::BTreeMap;

use crossfade_core::name::MigrationName;
use crossfade_core::piece::Piece;
use crossfade_core::plan::CopyStep;
use crossfade_core::way_back::Direction;
use crossfade_postgres::apply;
use crossfade_postgres::session::{Session, SqlClass, SqlError};
use crossfade_postgres::state::{Generation, guard_statement};

use crate::applier::advance;
use crate::error::ApplyError;
use crate::target::TargetApplier;

/// No table has more targets.
const TARGETS_MAX: usize = 1_000;

/// See the module.
pub struct Lane {
    session: Session,
    guard: String,
    owner: MigrationName,
    tables: BTreeMap<usize, Vec<TargetApplier>>,
}

/// A whole batch of one table.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The table's number, of its own in the session.
    pub table: usize,
    /// What the state schema knows it by.
    pub name: &'a MigrationName,
    /// Its step.
    pub step: &'a CopyStep,
    /// The batch: one piece, the first and the last.
    pub piece: &'a Piece,
}

/// What came of several batches.
#[derive(Debug)]
pub enum LaneOutcome {
    /// All are committed, with their positions.
    Applied,
    /// Nothing of any of them is in the targets.
    NotApplied(ApplyError),
    /// The answer to the commit was lost: only the stored positions can tell.
    Unknown(ApplyError),
}

impl Lane {
    /// Prepares a session for the tables of that owner, whose generation guards every transaction. The session is in no
    /// transaction.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn prepare(
        session: Session,
        owner: &MigrationName,
        generation: Generation,
    ) -> Result<Self, SqlError> {
        session.batch_execute(apply::APPLIER_SETTINGS).await?;
        session.batch_execute(apply::CLIENT_ENCODING).await?;
        Ok(Lane {
            session,
            guard: guard_statement(owner, generation),
            owner: owner.clone(),
            tables: BTreeMap::new(),
        })
    }

    /// Applies all or none. A dropped future leaves a transaction open: drop the lane too.
    pub async fn apply(&mut self, batches: &[Batch<'_>]) -> LaneOutcome {
        match self.run(batches).await {
            Ok(()) => match self.session.batch_execute("COMMIT").await {
                Ok(()) => LaneOutcome::Applied,
                Err(error) if error.class() == SqlClass::Lost => LaneOutcome::Unknown(error.into()),
                // The server answered: the transaction is rolled back.
                Err(error) => LaneOutcome::NotApplied(error.into()),
            },
            Err(error) => {
                // A lost connection has rolled back by itself.
                let _ = self.session.batch_execute("ROLLBACK").await;
                LaneOutcome::NotApplied(error)
            }
        }
    }

    async fn run(&mut self, batches: &[Batch<'_>]) -> Result<(), ApplyError> {
        for batch in batches {
            self.prepare_table(batch).await?;
        }
        let counts = self.session.run_script(&[apply::BEGIN, &self.guard]).await?;
        if counts.last() != Some(&1) {
            return Err(ApplyError::Superseded {
                name: self.owner.to_string(),
            });
        }
        for batch in batches {
            let targets = self.tables.get(&batch.table).into_iter().flatten();
            for target in targets {
                let applied = target.apply(&self.session, batch.piece).await;
                applied.map_err(|error| error.of_batch(batch.piece.fetched))?;
            }
            let to = batch.piece.applied.ok_or(ApplyError::OutOfOrder)?;
            advance(&self.session, batch.name, Direction::Forward, (to, batch.piece)).await?;
        }
        Ok(())
    }

    async fn prepare_table(&mut self, batch: &Batch<'_>) -> Result<(), SqlError> {
        if self.tables.contains_key(&batch.table) {
            return Ok(());
        }
        let mut targets = Vec::new();
        for (ordinal, target) in batch.step.targets.iter().enumerate() {
            let number = (ordinal, batch.table * TARGETS_MAX + ordinal);
            targets.push(TargetApplier::prepare(&self.session, &batch.step.source, target, number).await?);
        }
        self.tables.insert(batch.table, targets);
        Ok(())
    }
}
