//! How a drain went on over time.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::stats::rounded;

/// Points that are kept.
const POINTS_MAX: usize = 60;

/// A moment of a drain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the slot began to be read.
    pub seconds: f64,
    /// Changes drained by then.
    pub changes: u64,
}

/// Points as they are seen.
pub(super) struct Drain {
    began: Instant,
    points: Vec<Point>,
}

impl Drain {
    /// Begins now.
    pub(super) fn begin() -> Drain {
        let first = Point {
            seconds: 0.0,
            changes: 0,
        };
        Drain {
            began: Instant::now(),
            points: vec![first],
        }
    }

    /// So many changes are drained now.
    pub(super) fn reached(&mut self, changes: u64) {
        if self.points.last().is_none_or(|last| changes > last.changes) {
            self.points.push(Point {
                seconds: rounded(self.began.elapsed().as_secs_f64()),
                changes,
            });
        }
    }

    /// Changes drained so far.
    pub(super) fn changes(&self) -> u64 {
        self.points.last().map_or(0, |last| last.changes)
    }

    /// Some of the points, among them the first and the last.
    pub(super) fn end(self) -> Vec<Point> {
        let step = self.points.len().div_ceil(POINTS_MAX).max(1);
        let last = self.points.len().saturating_sub(1);
        let kept = |(position, _): &(usize, Point)| position.is_multiple_of(step) || *position == last;
        self.points
            .into_iter()
            .enumerate()
            .filter(kept)
            .map(|(_, point)| point)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_are_kept_and_the_last_is_one_of_them() {
        let mut drain = Drain::begin();
        (1..=1_000).for_each(|changes| drain.reached(changes));
        drain.reached(1_000);
        assert_eq!(drain.changes(), 1_000);
        let points = drain.end();
        assert!(points.len() <= POINTS_MAX + 1, "{}", points.len());
        assert_eq!(points[0].changes, 0);
        assert_eq!(points[points.len() - 1].changes, 1_000);
    }
}
