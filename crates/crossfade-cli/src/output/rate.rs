//! How fast a number grows, over the last seconds, and when it will be there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Older samples say nothing about now.
const WINDOW: Duration = Duration::from_secs(5);

/// Samples of a growing number.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// The number, as it is now. One that shrinks is another number: counting begins again.
    pub(crate) fn see(&mut self, now: Instant, number: u64) {
        if self.samples.back().is_some_and(|(_, last)| *last > number) {
            self.samples.clear();
        }
        self.samples.push_back((now, number));
        let is_old = |at: Instant| now.saturating_duration_since(at) > WINDOW;
        while self.samples.len() > 2 && self.samples.front().is_some_and(|(at, _)| is_old(*at)) {
            self.samples.pop_front();
        }
    }

    /// Per second.
    pub(crate) fn per_second(&self) -> Option<f64> {
        let ((first_at, first), (last_at, last)) = (self.samples.front()?, self.samples.back()?);
        let seconds = last_at.saturating_duration_since(*first_at).as_secs_f64();
        (seconds > 0.0).then(|| (last - first) as f64 / seconds)
    }

    /// How long until the number is `goal`.
    pub(crate) fn time_to(&self, goal: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0.0)?;
        let (_, now) = self.samples.back()?;
        Duration::try_from_secs_f64(goal.saturating_sub(*now) as f64 / rate).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_seconds_count() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(), None);
        rate.see(start, 0);
        assert_eq!(rate.time_to(100), None);
        rate.see(start + Duration::from_secs(2), 20);
        assert_eq!(rate.per_second(), Some(10.0));
        assert_eq!(rate.time_to(100), Some(Duration::from_secs(8)));
        for second in 3..20 {
            rate.see(start + Duration::from_secs(second), 20 + (second - 2) * 100);
        }
        assert_eq!(rate.per_second(), Some(100.0));
    }

    #[test]
    fn a_smaller_number_begins_again() {
        let start = Instant::now();
        let mut rate = Rate::default();
        rate.see(start, 500);
        rate.see(start + Duration::from_secs(1), 0);
        assert_eq!(rate.per_second(), None);
    }
}
