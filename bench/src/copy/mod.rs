//! Ways to copy a table within one server: `INSERT … SELECT` against binary `COPY` pipes, in one and two sessions.
//!
//! Every way copies the same rows of the demo's `orders` into the same empty table without indexes, casting `id` and
//! `status`, range by range as the engine does. Rounds are interleaved, so that a machine that gets slower slows all
//! of them; each figure is the median of its rounds.

mod statements;
mod ways;

use std::time::{Duration, Instant};

use crossfade_lab::orders::{Size, schema};
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::copy::{CtidRange, ranges};
use crossfade_postgres::session::{ConnectError, Session, SessionOptions, SqlError};
use serde::Serialize;

use self::statements::Statements;
pub use self::ways::Way;

/// Measurements of one way; their median counts.
const ROUNDS: usize = 3;
/// Heap and TOAST bytes of one range.
const RANGE_BYTES: u64 = 8 << 20;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A task of a way died.
    #[error("copy in a task of its own")]
    Died(#[from] tokio::task::JoinError),
    /// A way that copies wrongly has no figures.
    #[error("copy all rows by {way}: {found} of {expected} are there")]
    Rows {
        /// Which way.
        way: &'static str,
        /// Rows that it copied.
        found: u64,
        /// Rows that it should have.
        expected: u64,
    },
}

/// The figures of one way.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Which way, such as `insert_select_1`.
    pub way: &'static str,
    /// Median of rows per second.
    pub rows_per_second: f64,
    /// Median of WAL bytes per row.
    pub wal_bytes_per_row: f64,
    /// Rows per second as a multiple of the baseline's.
    pub ratio: f64,
}

/// What `bench copy` measured.
#[derive(Clone, Debug, Serialize)]
pub struct CopyReport {
    /// `server_version_num`.
    pub server_version_num: u32,
    /// `fsync`.
    pub fsync: bool,
    /// Rows of the table.
    pub rows: u64,
    /// Heap and TOAST bytes of the table.
    pub bytes: u64,
    /// Measurements of each way.
    pub rounds: usize,
    /// The way that has ratio 1.
    pub baseline: &'static str,
    /// In the order of [`Way::ALL`].
    pub ways: Vec<Figures>,
}

/// The table that is copied.
#[derive(Debug)]
struct Table {
    rows: u64,
    bytes: u64,
    ranges: Vec<CtidRange>,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
struct Sample {
    rows_per_second: f64,
    wal_bytes_per_row: f64,
}

/// Fills a table in a schema of its own, measures, and drops the schema again. `progress` is told what begins.
///
/// # Errors
/// [`BenchError`]; the schema is dropped unless the server is gone.
///
/// # Cancel safety
/// Dropping the future leaves the schema `crossfade_bench` behind; the next run replaces it.
pub async fn measure(
    config: &ConnectConfig,
    rows: u32,
    mut progress: impl FnMut(&str),
) -> Result<CopyReport, BenchError> {
    let session = open(config).await?;
    session.batch_execute(&statements::begin()).await?;
    let measured = measure_in(&session, config, rows, &mut progress).await;
    session.batch_execute(&statements::end()).await?;
    measured
}

async fn measure_in(
    session: &Session,
    config: &ConnectConfig,
    rows: u32,
    progress: &mut impl FnMut(&str),
) -> Result<CopyReport, BenchError> {
    progress("filling the table");
    let table = fill(session, rows).await?;
    let statements = Statements::new();
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); Way::ALL.len()];
    for round in 1..=ROUNDS {
        for (way, samples) in Way::ALL.into_iter().zip(&mut samples) {
            progress(&format!("round {round} of {ROUNDS}: {}", way.name()));
            samples.push(once(session, config, way, &table, &statements).await?);
        }
    }
    let setting = session.query_one(statements::FSYNC, &[]).await?;
    Ok(CopyReport {
        server_version_num: session.version_num(),
        fsync: setting.get(0),
        rows: table.rows,
        bytes: table.bytes,
        rounds: ROUNDS,
        baseline: Way::ALL[0].name(),
        ways: figures(&samples),
    })
}

