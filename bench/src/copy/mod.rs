//! Ways to copy a table within one server: `INSERT … SELECT` against binary `COPY` pipes, and what moves their speed.
//!
//! The first value of each dimension makes the baseline, by the engine's way in one session. The cells are the ways with
//! each number of sessions, and the baseline with each other value of one dimension: a line for each question, not the
//! product of all. Every way copies range by range as the engine does, casting two columns. Rounds are interleaved, so
//! that a machine that gets slower slows all of them.

mod parameters;
mod statements;
mod ways;

use std::time::Instant;

use crossfade_postgres::copy::{COPIER_SETTINGS, CtidRange, ranges};
use crossfade_postgres::session::Session;
use serde::{Deserialize, Serialize};

pub use self::parameters::{CopyOptions, CopyParameters};
pub use self::statements::INDEXES_MAX;
use self::statements::Statements;
pub use self::ways::Way;
use crate::BenchError;
use crate::ground::{Ground, MAIN};
use crate::record::Record;
use crate::report::{Sample, cell_of, rounds_of};
use crate::stats::rounded;
use crate::table;
pub use crate::table::WIDTH_MAX;

/// One copy of the whole table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CopySample {
    /// Rows per second.
    pub rows_per_second: f64,
    /// WAL bytes per row, of everything on the server.
    pub wal_bytes_per_row: f64,
}

impl Sample for CopySample {
    fn quantities(&self) -> Vec<(String, &'static str, f64)> {
        vec![
            ("speed".to_owned(), "rows/s", self.rows_per_second),
            ("WAL".to_owned(), "bytes/row", self.wal_bytes_per_row),
        ]
    }
}

/// A table that is copied, and where to.
struct Filled {
    of: CopyParameters,
    statements: Statements,
    pages: u32,
    bytes: u64,
}

/// Measures every cell that `record` does not have, in a database of its own. `progress` is told what begins.
///
/// # Errors
/// [`BenchError`]; what was measured by then is in the record.
///
/// # Cancel safety
/// Dropping the future leaves the database behind, for [`Ground::clear`].
pub async fn measure(
    ground: &Ground,
    options: &CopyOptions,
    record: &mut Record,
    progress: &mut impl FnMut(&str),
) -> Result<(), BenchError> {
    let cells = options.cells();
    let missing = |record: &Record, (_, parameters): &(String, CopyParameters), round| {
        rounds_of(&record.report.copy, parameters) < round
    };
    if !cells.iter().any(|cell| missing(record, cell, options.rounds)) {
        progress("copy: every cell is there");
        return Ok(());
    }
    ground.make(MAIN).await?;
    let session = ground.session(MAIN).await?;
    session.batch_execute(&table::status_type()).await?;
    let mut tables: Vec<Filled> = Vec::new();
    for round in 1..=options.rounds {
        for cell in &cells {
            if !missing(record, cell, round) {
                continue;
            }
            let (label, parameters) = cell;
            let filled = filled(&session, ground, &mut tables, parameters, progress).await?;
            progress(&format!("copy, round {round} of {}: {label}", options.rounds));
            let sample = once(&session, ground, parameters, filled).await?;
            cell_of(&mut record.report.copy, label, &cells[0].1, parameters)
                .samples
                .push(sample);
            record.save()?;
        }
    }
    drop(session);
    Ok(ground.clear().await?)
}

/// The table of these parameters, made and copied once unmeasured if need be.
async fn filled<'a>(
    session: &Session,
    ground: &Ground,
    tables: &'a mut Vec<Filled>,
    parameters: &CopyParameters,
    progress: &mut impl FnMut(&str),
) -> Result<&'a Filled, BenchError> {
    let same = |filled: &Filled| filled.of.same_table(parameters);
    if let Some(position) = tables.iter().position(same) {
        return Ok(&tables[position]);
    }
    progress(&format!("copy: filling a table of {} rows", parameters.rows));
    let number = tables.len();
    let (from, to) = (format!("items_{number}"), format!("copied_{number}"));
    session.batch_execute(&table::create(&from)).await?;
    let CopyParameters {
        rows, width, toast, ..
    } = *parameters;
    session
        .batch_execute(&table::fill(&from, rows, width, toast))
        .await?;
    session.batch_execute(&table::vacuum(&from)).await?;
    let statements = Statements::new(&from, &to);
    let size = session.query_one(&statements.size(), &[]).await?;
    let filled = Filled {
        of: *parameters,
        pages: u32::try_from(size.get::<_, i64>(0)).unwrap_or(u32::MAX),
        bytes: size.get::<_, i64>(1).cast_unsigned(),
        statements,
    };
    once(session, ground, parameters, &filled).await?;
    tables.push(filled);
    Ok(&tables[number])
}

async fn once(
    session: &Session,
    ground: &Ground,
    parameters: &CopyParameters,
    filled: &Filled,
) -> Result<CopySample, BenchError> {
    let statements = &filled.statements;
    session
        .batch_execute(&statements.renew(parameters.indexes))
        .await?;
    let mut sessions = Vec::new();
    for _ in 0..parameters.way.backends(parameters.sessions) {
        let session = ground.session(MAIN).await?;
        session.batch_execute(COPIER_SETTINGS).await?;
        sessions.push(session);
    }
    let ranges: Vec<CtidRange> = ranges(filled.pages, filled.bytes, parameters.range_mb << 20);
    let wal = || async { Ok::<i64, BenchError>(session.query_one(statements::WAL, &[]).await?.get(0)) };
    let wal_before = wal().await?;
    let started = Instant::now();
    parameters.way.copy(sessions, &ranges, statements).await?;
    let seconds = started.elapsed().as_secs_f64();
    let wal_bytes = wal().await? - wal_before;
    check(session, statements, parameters.rows).await?;
    Ok(CopySample {
        rows_per_second: rounded(parameters.rows as f64 / seconds),
        wal_bytes_per_row: rounded(wal_bytes as f64 / parameters.rows as f64),
    })
}

/// A way that copies wrongly has no figures.
async fn check(session: &Session, statements: &Statements, rows: u64) -> Result<(), BenchError> {
    let row = session.query_one(&statements.copied(), &[]).await?;
    let found: (i64, i64) = (row.get(0), row.get(1));
    let rows = rows.cast_signed();
    let expected = (rows, rows * (rows + 1) / 2);
    if found == expected {
        return Ok(());
    }
    Err(BenchError::Wrong {
        what: "the rows of a copy, and the sum of their ids".to_owned(),
        found: format!("{found:?}"),
        expected: format!("{expected:?}"),
    })
}
