//! What operators do, and the other applications that use up transaction ids.

use crossfade_core::migration::{Activity, Ask, Event};
use crossfade_core::phase::Phase;
use crossfade_core::way_back::Direction;

use crate::breach::Breach;
use crate::coverage::Reached;
use crate::scenario::{Ending, TOO_MUCH_WAL};
use crate::simulation::{End, Simulation};

/// So often a closed way back is opened again before it is given up.
const REOPENINGS_MAX: u32 = 6;

impl Simulation {
    /// What operators do.
    pub(crate) fn operate(&mut self) -> Result<(), Breach> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let ready = engine.machine.activity() == Activity::Ready;
        if self.direction() == Direction::Back {
            return self.operate_back();
        }
        let swapped = self.store.phase >= Phase::Swapped;
        if !swapped && self.scenario.abort_at.is_some_and(|step| self.steps >= step) {
            return self.tell(Event::Asked(Ask::Abort));
        }
        if self.scenario.wal_budget_at == Some(self.steps) {
            return self.tell(Event::RetainedWal(TOO_MUCH_WAL));
        }
        if self.operate_always()? {
            return Ok(());
        }
        if ready && self.dice.once_in(self.scenario.verify_asked_interval) {
            self.coverage.reach(Reached::VerifyAsked);
            return self.tell(Event::Asked(Ask::Verify));
        }
        if ready && !self.scenario.cutover_when_ready && self.dice.once_in(10) {
            self.coverage.reach(Reached::CutoverAsked);
            return self.tell(Event::Asked(Ask::Cutover));
        }
        self.hold_back_or_interrupt()
    }

    /// What the engine is told in either direction; whether it was.
    fn operate_always(&mut self) -> Result<bool, Breach> {
        if self.dice.once_in(if self.scenario.burns_xids { 20 } else { 40 }) {
            self.reference_told = true;
            self.tell(Event::Reference(self.world.snapshot().to_core()))?;
            return Ok(true);
        }
        if self.store.paused && (self.is_calm() || self.dice.once_in(60)) {
            self.coverage.reach(Reached::Continued);
            self.store.paused = false;
            self.tell(Event::Asked(Ask::Continue))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn hold_back_or_interrupt(&mut self) -> Result<(), Breach> {
        if self.is_calm() || !self.dice.once_in(300) {
            return Ok(());
        }
        if self.dice.chance(50) {
            self.coverage.reach(Reached::Paused);
            self.store.paused = true;
            self.tell(Event::Asked(Ask::Pause))
        } else {
            self.tell(Event::Asked(Ask::Interrupt))
        }
    }

    /// After the swap, until the rollback or the end of the way back.
    fn operate_back(&mut self) -> Result<(), Breach> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let activity = engine.machine.activity();
        if self.operate_always()? {
            return Ok(());
        }
        if self.store.phase == Phase::RolledBack {
            return self.hold_back_or_interrupt();
        }
        let budget = self.scenario.back_budget_interval;
        if budget > 0 && !self.is_calm() && self.dice.once_in(budget) {
            return self.tell(Event::RetainedWal(TOO_MUCH_WAL));
        }
        match activity {
            Activity::FollowingBack if self.dice.once_in(self.scenario.verify_asked_interval) => {
                self.coverage.reach(Reached::VerifyBackAsked);
                return self.tell(Event::Asked(Ask::Verify));
            }
            Activity::FollowingBack | Activity::SeekingSwap
                if self.is_end_wanted() && self.dice.once_in(10) =>
            {
                return self.ask_for_end();
            }
            Activity::BackClosed if self.dice.once_in(12) => return self.open_again(),
            _elsewhere => {}
        }
        self.hold_back_or_interrupt()
    }

    fn is_end_wanted(&self) -> bool {
        self.is_calm() || self.world.committed >= self.scenario.asked_after
    }

    fn ask_for_end(&mut self) -> Result<(), Breach> {
        match self.scenario.ending {
            Ending::RollBack => {
                self.coverage.reach(Reached::RollbackAsked);
                self.tell(Event::Asked(Ask::Rollback))
            }
            Ending::Complete => self.complete(),
        }
    }

    /// An operator's process takes the migration over: whatever the engine has sent has committed by then, or never
    /// will.
    fn complete(&mut self) -> Result<(), Breach> {
        self.coverage.reach(Reached::Completed);
        self.note(|| "an operator completes".into());
        self.end_engine()?;
        if self.store.phase != Phase::Swapped {
            return Ok(());
        }
        self.store.back_slot = None;
        self.store.phase = Phase::Completed;
        self.end = Some(End::Completed);
        Ok(())
    }

    /// The row that was refused is mended, or not yet; the engine tries again. Where mending it comes too late, since it
    /// does not fit into one piece with what it mends, there is nothing left but to complete.
    fn open_again(&mut self) -> Result<(), Breach> {
        if self.is_calm() && self.reopenings > REOPENINGS_MAX {
            self.coverage.reach(Reached::ClosedForGood);
            return self.complete();
        }
        self.reopenings += u32::from(self.is_calm());
        if self.is_calm() || self.dice.chance(70) {
            self.world.mend(&mut self.dice);
        }
        self.tell(Event::Asked(Ask::Continue))
    }
}