async fn open(config: &ConnectConfig) -> Result<Session, ConnectError> {
    let options = SessionOptions {
        search_path: statements::SCHEMA.to_owned(),
        ..SessionOptions::default()
    };
    Session::open(config, &options).await
}

async fn fill(session: &Session, rows: u32) -> Result<Table, BenchError> {
    let size = Size { orders: rows.into() };
    session.batch_execute(&schema::create()).await?;
    session.batch_execute(&schema::fill(size)).await?;
    session.batch_execute(&statements::target()).await?;
    // Hint bits are set and pages marked all-visible before the first way pays for it.
    session.batch_execute(statements::VACUUM).await?;
    let row = session.query_one(statements::SIZE, &[]).await?;
    let (pages, bytes) = (row.get::<_, i64>(0), row.get::<_, i64>(1));
    let (pages, bytes) = (u32::try_from(pages).unwrap_or(u32::MAX), bytes.cast_unsigned());
    Ok(Table {
        rows: rows.into(),
        bytes,
        ranges: ranges(pages, bytes, RANGE_BYTES),
    })
}

async fn once(
    session: &Session,
    config: &ConnectConfig,
    way: Way,
    table: &Table,
    statements: &Statements,
) -> Result<Sample, BenchError> {
    session.batch_execute(statements::EMPTY).await?;
    let mut sessions = Vec::new();
    for _ in 0..way.backends() {
        let session = open(config).await?;
        session
            .batch_execute(crossfade_postgres::copy::COPIER_SETTINGS)
            .await?;
        sessions.push(session);
    }
    let wal_before: i64 = session.query_one(statements::WAL, &[]).await?.get(0);
    let started = Instant::now();
    way.copy(sessions, &table.ranges, statements).await?;
    let took = started.elapsed();
    let wal_after: i64 = session.query_one(statements::WAL, &[]).await?.get(0);
    let found = session.query_one(statements::COUNT, &[]).await?.get::<_, i64>(0);
    if found.cast_unsigned() != table.rows {
        return Err(BenchError::Rows {
            way: way.name(),
            found: found.cast_unsigned(),
            expected: table.rows,
        });
    }
    Ok(sample(table.rows, took, wal_after - wal_before))
}

fn sample(rows: u64, took: Duration, wal: i64) -> Sample {
    Sample {
        rows_per_second: rows as f64 / took.as_secs_f64(),
        wal_bytes_per_row: wal as f64 / rows as f64,
    }
}

fn figures(samples: &[Vec<Sample>]) -> Vec<Figures> {
    let speed = |samples: &[Sample]| median(samples.iter().map(|sample| sample.rows_per_second));
    let baseline = samples.first().map_or(1.0, |samples| speed(samples));
    let of_way = |(way, samples): (Way, &Vec<Sample>)| Figures {
        way: way.name(),
        rows_per_second: speed(samples).round(),
        wal_bytes_per_row: median(samples.iter().map(|sample| sample.wal_bytes_per_row)).round(),
        ratio: (speed(samples) / baseline * 100.0).round() / 100.0,
    };
    Way::ALL.into_iter().zip(samples).map(of_way).collect()
}

/// The middle one; of an even number the upper of the two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_to_the_baseline() {
        let sample = |rows_per_second| Sample {
            rows_per_second,
            wal_bytes_per_row: 100.4,
        };
        let slow = vec![sample(10.0), sample(1000.0), sample(20.0)];
        let fast = vec![sample(50.0), sample(40.0), sample(30.0)];
        let figures = figures(&[slow, fast]);
        assert_eq!(figures.len(), 2);
        assert_eq!((figures[0].ratio, figures[1].ratio), (1.0, 2.0));
        assert_eq!(figures[1].wal_bytes_per_row, 100.0);
    }
}
