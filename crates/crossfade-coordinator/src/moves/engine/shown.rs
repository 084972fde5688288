//! What is shown of it all.

use crossfade_core::migration::Activity;
use crossfade_core::phase::Phase;
use crossfade_core::way_back::Direction;

use super::Engine;
use crate::report::Report;

/// What it publishes.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    /// By table: name, activity, rows copied, changes applied.
    pub(crate) tables: Vec<ShownTable>,
    pub(crate) report: Report,
    /// How far the move as a whole is.
    pub(crate) phase: Phase,
    pub(crate) rows_expected: u64,
    pub(crate) lag_bytes: u64,
    pub(crate) retained_bytes: u64,
    pub(crate) paused: bool,
    pub(crate) ready: bool,
    pub(crate) handing_over: bool,
    pub(crate) note: Option<String>,
}

impl Shown {
    /// Before an engine has said anything.
    pub(crate) fn nothing(phase: Phase) -> Self {
        Shown {
            tables: Vec::new(),
            report: Report::default(),
            phase,
            rows_expected: 0,
            lag_bytes: 0,
            retained_bytes: 0,
            paused: false,
            ready: false,
            handing_over: false,
            note: None,
        }
    }
}

/// One table of [`Shown`].
#[derive(Clone, Debug)]
pub(crate) struct ShownTable {
    pub(crate) name: String,
    pub(crate) activity: Activity,
    pub(crate) progress: crossfade_core::migration::Progress,
    pub(crate) equal: bool,
    pub(crate) rows_expected: u64,
}

impl Engine {
    /// Of the first leg what the table has that is least far.
    fn phase(&self) -> Phase {
        match (self.shared.leg, self.shared.direction()) {
            (0, _) => {
                let phases = self.members.iter().map(|member| member.machine.phase());
                phases.min().unwrap_or(Phase::Planned)
            }
            (_, Direction::Forward) => Phase::Ready,
            (_, Direction::Back) => Phase::Swapped,
        }
    }

    /// The report so far.
    pub(crate) fn report(&self) -> Report {
        let mut report = self.report.clone();
        for member in &self.members {
            let progress = member.machine.progress();
            let feed = progress.feed;
            match self.shared.direction() {
                Direction::Forward => {
                    report.rows_copied += progress.rows_copied;
                    report.changes_delivered += feed.delivered;
                    report.changes_dropped += feed.dropped;
                    report.changes_applied += feed.applied;
                    report.rows_fetched += feed.fetched;
                }
                Direction::Back => report.changes_carried_back += feed.applied,
            }
        }
        report
    }

    pub(super) fn publish(&mut self) {
        if self.silenced {
            return;
        }
        let tables = self.members.iter().zip(self.plans.iter()).map(|(member, plan)| {
            let step = crossfade_core::migration::copy_step(plan);
            ShownTable {
                name: step.source.name.to_string(),
                activity: member.machine.activity(),
                progress: member.machine.progress(),
                equal: member.equal,
                rows_expected: step.estimate.rows,
            }
        });
        let tables: Vec<ShownTable> = tables.collect();
        let ready = tables.iter().all(|table| table.activity == Activity::Ready);
        let shown = Shown {
            phase: self.phase(),
            rows_expected: tables.iter().map(|table| table.rows_expected).sum(),
            tables,
            report: self.report(),
            lag_bytes: self.measured.0,
            retained_bytes: self.measured.1,
            paused: self.paused,
            ready,
            handing_over: self.handing_over,
            note: self.note.clone(),
        };
        self.shown.send_replace(shown);
    }
}
