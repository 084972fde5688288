//! Runs seeds; a failure is the end of its trace, one line, `seed S: what`, and exit code 1.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use crossbeam_channel::Receiver;
use crossfade_sim::{Coverage, Reached, Run, run};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};

/// Drive the engine's real machines through seeded worlds.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// Print what happens, step by step.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Do not print how often each place was reached.
    #[arg(long)]
    quiet: bool,
}

/// Fewer seeds need not reach every place.
const SEEDS_FOR_COVERAGE: u64 = 3_000;

fn main() -> io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut out = io::stdout().lock();
    let (first, seeds) = arguments
        .seed
        .map_or((arguments.first, arguments.seeds), |seed| (seed, 1));
    let started = Instant::now();
    let mut coverage = Coverage::default();
    for (seed, run) in runs(first..first + seeds, arguments.trace) {
        for line in &run.trace {
            writeln!(out, "{line}")?;
        }
        coverage.add(&run.coverage);
        if let Err(breach) = run.result {
            if !arguments.trace {
                tell_end(&mut out, seed)?;
            }
            writeln!(out, "seed {seed}: {breach}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    if !arguments.quiet && arguments.seed.is_none() {
        for place in Reached::ALL {
            writeln!(out, "{:>10}  {place:?}", coverage.count(*place))?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    writeln!(
        out,
        "{seeds} seeds in {seconds:.1} s, {:.0} a second",
        seeds as f64 / seconds
    )?;
    let missing: Vec<Reached> = coverage.missing().collect();
    if seeds >= SEEDS_FOR_COVERAGE && !missing.is_empty() {
        writeln!(out, "never reached: {missing:?}")?;
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Lines of a failing run's story.
const END_LINES: usize = 60;

/// How a failing run ended: the same seed is the same run.
fn tell_end(out: &mut impl Write, seed: u64) -> io::Result<()> {
    let trace = run(seed, None, true).trace;
    let end = &trace[trace.len().saturating_sub(END_LINES)..];
    for line in trace.iter().take(1).chain(end) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "all {} lines: --seed {seed} --trace", trace.len())
}

/// Runs that may wait to be counted.
const WAITING_MAX: usize = 64;

/// Runs the seeds on all cores. Each is a world of its own; they come back in the order in which they end.
fn runs(seeds: std::ops::Range<u64>, trace: bool) -> Receiver<(u64, Run)> {
    let (ended, runs) = crossbeam_channel::bounded(WAITING_MAX);
    rayon::spawn(move || {
        seeds.into_par_iter().for_each_with(ended, |ended, seed| {
            // Nobody receives any more once a run has failed.
            let _ = ended.send((seed, run(seed, None, trace)));
        });
    });
    runs
}
