//! What the demo proves, in numbers: the engine's report beside what the writers saw, and the comparison.

use std::time::{Duration, Instant, SystemTime};

use crossfade_coordinator::report::Report;
use crossfade_lab::compare::Comparison;
use crossfade_lab::writers::Statistics;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::units::{count, millis};
use crate::output::{BAD, GOOD, HEADING};

/// One moment by both clocks: the engine's moments are wall-clock times, the writers' are not.
pub(super) struct Clock {
    instant: Instant,
    unix_ms: u64,
}

impl Clock {
    /// Now.
    pub(super) fn now() -> Clock {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Clock {
            instant: Instant::now(),
            unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// A moment of the engine, if it is not before this clock was made.
    fn instant(&self, unix_ms: Option<u64>) -> Option<Instant> {
        let later = unix_ms?.checked_sub(self.unix_ms)?;
        self.instant.checked_add(Duration::from_millis(later))
    }
}

/// Row changes that the writers had acknowledged, by when.
struct Changes {
    before_copy: u64,
    during_copy: u64,
    after_copy: u64,
    after_swap: u64,
}

impl Changes {
    fn count(clock: &Clock, report: &Report, statistics: &Statistics, end: Instant) -> Changes {
        let times = &report.timeline;
        // A moment that is not known makes its neighbours' counts zero, which fails the demo.
        let moment = |unix_ms| clock.instant(unix_ms).unwrap_or(end);
        let copy_started = moment(times.copy_started);
        let copy_ended = moment(times.copy_ended);
        let swapped = moment(times.swapped);
        Changes {
            before_copy: statistics.changes_between(statistics.started(), copy_started),
            during_copy: statistics.changes_between(copy_started, copy_ended),
            after_copy: statistics.changes_between(copy_ended, swapped),
            after_swap: statistics.changes_between(swapped, end),
        }
    }

    /// A demo in which nothing was written at some time proves nothing about that time.
    fn any_is_zero(&self) -> bool {
        [
            self.before_copy,
            self.during_copy,
            self.after_copy,
            self.after_swap,
        ]
        .contains(&0)
    }
}

/// See the module.
pub(super) struct Proof<'a> {
    report: &'a Report,
    statistics: &'a Statistics,
    comparison: &'a Comparison,
    changes: Changes,
}

impl<'a> Proof<'a> {
    /// Puts them side by side; `end` is after the writers' last commit.
    pub(super) fn new(
        clock: &Clock,
        report: &'a Report,
        statistics: &'a Statistics,
        comparison: &'a Comparison,
        end: Instant,
    ) -> Proof<'a> {
        Proof {
            report,
            statistics,
            comparison,
            changes: Changes::count(clock, report, statistics, end),
        }
    }

    /// Nothing was lost, invented or made to fail.
    fn holds(&self) -> bool {
        self.comparison.differences() == 0 && self.statistics.failed_transactions == 0
    }

    /// What the demo came to. Writers that did not write when they should have prove nothing: that is no success.
    pub(super) fn exit(&self) -> Exit {
        match (self.holds(), self.changes.any_is_zero()) {
            (true, false) => Exit::Done,
            (true, true) => Exit::Stopped,
            (false, _) => Exit::VerificationMismatch,
        }
    }

    fn writer_wait_ms_max(&self) -> f64 {
        let longest = self.statistics.longest_wait();
        longest.map_or(0.0, |(_, wait)| wait.as_secs_f64() * 1_000.0)
    }

    /// For programs.
    pub(super) fn object(&self) -> Value {
        let exit = self.exit();
        json!({
            "outcome": exit.word(),
            "exit_code": exit.code(),
            "rows_copied": self.report.rows_copied,
            "changes_applied": self.report.changes_applied,
            "changes_before_copy": self.changes.before_copy,
            "changes_during_copy": self.changes.during_copy,
            "changes_after_copy": self.changes.after_copy,
            "changes_last_drain": self.report.changes_last_drain,
            "changes_after_swap": self.changes.after_swap,
            "transactions_committed": self.statistics.committed_transactions,
            "transactions_rolled_back": self.statistics.rolled_back_transactions,
            "failed_transactions": self.statistics.failed_transactions,
            "failures": self.statistics.failures,
            "writer_wait_ms_max": self.writer_wait_ms_max(),
            "writer_wait_ms_p99": self.statistics.latency(0.99).as_secs_f64() * 1_000.0,
            "lock_held_ms": self.report.lock_held_ms,
            "lock_queue_ms_max": self.report.lock_queue_ms_max,
            "cutover_attempts": self.report.cutover_attempts,
            "rows_compared": self.comparison.rows,
            "rows_differing": self.comparison.differences(),
        })
    }

    /// For people.
    pub(super) fn render(&self, server_version: &str) -> String {
        let lines = self.lines().into_iter();
        let lines: String = lines
            .map(|(what, value)| format!("  {what:<52}{value:>12}\n"))
            .collect();
        let (style, verdict) = match self.exit() {
            Exit::Done => (GOOD, "Nothing was lost, invented or made to fail."),
            Exit::Stopped => (
                BAD,
                "Nothing differs, but at some time nobody wrote: this run proves little.",
            ),
            _ => (BAD, "ROWS DIFFER OR TRANSACTIONS FAILED: this is a bug."),
        };
        let failures: String = self
            .statistics
            .failures
            .iter()
            .map(|failure| format!("  failed: {failure}\n"))
            .collect();
        format!(
            "\n{HEADING}Retyped live on PostgreSQL {server_version}{HEADING:#}\n{lines}{failures}{style}{verdict}{style:#}\n"
        )
    }

    fn lines(&self) -> Vec<(&'static str, String)> {
        let (report, statistics) = (self.report, self.statistics);
        vec![
            ("rows copied", count(report.rows_copied)),
            ("changes before the copy", count(self.changes.before_copy)),
            ("changes during the copy", count(self.changes.during_copy)),
            (
                "changes after the copy, before the swap",
                count(self.changes.after_copy),
            ),
            (
                "  of these applied under the lock, the last drain",
                count(report.changes_last_drain),
            ),
            ("changes after the swap", count(self.changes.after_swap)),
            ("changes applied by crossfade", count(report.changes_applied)),
            (
                "transactions committed by the writers",
                count(statistics.committed_transactions),
            ),
            (
                "longest that any writer waited",
                millis(self.writer_wait_ms_max()),
            ),
            (
                "  99 of 100 transactions took at most",
                millis(statistics.latency(0.99).as_secs_f64() * 1_000.0),
            ),
            ("exclusive lock held for", millis(report.lock_held_ms)),
            (
                "others queued behind our request for at most",
                millis(report.lock_queue_ms_max),
            ),
            ("failed transactions", count(statistics.failed_transactions)),
            (
                "rows compared with the writers' ledger",
                count(self.comparison.rows),
            ),
            ("rows that differ", count(self.comparison.differences())),
        ]
    }
}
