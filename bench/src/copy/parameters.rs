//! The dimensions of the copy, and the cells that follow from their values.

use serde::{Deserialize, Serialize};

use super::Way;
use crate::report::Parameters;

/// What a copy's speed depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyParameters {
    /// How.
    pub way: Way,
    /// Sessions, or pipes.
    pub sessions: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Heap and TOAST of one range, in MB.
    pub range_mb: u64,
    /// Bytes of a row's payload.
    pub width: u64,
    /// Rows in a hundred that have a text of 8 kB out of line.
    pub toast: u64,
    /// Secondary indexes on the target.
    pub indexes: u64,
}

impl Parameters for CopyParameters {
    fn id(&self) -> String {
        let CopyParameters {
            way,
            sessions,
            rows,
            range_mb,
            width,
            toast,
            indexes,
        } = self;
        format!(
            "copy way={} sessions={sessions} rows={rows} range_mb={range_mb} width={width} toast={toast} indexes={indexes}",
            way.word()
        )
    }
}

impl CopyParameters {
    /// Whether both copy the same table.
    pub(super) fn same_table(&self, other: &CopyParameters) -> bool {
        let table = |parameters: &CopyParameters| (parameters.rows, parameters.width, parameters.toast);
        table(self) == table(other)
    }
}

/// What is measured: of each list the first value is the baseline's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyOptions {
    /// Rows.
    pub rows: Vec<u64>,
    /// Sessions.
    pub sessions: Vec<u64>,
    /// MB of a range.
    pub range_mb: Vec<u64>,
    /// Bytes of payload.
    pub width: Vec<u64>,
    /// Rows in a hundred with a text out of line.
    pub toast: Vec<u64>,
    /// Secondary indexes.
    pub indexes: Vec<u64>,
    /// Measurements of each cell.
    pub rounds: usize,
}

impl Default for CopyOptions {
    fn default() -> Self {
        CopyOptions {
            rows: vec![200_000],
            sessions: vec![1, 2],
            range_mb: vec![8, 64],
            width: vec![100, 1_000],
            toast: vec![1, 10],
            indexes: vec![0, 1, 2],
            rounds: 3,
        }
    }
}

impl CopyOptions {
    /// The cells with their labels, the baseline first.
    pub fn cells(&self) -> Vec<(String, CopyParameters)> {
        let first = |values: &[u64]| values.first().copied().unwrap_or_default();
        let baseline = CopyParameters {
            way: Way::InsertSelect,
            sessions: first(&self.sessions),
            rows: first(&self.rows),
            range_mb: first(&self.range_mb),
            width: first(&self.width),
            toast: first(&self.toast),
            indexes: first(&self.indexes),
        };
        let mut cells = Vec::new();
        for way in Way::ALL {
            for &sessions in &self.sessions {
                let label = format!("{}, {sessions} {}", way.name(), plural(sessions, "session"));
                cells.push((
                    label,
                    CopyParameters {
                        way,
                        sessions,
                        ..baseline
                    },
                ));
            }
        }
        cells.extend(self.variations(baseline));
        cells
    }

    /// The baseline with each other value of one dimension.
    fn variations(&self, baseline: CopyParameters) -> Vec<(String, CopyParameters)> {
        type Set = fn(&mut CopyParameters, u64);
        type Name = fn(u64) -> String;
        let dimensions: [(&[u64], Set, Name); 5] = [
            (
                &self.rows,
                |cell, value| cell.rows = value,
                |value| format!("{value} rows"),
            ),
            (
                &self.range_mb,
                |cell, value| cell.range_mb = value,
                |value| format!("ranges of {value} MB"),
            ),
            (
                &self.width,
                |cell, value| cell.width = value,
                |value| format!("payload of {value} bytes"),
            ),
            (
                &self.toast,
                |cell, value| cell.toast = value,
                |value| format!("{value} % of rows TOASTed"),
            ),
            (
                &self.indexes,
                |cell, value| cell.indexes = value,
                |value| format!("{value} {}", plural(value, "secondary index")),
            ),
        ];
        let mut cells = Vec::new();
        for (values, set, name) in dimensions {
            for &value in values.iter().skip(1) {
                let mut cell = baseline;
                set(&mut cell, value);
                cells.push((name(value), cell));
            }
        }
        cells
    }
}

fn plural(number: u64, word: &str) -> String {
    match (number, word.strip_suffix('x')) {
        (1, _) => word.to_owned(),
        (_, Some(_)) => format!("{word}es"),
        (_, None) => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_differ_from_the_baseline_in_one_thing() {
        let options = CopyOptions {
            rows: vec![1_000],
            sessions: vec![1, 2],
            range_mb: vec![8, 64],
            width: vec![100],
            toast: vec![1, 10],
            indexes: vec![0, 1, 2],
            rounds: 1,
        };
        let labels: Vec<String> = options.cells().into_iter().map(|(label, _)| label).collect();
        assert_eq!(
            labels,
            [
                "INSERT … SELECT, 1 session",
                "INSERT … SELECT, 2 sessions",
                "COPY pipe, 1 session",
                "COPY pipe, 2 sessions",
                "ranges of 64 MB",
                "10 % of rows TOASTed",
                "1 secondary index",
                "2 secondary indexes",
            ]
        );
        let mut ids: Vec<String> = options.cells().iter().map(|(_, cell)| cell.id()).collect();
        ids.dedup();
        assert_eq!(ids.len(), labels.len());
    }
}
