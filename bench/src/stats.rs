//! Statistics of few samples and of many latencies: medians with their spread, and percentiles.

use serde::{Deserialize, Serialize};

/// To three decimals: more would be noise, and these come out of a file as they went in.
pub fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// The middle of some samples, and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of these; `None` if there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let (min, max, upper) = (*values.first()?, *values.last()?, *values.get(middle)?);
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], upper),
            _ => upper,
        };
        Some(Spread { median, min, max })
    }
}

/// The latencies of many transactions, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many there were.
    pub count: usize,
    /// Half of them took at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1000.
    pub p999: f64,
    /// All of them.
    pub max: f64,
}

impl Percentiles {
    /// Their names, in the order of [`Percentiles::values`].
    pub const NAMES: [&str; 4] = ["p50", "p99", "p99.9", "max"];

    /// Of these, in milliseconds; zeros if there is none.
    pub fn of(latencies: impl IntoIterator<Item = f64>) -> Percentiles {
        let mut sorted: Vec<f64> = latencies.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Percentiles {
            count: sorted.len(),
            p50: percentile(&sorted, 0.5),
            p99: percentile(&sorted, 0.99),
            p999: percentile(&sorted, 0.999),
            max: percentile(&sorted, 1.0),
        }
    }

    /// The four of them.
    pub fn values(&self) -> [f64; 4] {
        [self.p50, self.p99, self.p999, self.max]
    }
}

/// The least of the sorted values that this share of them does not exceed (the nearest rank); 0 if there is none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    // The product is at most the number of values, so the cast loses nothing.
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let spread = Spread::of([10.0, 1000.0, 20.0]).unwrap();
        assert_eq!((spread.median, spread.min, spread.max), (20.0, 10.0, 1000.0));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|share| percentile(&hundred, share)),
            [50.0, 99.0, 100.0, 100.0]
        );
        assert_eq!(percentile(&[], 0.5), 0.0);
        assert_eq!(percentile(&[7.0], 0.0), 7.0);
        let of = Percentiles::of([3.0, 1.0, 2.0]);
        assert_eq!((of.count, of.p50, of.max), (3, 2.0, 3.0));
    }
}
