//! Latencies sorted by what was going on when their transactions should have begun.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::writer::Latency;
use crate::stats::{Percentiles, percentile, rounded};

/// Points of a curve over time, at most about.
const MOMENTS: f64 = 150.0;
/// The least time of one of them.
const MOMENT_MIN: f64 = 0.1;

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing but the writer: the baseline.
    Before,
    /// From the engine's start to the end of its copy.
    Copying,
    /// Changes are applied, indexes built, all rows compared.
    Following,
    /// From the first attempt to get the lock to the commit of the swap.
    Swap,
    /// From then on.
    After,
}

impl Phase {
    /// All, in their order.
    pub const ALL: [Phase; 5] = [
        Phase::Before,
        Phase::Copying,
        Phase::Following,
        Phase::Swap,
        Phase::After,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Before => "before",
            Phase::Copying => "copying",
            Phase::Following => "following",
            Phase::Swap => "swap",
            Phase::After => "after",
        }
    }
}

/// When a phase was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    pub(super) phase: Phase,
    /// Since the writer's beginning.
    pub(super) begin: Duration,
    pub(super) end: Duration,
}

/// A phase, and the transactions that were due in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseLatencies {
    /// Which.
    pub phase: Phase,
    /// When it began, in seconds since the first phase did.
    pub begin: f64,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// In milliseconds.
    pub latencies: Percentiles,
}

/// The transactions that were due in a short time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Its middle, in seconds since the first phase began.
    pub seconds: f64,
    /// In milliseconds.
    pub p50: f64,
    /// In milliseconds. In so short a time the 99th percentile would be the longest.
    pub p90: f64,
    /// In milliseconds.
    pub max: f64,
}

/// The latencies of each phase.
pub(super) fn by_phase(latencies: &[Latency], spans: &[Span]) -> Vec<PhaseLatencies> {
    let zero = spans.first().map_or(Duration::ZERO, |span| span.begin);
    let of_span = |span: &Span| PhaseLatencies {
        phase: span.phase,
        begin: rounded(span.begin.saturating_sub(zero).as_secs_f64()),
        seconds: rounded(span.end.saturating_sub(span.begin).as_secs_f64()),
        latencies: Percentiles::of(due_in(latencies, span.begin, span.end)),
    };
    spans.iter().map(of_span).collect()
}

/// The latencies over the whole time.
pub(super) fn over_time(latencies: &[Latency], spans: &[Span]) -> Vec<Moment> {
    let (Some(first), Some(last)) = (spans.first(), spans.last()) else {
        return Vec::new();
    };
    let whole = last.end.saturating_sub(first.begin).as_secs_f64();
    let width = (whole / MOMENTS).max(MOMENT_MIN);
    // A whole time of hours still has few moments.
    let count = (whole / width).ceil() as u32;
    let moment = |number: u32| {
        let begin = first.begin + Duration::from_secs_f64(f64::from(number) * width);
        let end = begin + Duration::from_secs_f64(width);
        let mut here: Vec<f64> = due_in(latencies, begin, end).collect();
        here.sort_by(f64::total_cmp);
        (!here.is_empty()).then_some(Moment {
            seconds: rounded((f64::from(number) + 0.5) * width),
            p50: percentile(&here, 0.5),
            p90: percentile(&here, 0.9),
            max: percentile(&here, 1.0),
        })
    };
    (0..count).filter_map(moment).collect()
}

fn due_in(latencies: &[Latency], begin: Duration, end: Duration) -> impl Iterator<Item = f64> {
    let due = move |latency: &&Latency| latency.due >= begin && latency.due < end;
    latencies
        .iter()
        .filter(due)
        .map(|latency| rounded(latency.took.as_secs_f64() * 1_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 500;

    fn span(phase: Phase, begin: u64, end: u64) -> Span {
        Span {
            phase,
            begin: Duration::from_millis(begin),
            end: Duration::from_millis(end),
        }
    }

    /// Ten seconds of a server that answers in a millisecond, and not at all from 4 to 5 s.
    fn stalled() -> Vec<Latency> {
        let answer = |due: u64| {
            if (4_000..5_000).contains(&due) {
                5_000 - due
            } else {
                1
            }
        };
        let due = (0..10 * RATE).map(|number| number * 1_000 / RATE);
        let latency = |due| Latency {
            due: Duration::from_millis(due),
            took: Duration::from_millis(answer(due)),
        };
        due.map(latency).collect()
    }

    #[test]
    fn a_stall_counts_for_every_transaction_that_was_due_in_it() {
        let spans = [
            span(Phase::Before, 0, 3_000),
            span(Phase::Swap, 3_000, 6_000),
            span(Phase::After, 6_000, 10_000),
        ];
        let phases = by_phase(&stalled(), &spans);
        let [before, swap, after] = phases.as_slice() else {
            panic!("one for each span: {phases:?}");
        };
        assert_eq!((before.latencies.count, before.latencies.max), (1_500, 1.0));
        assert_eq!(
            (after.latencies.p999, after.begin, after.seconds),
            (1.0, 6.0, 4.0)
        );
        // A third of all were due in the stall, so they are more than a percentile: had only the transactions that were
        // under way been counted, one or a few of 1000, the 99th would be 1 ms.
        assert_eq!((swap.latencies.p50, swap.latencies.max), (1.0, 1_000.0));
        assert_eq!(swap.latencies.p99, 970.0);
    }

    #[test]
    fn a_stall_shows_when_it_was() {
        let moments = over_time(&stalled(), &[span(Phase::Before, 0, 10_000)]);
        let slow: Vec<f64> = moments
            .iter()
            .filter(|moment| moment.max > 10.0)
            .map(|moment| moment.seconds)
            .collect();
        assert!(moments.len() >= 90, "{}", moments.len());
        assert!(
            slow.iter().all(|seconds| (3.9..5.1).contains(seconds)),
            "{slow:?}"
        );
        assert!(slow.len() >= 9, "{slow:?}");
    }
}
