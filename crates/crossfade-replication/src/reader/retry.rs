//! How long to wait before connecting again, and when to give up.

use std::time::Duration;

use tokio::time::Instant;

use super::options::ReaderLimits;

/// Doubling waits within a time limit. Both begin anew only after a connection that was of use, so that a server
/// which accepts us and fails at once is not asked for ever.
#[derive(Debug)]
pub(super) struct Retry {
    first: Duration,
    max: Duration,
    lost_max: Duration,
    since: Instant,
    attempts: u32,
}

impl Retry {
    pub(super) fn new(limits: &ReaderLimits) -> Self {
        Retry {
            first: limits.retry_first,
            max: limits.retry_max,
            lost_max: limits.lost_max,
            since: Instant::now(),
            attempts: 0,
        }
    }

    /// The connection just lost was of use.
    pub(super) fn begin_anew(&mut self) {
        self.since = Instant::now();
        self.attempts = 0;
    }

    /// The wait before the next attempt; `None` when it would begin after the limit.
    pub(super) fn next_wait(&mut self) -> Option<Duration> {
        let factor = 2_u32.saturating_pow(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        let wait = self.first.saturating_mul(factor).min(self.max);
        (self.since.elapsed() + wait <= self.lost_max).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let mut retry = Retry::new(&ReaderLimits {
            retry_first: Duration::from_millis(200),
            retry_max: Duration::from_secs(1),
            lost_max: Duration::from_secs(3600),
            ..ReaderLimits::default()
        });
        let waits: Vec<u128> = (0..5).map(|_| retry.next_wait().unwrap().as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1000, 1000]);
        retry.begin_anew();
        assert_eq!(retry.next_wait(), Some(Duration::from_millis(200)));
    }

    #[test]
    fn a_wait_beyond_the_limit_is_not_begun() {
        let mut retry = Retry::new(&ReaderLimits {
            lost_max: Duration::from_millis(100),
            ..ReaderLimits::default()
        });
        assert_eq!(retry.next_wait(), None);
    }
}
