//! What was typed after `crossfade bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use crossfade_bench::copy::{INDEXES_MAX, WIDTH_MAX};

const WHERE: &str = "\
On a throwaway server, or with --url in databases of its own that are dropped at the end; the role may make
databases and replicate. docs/benchmarks.md says what is measured, and how to read it.";

/// `crossfade bench`.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) what: BenchWhat,
}

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchWhat {
    /// Ways to copy a table within a server: INSERT … SELECT against binary COPY pipes
    #[command(after_help = format!(
        "Of each list the first value is the baseline's; every other value is measured with the rest unchanged.\n\n{WHERE}"
    ))]
    Copy(BenchCopy),
    /// How fast a backlog of changes is drained, against a native subscription
    #[command(after_help = WHERE)]
    Apply(BenchApply),
    /// What a writer at a fixed rate waits, through whole changes of its table
    #[command(after_help = WHERE)]
    Stall(BenchStall),
    /// All of them, one after the other
    #[command(after_help = format!(
        "Example:\n  crossfade bench all --out results.json --html results.html\n\n{WHERE}"
    ))]
    All(BenchAll),
}

/// What becomes of the results.
#[derive(Debug, Args)]
pub(crate) struct BenchResults {
    /// Keep the results in this file after each measurement; what is in it already is not measured again
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// Measure what is in the file already, too
    #[arg(long, requires = "out")]
    pub(crate) again: bool,
    /// Write a page with plots, which needs no other file
    #[arg(long, value_name = "FILE.html")]
    pub(crate) html: Option<PathBuf>,
    /// Show how far each figure has moved against an earlier run's
    #[arg(long, value_name = "OLD.json")]
    pub(crate) compare: Option<PathBuf>,
}

/// `crossfade bench copy`.
#[derive(Debug, Args)]
pub(crate) struct BenchCopy {
    /// Rows of the table
    #[arg(long, value_name = "N", default_value = "200000", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) rows: Vec<u64>,
    /// Sessions that copy at the same time
    #[arg(long, value_name = "N", default_value = "1,2", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) sessions: Vec<u64>,
    /// Heap and TOAST of what one transaction copies, in MB
    #[arg(long, value_name = "MB", default_value = "8,64", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub(crate) range: Vec<u64>,
    /// Bytes of a row's payload
    #[arg(long, value_name = "BYTES", default_value = "100,1000", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(1..=WIDTH_MAX))]
    pub(crate) width: Vec<u64>,
    /// Rows in a hundred that have a TOASTed text of 8 kB
    #[arg(long, value_name = "PERCENT", default_value = "1,10", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) toast: Vec<u64>,
    /// Secondary indexes that are there while rows are copied
    #[arg(long, value_name = "N", default_value = "0,1,2", value_delimiter = ',',
        value_parser = clap::value_parser!(u64).range(0..=INDEXES_MAX))]
    pub(crate) indexes: Vec<u64>,
    /// Measurements of each cell, interleaved
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) rounds: u8,
    #[command(flatten)]
    pub(crate) results: BenchResults,
}

/// `crossfade bench apply`.
#[derive(Debug, Args)]
pub(crate) struct BenchApply {
    /// Changes of a backlog
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) changes: u64,
    /// Changes of one transaction
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) transaction: u64,
    /// Updates of an indexed column, inserts and deletes, in hundredths
    #[arg(
        long,
        value_name = "U,I,D",
        default_value = "60,20,20",
        value_delimiter = ',',
        num_args = 1,
        value_parser = clap::value_parser!(u64).range(0..=100)
    )]
    pub(crate) mix: Vec<u64>,
    /// Of a hundred updates, those that fall on a hundred hot rows
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) hot: u64,
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) rows: u64,
    /// Bytes of a row's payload
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=WIDTH_MAX))]
    pub(crate) width: u64,
    /// Rows in a hundred that have a TOASTed text of 8 kB
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) toast: u64,
    /// Backlogs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) rounds: u8,
    #[command(flatten)]
    pub(crate) results: BenchResults,
}

/// `crossfade bench stall`.
#[derive(Debug, Args)]
pub(crate) struct BenchStall {
    /// Rows of the table
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) rows: u64,
    /// Transactions that are due each second
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Sessions that take them in turn
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) writers: u8,
    /// Whole changes, each with its swap
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) swaps: u8,
    /// Bytes of a row's payload
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=WIDTH_MAX))]
    pub(crate) width: u64,
    /// Rows in a hundred that have a TOASTed text of 8 kB
    #[arg(long, value_name = "PERCENT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) toast: u64,
    #[command(flatten)]
    pub(crate) results: BenchResults,
}

/// `crossfade bench all`.
#[derive(Debug, Args)]
pub(crate) struct BenchAll {
    /// Rows of every table, instead of each measurement's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..))]
    pub(crate) rows: Option<u64>,
    /// Changes of a backlog
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(100..))]
    pub(crate) changes: Option<u64>,
    /// Transactions of the writer that are due each second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: Option<u32>,
    /// Whole changes under the writer, each with its swap
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) swaps: Option<u8>,
    /// Measurements of each other cell
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) rounds: Option<u8>,
    #[command(flatten)]
    pub(crate) results: BenchResults,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Arguments;

    fn parses(line: &str) -> bool {
        Arguments::try_parse_from(line.split(' ')).is_ok()
    }

    #[test]
    fn lists_and_bounds() {
        assert!(parses("crossfade bench copy --sessions 1,2,4 --indexes 0"));
        assert!(!parses("crossfade bench copy --indexes 3"));
        assert!(!parses("crossfade bench copy --width 9000"));
        assert!(parses("crossfade bench apply --mix 100,0,0"));
        assert!(!parses("crossfade bench stall --again"));
        assert!(parses("crossfade bench all --out results.json --again"));
    }
}
