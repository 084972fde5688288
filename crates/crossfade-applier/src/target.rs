//! One target: its statements, and a piece run through them.

use crossfade_core::piece::Piece;
use crossfade_core::plan::{Source, Target};
use crossfade_postgres::apply::{self, ApplyStatements, KeyedStatements, Writing, encode};
use crossfade_postgres::ident;
use crossfade_postgres::session::{Prepared, Session, SqlError};

use crate::error::{ApplyError, may_be_swapped_values};

const SAVEPOINT: &str = "SAVEPOINT piece";
const BACK: &str = "ROLLBACK TO SAVEPOINT piece";
const RELEASE: &str = "RELEASE SAVEPOINT piece";

/// A target and everything prepared for it in one session.
pub(crate) struct TargetApplier {
    source: Source,
    target: Target,
    /// Its position in the step.
    ordinal: usize,
    statements: ApplyStatements,
    copy_puts: Prepared,
    copy_deletes: Option<Prepared>,
}

impl TargetApplier {
    /// `staging`: a number of its own among all that are prepared in the session.
    pub(crate) async fn prepare(
        session: &Session,
        source: &Source,
        target: &Target,
        (ordinal, staging): (usize, usize),
    ) -> Result<Self, SqlError> {
        let shadow = ident::table(&target.shadow);
        let written: Vec<&str> = target.columns.iter().map(|column| column.name.as_str()).collect();
        let others = session.query(apply::OTHER_COLUMNS, &[&shadow, &written]).await?;
        let others: Vec<String> = others.iter().map(|row| row.get(0)).collect();
        let statements = ApplyStatements::render(source, target, staging, &others);
        for statement in &statements.create_staging {
            session.batch_execute(statement).await?;
        }
        let copy_deletes = match &statements.keyed {
            Some(keyed) => Some(session.prepare(&keyed.copy_deletes).await?),
            None => None,
        };
        Ok(TargetApplier {
            source: source.clone(),
            target: target.clone(),
            ordinal,
            copy_puts: session.prepare(&statements.copy_puts).await?,
            copy_deletes,
            statements,
        })
    }

    /// Runs one piece in the session's open transaction.
    pub(crate) async fn apply(&self, session: &Session, piece: &Piece) -> Result<(), ApplyError> {
        if !piece.first {
            session.batch_execute(&self.statements.clear_staging).await?;
        }
        self.stage(session, piece).await?;
        match &self.statements.keyed {
            Some(keyed) => self.apply_keyed(session, piece, keyed).await,
            None => self.append(session, piece).await,
        }
    }

    /// The key of a piece's first put, as the server writes it: `id = 7`. In a transaction that is rolled back.
    pub(crate) async fn key_of_first(&self, session: &Session, piece: &Piece) -> Result<String, SqlError> {
        let (Some(put), Some(show)) = (piece.puts.first(), &self.statements.show_put_key) else {
            return Ok("a table without a key".to_owned());
        };
        let Ok(row) = encode::puts(&self.source, std::slice::from_ref(put)) else {
            return Ok("a row that cannot be sent".to_owned());
        };
        session.batch_execute(apply::BEGIN).await?;
        session.copy_in(&self.copy_puts, [row]).await?;
        let key = session.query_one(show, &[]).await?.get(0);
        session.batch_execute("ROLLBACK").await?;
        Ok(key)
    }

    async fn stage(&self, session: &Session, piece: &Piece) -> Result<(), ApplyError> {
        for put in piece.puts.iter().filter(|put| put.keeps()) {
            encode::check_keeps(&self.target, put)?;
        }
        if !piece.puts.is_empty() {
            let rows = encode::puts(&self.source, &piece.puts)?;
            session.copy_in(&self.copy_puts, [rows]).await?;
        }
        match &self.copy_deletes {
            _ if piece.deletes.is_empty() => {}
            Some(copy) => {
                let keys = encode::keys(&self.source, &piece.deletes)?;
                session.copy_in(copy, [keys]).await?;
            }
            None => {
                let table = self.target.shadow.to_string();
                return Err(ApplyError::NoKey { table });
            }
        }
        Ok(())
    }

    async fn append(&self, session: &Session, piece: &Piece) -> Result<(), ApplyError> {
        let truncate = piece.truncate.then_some(self.statements.truncate.as_str());
        let insert = (!piece.puts.is_empty()).then_some(self.statements.upsert.as_str());
        let statements: Vec<&str> = truncate.into_iter().chain(insert).collect();
        if !statements.is_empty() {
            session
                .run_script(&statements)
                .await
                .map_err(|error| self.violation(error, piece))?;
        }
        Ok(())
    }

