//! What the application can tell: so far, and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many failures are kept with their text.
const FAILURES_MAX: usize = 20;

/// The counts so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Acknowledged commits.
    pub commits: u64,
    /// Acknowledged commits by connection string.
    pub commits_by_place: BTreeMap<String, u64>,
    /// Errors that an application has to live with, by SQLSTATE; those without one are `lost`.
    pub errors_by_code: BTreeMap<String, u64>,
    /// Transactions that the application itself rolled back.
    pub rolled_back: u64,
    /// How many other errors there were.
    pub failed: u64,
    /// What the first of them said, and on which statement.
    pub failures: Vec<String>,
}

impl Progress {
    /// The commits at `place`.
    pub fn commits_at(&self, place: &str) -> u64 {
        self.commits_by_place.get(place).copied().unwrap_or(0)
    }

    pub(super) fn commit(&mut self, place: &str) {
        self.commits += 1;
        match self.commits_by_place.get_mut(place) {
            Some(count) => *count += 1,
            None => {
                self.commits_by_place.insert(place.to_owned(), 1);
            }
        }
    }

    pub(super) fn error(&mut self, code: String) {
        *self.errors_by_code.entry(code).or_default() += 1;
    }

    pub(super) fn fail(&mut self, failure: String) {
        self.failed += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }
}

/// An acknowledged commit.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Whose.
    pub writer: i32,
    /// The number in the ledger.
    pub number: i64,
    /// The connection string of the place.
    pub place: Arc<str>,
    /// When the writer wanted to begin; tries that failed before count from here, too.
    pub intended: Instant,
    /// When it sent BEGIN.
    pub began: Instant,
    /// When the commit was acknowledged.
    pub ended: Instant,
}

/// Everything that the application knows when it has ended.
#[derive(Clone, Debug)]
pub struct Story {
    /// Writer and number of each transaction whose commit was acknowledged.
    pub sure: BTreeSet<(i32, i64)>,
    /// Those whose COMMIT was sent and not answered.
    pub unknown: BTreeSet<(i32, i64)>,
    /// The highest number of each writer that was in the ledger before. Numbers up to it are not judged.
    pub before: BTreeMap<i32, i64>,
    /// The acknowledged commits in the order in which they were.
    pub commits: Vec<Commit>,
    /// How many by connection string.
    pub commits_by_place: BTreeMap<String, u64>,
    /// Errors that an application has to live with, by SQLSTATE; those without one are `lost`.
    pub errors_by_code: BTreeMap<String, u64>,
    /// Transactions that the application itself rolled back.
    pub rolled_back: u64,
    /// How many other errors there were. Each is a failure of what was done to the database.
    pub failed: u64,
    /// What the first of them said, and on which statement.
    pub failures: Vec<String>,
    /// When the application began.
    pub began: Instant,
    /// When it ended.
    pub ended: Instant,
    /// The longest time in which no commit was acknowledged anywhere.
    pub longest_gap: Duration,
    /// When that began.
    pub gap_began: Instant,
    /// The longest from wanting a transaction to its commit.
    pub longest_wait: Duration,
    /// The initial rows of a big table; so many accounts there are.
    pub rows: i64,
}

impl Story {
    /// How many transactions that began at `moment` or later were committed, by connection string.
    pub fn commits_since(&self, moment: Instant) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for commit in self.commits.iter().filter(|commit| commit.began >= moment) {
            *counts.entry(commit.place.to_string()).or_default() += 1;
        }
        counts
    }

    /// The longest time without a commit that falls between two moments, cut at both.
    pub fn longest_gap_between(&self, from: Instant, to: Instant) -> Duration {
        let ends = self.commits.iter().map(|commit| commit.ended);
        longest_gap(from, ends.filter(|end| (from..to).contains(end)), to).0
    }
}

/// The longest time between neighbours, and when it began. `moments` are in order.
pub(super) fn longest_gap(
    from: Instant,
    moments: impl Iterator<Item = Instant>,
    to: Instant,
) -> (Duration, Instant) {
    let (mut longest, mut last) = ((Duration::ZERO, from), from);
    for moment in moments.chain([to]) {
        let gap = moment.saturating_duration_since(last);
        if gap > longest.0 {
            longest = (gap, last);
        }
        last = moment;
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_may_be_at_either_end() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let gap = |moments: &[u64], to| longest_gap(start, moments.iter().map(|millis| at(*millis)), at(to));
        assert_eq!(gap(&[], 9), (Duration::from_millis(9), start));
        assert_eq!(gap(&[5, 6], 7), (Duration::from_millis(5), start));
        assert_eq!(gap(&[1, 4, 5], 7), (Duration::from_millis(3), at(1)));
        assert_eq!(gap(&[1, 2], 7), (Duration::from_millis(5), at(2)));
    }
}
