//! Thousands of seeds through the real machines.

use std::thread;

use crossfade_sim::{Coverage, Reached, run};

const SEEDS: u64 = 2_000;

/// Every checker holds on every seed, and the seeds together reach every place. A failure names its seed:
/// `cargo run --release -p crossfade-sim -- --seed S --trace` tells its story.
#[test]
fn seeds_hold_and_reach_every_place() {
    let workers = thread::available_parallelism().map_or(2, |count| count.get() as u64);
    let share = |worker: u64| (worker..SEEDS).step_by(workers as usize);
    let results = thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|worker| {
                scope.spawn(move || share(worker).map(|seed| (seed, run(seed, None, false))).collect())
            })
            .collect();
        let join =
            |handle: thread::ScopedJoinHandle<'_, Vec<_>>| handle.join().expect("a run catches panics");
        handles.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    let mut coverage = Coverage::default();
    let mut failures = Vec::new();
    for (seed, run) in results {
        coverage.add(&run.coverage);
        if let Err(breach) = run.result {
            failures.push(format!("seed {seed}: {breach}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let missing: Vec<Reached> = coverage.missing().collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}

/// The same seed is the same run, whatever ran before it.
#[test]
fn a_seed_repeats() {
    for seed in 0..20 {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
    }
}