    async fn apply_keyed(
        &self,
        session: &Session,
        piece: &Piece,
        keyed: &KeyedStatements,
    ) -> Result<(), ApplyError> {
        self.remove(session, piece, keyed).await?;
        if !piece.truncate && piece.deletes.is_empty() && piece.puts.is_empty() {
            return Ok(());
        }
        match self.write(session, piece, keyed).await {
            Err(ApplyError::Sql(error)) if may_be_swapped_values(&error) => {
                let retried = self.retry(session, piece, keyed).await;
                retried.map_err(|error| match error {
                    ApplyError::Sql(error) => self.violation(error, piece),
                    error => error,
                })
            }
            outcome => outcome,
        }
    }

    /// Few, so one by one.
    async fn remove(
        &self,
        session: &Session,
        piece: &Piece,
        keyed: &KeyedStatements,
    ) -> Result<(), SqlError> {
        let mine = piece.removes.iter().filter(|row| row.target == self.ordinal);
        for row in mine {
            session.execute(&keyed.remove, &[&row.key]).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        session: &Session,
        piece: &Piece,
        keyed: &KeyedStatements,
    ) -> Result<(), ApplyError> {
        let mut script = self.removals(SAVEPOINT, piece, keyed);
        match &keyed.writing {
            Writing::Rows {
                stage_keeping,
                update_keeping,
            } => {
                let keeping = piece.puts.iter().filter(|put| put.keeps()).count();
                if piece.puts.len() > keeping {
                    script.push(&self.statements.upsert);
                }
                if keeping > 0 {
                    script.push_counted(stage_keeping);
                    script.push_counted(update_keeping);
                }
            }
            Writing::Derived { upsert_images, .. } => script.push_counted(upsert_images),
        }
        script.push(RELEASE);
        self.run(session, &script).await
    }

    async fn retry(
        &self,
        session: &Session,
        piece: &Piece,
        keyed: &KeyedStatements,
    ) -> Result<(), ApplyError> {
        let retry = &keyed.retry;
        let mut script = self.removals(BACK, piece, keyed);
        match keyed.writing {
            Writing::Rows { .. } => script.push_counted(&retry.stage_all),
            // They are staged.
            Writing::Derived { .. } => {}
        }
        script.push(&retry.remember);
        script.push(&retry.take_out);
        // Two staging tables are joined, and neither has an index.
        script.push(apply::HASH_JOINS_ON);
        script.push_counted(&retry.put_back);
        script.push_counted(&retry.put_new);
        script.push(apply::HASH_JOINS_OFF);
        script.push(RELEASE);
        self.run(session, &script).await
    }

    /// Everything before the first row goes in.
    fn removals<'a>(&'a self, first: &'a str, piece: &Piece, keyed: &'a KeyedStatements) -> Script<'a> {
        let mut script = Script::default();
        script.push(first);
        if piece.truncate {
            script.push(&self.statements.truncate);
        }
        if !piece.deletes.is_empty() {
            script.push(&keyed.stage_deletes);
        }
        match &keyed.writing {
            Writing::Rows { .. } if piece.deletes.is_empty() => {}
            Writing::Rows { .. } => script.push(&keyed.delete),
            Writing::Derived {
                stage_put_keys,
                stage_images,
                ..
            } => {
                script.push(stage_put_keys);
                script.push_counted(stage_images);
                script.push(&keyed.delete);
            }
        }
        script
    }

    /// Runs it, and holds the rows that were written against those that were staged.
    async fn run(&self, session: &Session, script: &Script<'_>) -> Result<(), ApplyError> {
        let counts = session.run_script(&script.statements).await?;
        let counts: Vec<u64> = script
            .counted
            .iter()
            .filter_map(|place| counts.get(*place).copied())
            .collect();
        match counts.split_first() {
            Some((staged, written)) => self.expect_rows(*staged, written.iter().sum()),
            None => Ok(()),
        }
    }

    fn expect_rows(&self, staged: u64, written: u64) -> Result<(), ApplyError> {
        if staged == written {
            return Ok(());
        }
        Err(ApplyError::KeepWithoutRow {
            table: self.target.shadow.to_string(),
            missing: staged.saturating_sub(written),
        })
    }

    fn violation(&self, error: SqlError, piece: &Piece) -> ApplyError {
        match error.constraint() {
            Some(constraint) => ApplyError::Violation {
                table: self.target.shadow.to_string(),
                constraint: constraint.to_owned(),
                rows: piece.puts.len(),
                source: error,
            },
            None => error.into(),
        }
    }
}

/// Statements that are sent at once.
#[derive(Default)]
struct Script<'a> {
    statements: Vec<&'a str>,
    /// Those whose rows count: the first stages as many images as the others write rows.
    counted: Vec<usize>,
}

impl<'a> Script<'a> {
    fn push(&mut self, statement: &'a str) {
        self.statements.push(statement);
    }

    fn push_counted(&mut self, statement: &'a str) {
        self.counted.push(self.statements.len());
        self.statements.push(statement);
    }
}
