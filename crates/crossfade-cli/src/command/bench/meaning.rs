//! What was typed after `crossfade bench`, as what is to be measured.

use crossfade_bench::apply::ApplyOptions;
use crossfade_bench::copy::CopyOptions;
use crossfade_bench::mix::Mix;
use crossfade_bench::record::Suite;
use crossfade_bench::stall::{StallOptions, StallParameters};

use crate::args::{BenchAll, BenchApply, BenchCopy, BenchResults, BenchStall, BenchWhat};
use crate::failure::Failure;

/// The suites that are to be measured.
#[derive(Debug, Default)]
pub(super) struct Meant {
    pub(super) copy: Option<CopyOptions>,
    pub(super) apply: Option<ApplyOptions>,
    pub(super) stall: Option<StallOptions>,
}

impl Meant {
    /// And what becomes of their results.
    pub(super) fn of(typed: BenchWhat) -> Result<(Meant, BenchResults), Failure> {
        let mut meant = Meant::default();
        let results = match typed {
            BenchWhat::Copy(typed) => {
                let (options, results) = copy(typed);
                meant.copy = Some(options);
                results
            }
            BenchWhat::Apply(typed) => {
                let (options, results) = apply(typed)?;
                meant.apply = Some(options);
                results
            }
            BenchWhat::Stall(typed) => {
                let (options, results) = stall(typed);
                meant.stall = Some(options);
                results
            }
            BenchWhat::All(typed) => return Ok(all(typed)),
        };
        Ok((meant, results))
    }

    /// Which they are.
    pub(super) fn suites(&self) -> Vec<Suite> {
        let wanted = [
            self.copy.as_ref().map(|_| Suite::Copy),
            self.apply.as_ref().map(|_| Suite::Apply),
            self.stall.as_ref().map(|_| Suite::Stall),
        ];
        wanted.into_iter().flatten().collect()
    }
}

fn copy(typed: BenchCopy) -> (CopyOptions, BenchResults) {
    let options = CopyOptions {
        rows: typed.rows,
        sessions: typed.sessions,
        range_mb: typed.range,
        width: typed.width,
        toast: typed.toast,
        indexes: typed.indexes,
        rounds: typed.rounds.into(),
    };
    (options, typed.results)
}

fn apply(typed: BenchApply) -> Result<(ApplyOptions, BenchResults), Failure> {
    let [updates, inserts, deletes] = typed.mix[..] else {
        let wanted = anyhow::anyhow!("read --mix: it wants three numbers, such as 60,20,20");
        return Err(Failure::usage(wanted));
    };
    let options = ApplyOptions {
        changes: typed.changes,
        transaction: typed.transaction,
        mix: Mix {
            updates,
            inserts,
            deletes,
            hot: typed.hot,
        },
        rows: typed.rows,
        width: typed.width,
        toast: typed.toast,
        rounds: typed.rounds.into(),
    };
    Ok((options, typed.results))
}

fn stall(typed: BenchStall) -> (StallOptions, BenchResults) {
    let options = StallOptions {
        parameters: StallParameters {
            rows: typed.rows,
            rate: typed.rate,
            sessions: typed.writers.into(),
            width: typed.width,
            toast: typed.toast,
        },
        swaps: typed.swaps.into(),
    };
    (options, typed.results)
}

fn all(typed: BenchAll) -> (Meant, BenchResults) {
    let (mut copy, mut apply) = (CopyOptions::default(), ApplyOptions::default());
    let mut stall = StallOptions::default();
    if let Some(rows) = typed.rows {
        (copy.rows, apply.rows, stall.parameters.rows) = (vec![rows], rows, rows);
    }
    if let Some(rounds) = typed.rounds {
        (copy.rounds, apply.rounds) = (rounds.into(), rounds.into());
    }
    apply.changes = typed.changes.unwrap_or(apply.changes);
    stall.parameters.rate = typed.rate.unwrap_or(stall.parameters.rate);
    stall.swaps = typed.swaps.map_or(stall.swaps, usize::from);
    let meant = Meant {
        copy: Some(copy),
        apply: Some(apply),
        stall: Some(stall),
    };
    (meant, typed.results)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Command};

    fn meant(line: &str) -> Meant {
        match Arguments::try_parse_from(line.split(' ')).unwrap().command {
            Command::Bench(typed) => Meant::of(typed.what).unwrap().0,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_of_them_are_what_each_is_by_itself() {
        let all = meant("crossfade bench all");
        assert_eq!(all.copy, meant("crossfade bench copy").copy);
        assert_eq!(all.apply, meant("crossfade bench apply").apply);
        assert_eq!(all.stall, meant("crossfade bench stall").stall);
        assert_eq!(all.suites(), [Suite::Copy, Suite::Apply, Suite::Stall]);
        assert_eq!(meant("crossfade bench stall").suites(), [Suite::Stall]);
        let small = meant("crossfade bench all --rows 1000 --rate 50");
        assert_eq!(small.stall.unwrap().parameters.rate, 50);
        assert_eq!(small.copy.unwrap().rows, [1_000]);
    }
}
