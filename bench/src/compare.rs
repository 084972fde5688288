//! A run beside an earlier one: how far the median of a figure has moved.

use crate::report::{Cell, Report};

/// An earlier run.
#[derive(Debug)]
pub struct Earlier {
    /// What it measured.
    pub report: Report,
}

impl Earlier {
    /// The change of a figure against the earlier run, as a share of what it was: 0.1 is a tenth more. `None` if the earlier
    /// run did not measure this cell.
    pub fn change(&self, cell: &str, figure: &str, now: f64) -> Option<f64> {
        let report = &self.report;
        let before = median(&report.copy, cell, figure)
            .or_else(|| median(&report.apply, cell, figure))
            .or_else(|| median(&report.stall, cell, figure))?;
        (before > 0.0).then(|| now / before - 1.0)
    }

    /// What makes the two runs hard to compare, in words.
    pub fn doubts(&self, now: &Report) -> Vec<&'static str> {
        let mut doubts = Vec::new();
        if self.report.machine != now.machine {
            doubts.push("the earlier run was on another machine");
        }
        if self.report.server != now.server {
            doubts.push("the earlier run's server has another version or other settings");
        }
        doubts
    }
}

fn median<P, S>(cells: &[Cell<P, S>], id: &str, figure: &str) -> Option<f64> {
    let cell = cells.iter().find(|cell| cell.id == id)?;
    Some(cell.figure(figure)?.spread.median)
}
