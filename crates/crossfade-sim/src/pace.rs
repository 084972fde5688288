//! The gate for pace: a standby falls behind and catches up, and nothing that can wait begins meanwhile.

use crossfade_core::migration::{Command, Event};
use crossfade_core::pace::{Observation, Reading, Standby};
use crossfade_core::verify::VerifyCommand;

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::simulation::Simulation;

/// The limit of scenarios in which the standby is looked at.
pub(crate) const LAG_MAX: u64 = 1_000;

/// What an engine was told of the standby.
#[derive(Debug)]
pub(crate) struct Gate {
    /// It is too far behind, or was not looked at yet.
    closed: bool,
    /// A pair that is there compares one slice, whatever the gate says: else none would ever end.
    pair_is_new: bool,
}

impl Gate {
    /// As an engine finds it.
    pub(crate) fn new(paced: bool) -> Self {
        Gate {
            closed: paced,
            pair_is_new: false,
        }
    }
}

impl Simulation {
    /// Tells the machine now and then how far the standby is behind; when faults are over it catches up for good.
    pub(crate) fn observe_standby(&mut self) -> Result<(), Breach> {
        let paced = self.scenario.limits.replica_lag_bytes_max.is_some();
        if !paced || !self.dice.once_in(20) {
            return Ok(());
        }
        let closed = !self.is_calm() && self.dice.chance(50);
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        match (engine.gate.closed, closed) {
            (false, true) => self.coverage.reach(Reached::GateClosed),
            (true, false) => self.coverage.reach(Reached::GateOpened),
            (true, true) | (false, false) => {}
        }
        engine.gate.closed = closed;
        let standby = Standby {
            name: "standby".into(),
            bytes: if closed { 5 * LAG_MAX } else { 0 },
            time: None,
        };
        self.note(|| format!("the standby is {} bytes behind", standby.bytes));
        let seen = Observation::Standbys(Reading::Known(vec![standby]));
        self.tell(Event::Observed(seen))
    }

    /// Of everything that a machine wants: is it the time for it?
    pub(crate) fn check_pace(&mut self, command: &Command) -> Result<(), Breach> {
        let Some(engine) = &mut self.engine else {
            return Ok(());
        };
        let gate = &mut engine.gate;
        let waits = match command {
            Command::OpenSnapshot | Command::OpenSlot | Command::CopyRange(_) | Command::OpenChunk(_) => true,
            Command::BuildIndexes | Command::Verify(VerifyCommand::Open { .. }) => true,
            Command::Verify(VerifyCommand::Pin) => {
                gate.pair_is_new = true;
                false
            }
            Command::Verify(VerifyCommand::Compare { .. }) => !std::mem::take(&mut gate.pair_is_new),
            _other => false,
        };
        if gate.closed && matches!(command, Command::Apply(_)) {
            self.coverage.reach(Reached::AppliedWhileClosed);
        }
        match waits && gate.closed {
            true => Err(Breach::BegunWhileClosed {
                command: format!("{command:?}"),
            }),
            false => Ok(()),
        }
    }
}
