//! What the writers measured: how many changes were acknowledged when, and how long anybody waited.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Changes are counted in slots of this length.
const SLOT: Duration = Duration::from_micros(100);
/// Latencies beyond this are counted as this.
const LATENCY_MAX: Duration = Duration::from_secs(3600);
const FAILURES_MAX: usize = 10;

/// The figures of one writer or of all.
#[derive(Clone, Debug)]
pub struct Statistics {
    /// When the writers began.
    started: Instant,
    /// Slot number and changes acknowledged in it, in order of time for one writer.
    slots: Vec<(u32, u32)>,
    latency: Histogram<u64>,
    longest: Option<(Instant, Duration)>,
    /// Acknowledged transactions.
    pub committed_transactions: u64,
    /// Row changes in them.
    pub committed_changes: u64,
    /// Transactions that the writer itself rolled back.
    pub rolled_back_transactions: u64,
    /// Transactions that an error ended, or that found a row missing.
    pub failed_transactions: u64,
    /// What the first failures said.
    pub failures: Vec<String>,
    /// Transactions that were certainly not committed because the connection broke before.
    pub lost_transactions: u64,
    /// Transactions whose COMMIT was sent and not answered.
    pub in_doubt_transactions: u64,
}

impl Statistics {
    /// No figures yet.
    pub(super) fn new(started: Instant) -> Result<Statistics, hdrhistogram::CreationError> {
        Ok(Statistics {
            started,
            slots: Vec::new(),
            latency: Histogram::new_with_bounds(1, micros(LATENCY_MAX), 3)?,
            longest: None,
            committed_transactions: 0,
            committed_changes: 0,
            rolled_back_transactions: 0,
            failed_transactions: 0,
            failures: Vec::new(),
            lost_transactions: 0,
            in_doubt_transactions: 0,
        })
    }

    /// A transaction was acknowledged at `now`.
    pub(super) fn commit(&mut self, now: Instant, changes: u32) {
        self.committed_transactions += 1;
        self.committed_changes += u64::from(changes);
        let slot = self.slot(now);
        match self.slots.last_mut() {
            Some((last, count)) if *last == slot => *count += changes,
            Some(_) | None => self.slots.push((slot, changes)),
        }
    }

    /// A transaction failed.
    pub(super) fn fail(&mut self, failure: String) {
        self.failed_transactions += 1;
        if self.failures.len() < FAILURES_MAX {
            self.failures.push(failure);
        }
    }

    /// A transaction that was meant to begin at `intended` has ended at `now`, in whatever way.
    pub(super) fn wait(&mut self, intended: Instant, now: Instant) {
        let waited = now.saturating_duration_since(intended);
        self.latency.saturating_record(micros(waited));
        if self.longest.is_none_or(|(_, longest)| waited > longest) {
            self.longest = Some((intended, waited));
        }
    }

    /// Adds the figures of another writer that began at the same time.
    pub(super) fn merge(&mut self, other: Statistics) {
        self.slots.extend(other.slots);
        // Both histograms have the same bounds, so every value fits.
        self.latency.add(&other.latency).ok();
        self.longest = self
            .longest
            .into_iter()
            .chain(other.longest)
            .max_by_key(|(_, waited)| *waited);
        self.committed_transactions += other.committed_transactions;
        self.committed_changes += other.committed_changes;
        self.rolled_back_transactions += other.rolled_back_transactions;
        self.failed_transactions += other.failed_transactions;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
        self.lost_transactions += other.lost_transactions;
        self.in_doubt_transactions += other.in_doubt_transactions;
    }

    /// Row changes acknowledged from `from` on and before `to`, to a tenth of a millisecond.
    pub fn changes_between(&self, from: Instant, to: Instant) -> u64 {
        let slots = self.slot(from)..self.slot(to);
        self.slots
            .iter()
            .filter(|(slot, _)| slots.contains(slot))
            .map(|(_, count)| u64::from(*count))
            .sum()
    }

    /// The longest that any transaction took, and when it was meant to begin.
    pub fn longest_wait(&self) -> Option<(Instant, Duration)> {
        self.longest
    }

    /// How long a transaction took at `quantile`, between 0 and 1.
    pub fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    /// When the writers began.
    pub fn started(&self) -> Instant {
        self.started
    }

    fn slot(&self, at: Instant) -> u32 {
        let slot = at.saturating_duration_since(self.started).as_nanos() / SLOT.as_nanos();
        u32::try_from(slot).unwrap_or(u32::MAX)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_where_they_fell() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut one = Statistics::new(start).unwrap();
        for (millis, changes) in [(1, 1), (1, 2), (5, 4)] {
            one.commit(at(millis), changes);
        }
        let mut other = Statistics::new(start).unwrap();
        other.commit(at(3), 8);
        one.merge(other);
        assert_eq!(one.changes_between(start, at(3)), 3);
        assert_eq!(one.changes_between(at(3), at(5)), 8);
        assert_eq!(one.changes_between(at(5), at(100)), 4);
        assert_eq!((one.committed_transactions, one.committed_changes), (4, 15));
    }

    #[test]
    fn the_longest_wait_is_anybodys() {
        let start = Instant::now();
        let mut one = Statistics::new(start).unwrap();
        one.wait(start, start + Duration::from_millis(2));
        let mut other = Statistics::new(start).unwrap();
        other.wait(start, start + Duration::from_millis(7));
        one.merge(other);
        assert_eq!(one.longest_wait(), Some((start, Duration::from_millis(7))));
        assert!(one.latency(1.0) >= Duration::from_millis(7));
    }
}
