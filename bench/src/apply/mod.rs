//! How fast a backlog of changes is drained: by the engine, by a native subscription, and by reading the stream alone.
//!
//! One backlog is committed while nobody reads; then each of the three drains it from a slot of its own, one after the
//! other, in an order that turns with the rounds. The clock runs from the moment at which the slot is being read to the one
//! at which the last change is applied and committed. The subscription is the baseline, the stream alone the ceiling: the
//! server sends no faster.

mod backlog;
mod curve;
mod scene;
mod stream;
mod subscription;

use serde::{Deserialize, Serialize};

use self::backlog::Backlog;
pub use self::curve::Point;
use self::scene::Scene;
use crate::BenchError;
use crate::ground::Ground;
use crate::mix::Mix;
use crate::record::Record;
use crate::report::{Parameters, Sample, cell_of, rounds_of};
use crate::stats::rounded;

/// Who drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reader {
    /// The engine, after its copy, in whose target all indexes are built.
    Engine,
    /// `CREATE SUBSCRIPTION` in another database of the same server, with an identical table.
    Subscription,
    /// The engine's reader of the stream, which applies nothing.
    Stream,
}

impl Reader {
    /// All of them.
    pub const ALL: [Reader; 3] = [Reader::Engine, Reader::Subscription, Reader::Stream];

    /// Its name in a cell's.
    pub fn word(self) -> &'static str {
        match self {
            Reader::Engine => "engine",
            Reader::Subscription => "subscription",
            Reader::Stream => "stream",
        }
    }

    /// Its name for people.
    pub fn name(self) -> &'static str {
        match self {
            Reader::Engine => "Crossfade",
            Reader::Subscription => "native subscription",
            Reader::Stream => "stream read, not applied",
        }
    }
}

/// What the speed depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyParameters {
    /// Who.
    pub reader: Reader,
    /// Changes of the backlog.
    pub changes: u64,
    /// Changes of one transaction.
    pub transaction: u64,
    /// What they are.
    pub mix: Mix,
    /// Rows of the table.
    pub rows: u64,
    /// Bytes of a row's payload.
    pub width: u64,
    /// Rows in a hundred with a text of 8 kB out of line.
    pub toast: u64,
}

impl Parameters for ApplyParameters {
    fn id(&self) -> String {
        let ApplyParameters {
            reader,
            changes,
            transaction,
            mix,
            rows,
            width,
            toast,
        } = self;
        format!(
            "apply reader={} changes={changes} transaction={transaction} updates={} inserts={} deletes={} hot={} rows={rows} \
             width={width} toast={toast}",
            reader.word(),
            mix.updates,
            mix.inserts,
            mix.deletes,
            mix.hot
        )
    }
}

/// One drain of a backlog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplySample {
    /// All of them, by the time that it took.
    pub changes_per_second: f64,
    /// How it went on.
    pub points: Vec<Point>,
}

impl ApplySample {
    fn of(points: Vec<Point>) -> ApplySample {
        let last = points.last();
        let speed = last.map_or(0.0, |last| last.changes as f64 / last.seconds.max(1e-3));
        ApplySample {
            changes_per_second: rounded(speed),
            points,
        }
    }
}

impl Sample for ApplySample {
    fn quantities(&self) -> Vec<(String, &'static str, f64)> {
        vec![("speed".to_owned(), "changes/s", self.changes_per_second)]
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApplyOptions {
    /// Changes of a backlog.
    pub changes: u64,
    /// Changes of one transaction.
    pub transaction: u64,
    /// What they are.
    pub mix: Mix,
    /// Rows of the table.
    pub rows: u64,
    /// Bytes of a row's payload.
    pub width: u64,
    /// Rows in a hundred with a text out of line.
    pub toast: u64,
    /// Backlogs.
    pub rounds: usize,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        ApplyOptions {
            changes: 100_000,
            transaction: 10,
            mix: Mix::default(),
            rows: 100_000,
            width: 100,
            toast: 1,
            rounds: 3,
        }
    }
}

impl ApplyOptions {
    /// The cell of that reader.
    pub fn parameters(&self, reader: Reader) -> ApplyParameters {
        ApplyParameters {
            reader,
            changes: self.changes,
            transaction: self.transaction,
            mix: self.mix,
            rows: self.rows,
            width: self.width,
            toast: self.toast,
        }
    }

    /// Changes of the backlog that nobody measures.
    fn warm_up(&self) -> u64 {
        (self.changes / 10).max(1)
    }
}

/// Measures every cell that `record` does not have, in databases of its own. `progress` is told what begins.
///
/// # Errors
/// [`BenchError`]; what was measured by then is in the record.
///
/// # Cancel safety
/// Dropping the future leaves databases and slots behind, for [`Ground::clear`].
pub async fn measure(
    ground: &Ground,
    options: &ApplyOptions,
    record: &mut Record,
    progress: &mut impl FnMut(&str),
) -> Result<(), BenchError> {
    let lacks = |record: &Record, reader, rounds| {
        rounds_of(&record.report.apply, &options.parameters(reader)) < rounds
    };
    if !Reader::ALL
        .iter()
        .any(|reader| lacks(record, *reader, options.rounds))
    {
        progress("apply: every cell is there");
        return Ok(());
    }
    let changes = options.warm_up() + options.changes * options.rounds as u64;
    options.mix.check(options.rows, changes)?;
    let mut scene = Scene::set(ground, options, progress).await?;
    if let Some(reason) = scene.no_subscription() {
        record
            .report
            .note(format!("apply: no native subscription to compare with: {reason}"));
    }
    let readers = scene.readers();
    progress("apply: warming up");
    let backlog = scene.write(options.warm_up(), options.transaction).await?;
    for reader in &readers {
        scene.drain(*reader, &backlog).await?;
    }
    for round in 1..=options.rounds {
        let lacking = readers.iter().any(|reader| lacks(record, *reader, round));
        if !lacking {
            continue;
        }
        progress(&format!(
            "apply, round {round} of {}: writing {} changes",
            options.rounds, options.changes
        ));
        let backlog = scene.write(options.changes, options.transaction).await?;
        for position in 0..readers.len() {
            let reader = readers[(position + round) % readers.len()];
            progress(&format!(
                "apply, round {round} of {}: {}",
                options.rounds,
                reader.name()
            ));
            let points = scene.drain(reader, &backlog).await?;
            if lacks(record, reader, round) {
                keep(record, options, reader, ApplySample::of(points))?;
            }
        }
    }
    scene.strike().await
}

fn keep(
    record: &mut Record,
    options: &ApplyOptions,
    reader: Reader,
    sample: ApplySample,
) -> Result<(), BenchError> {
    let (parameters, baseline) = (
        options.parameters(reader),
        options.parameters(Reader::Subscription),
    );
    let cells = &mut record.report.apply;
    cell_of(cells, reader.name(), &baseline, &parameters)
        .samples
        .push(sample);
    // The order of the rounds turns; that of the report does not.
    let place = |reader: Reader| Reader::ALL.iter().position(|other| *other == reader);
    cells.sort_by_key(|cell| (cell.baseline.clone(), place(cell.parameters.reader)));
    Ok(record.save()?)
}
