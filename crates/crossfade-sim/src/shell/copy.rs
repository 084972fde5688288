//! Snapshot, ranges, ledger row, indexes.

use crossfade_core::migration::{Command, Event, RangeId};
use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;

use super::Task;
use crate::breach::Breach;
use crate::coverage::Reached;
use crate::planted::Planted;
use crate::row::Row;
use crate::simulation::Simulation;
use crate::target::repeated_code;
use crate::world::View;

impl Simulation {
    /// Empties the target and locks; waits, as slot creation does, for every transaction that is running; then
    /// hands out the snapshot of the consistent point, or a later one that sees at least as much.
    pub(super) fn open_snapshot(&mut self, task: &mut Task) {
        match task.stage {
            0 if self.world.is_truncating() => {}
            0 => {
                if !self.store.rows.is_empty() {
                    self.coverage.reach(Reached::CopyBegunAgain);
                }
                if !self.is_planted(Planted::TargetNotEmptied) {
                    self.store.rows.clear();
                }
                self.store.slot = None;
                if let Some(engine) = &mut self.engine {
                    engine.holds_snapshot = true;
                    self.world.shares += 1;
                }
                task.waits_for = self.world.active.keys().copied().collect();
                if !task.waits_for.is_empty() {
                    self.coverage.reach(Reached::SlotWaited);
                }
                task.stage = 1;
            }
            1 => self.create_slot(task),
            _ => self.take_late_snapshot(task),
        }
    }

    fn create_slot(&mut self, task: &mut Task) {
        let running = |xid| self.world.active.contains_key(xid);
        if task.waits_for.iter().any(running) {
            return;
        }
        self.world.wal.flush();
        task.position = self.world.wal.insert_position();
        self.store.slot = Some(task.position);
        self.store.consistent_from = task.position;
        if self.scenario.late_snapshot {
            task.stage = 2;
            return;
        }
        self.coverage.reach(Reached::SnapshotExact);
        let snapshot = self.world.snapshot_of_log();
        self.opened(task, snapshot);
    }

    fn take_late_snapshot(&mut self, task: &mut Task) {
        let sees_enough = self.world.shows_all_until(task.position);
        if self.dice.chance(80) {
            return;
        }
        if !sees_enough && !self.is_planted(Planted::SnapshotMissesDecoded) {
            return;
        }
        self.coverage.reach(Reached::SnapshotLate);
        let snapshot = self.world.snapshot();
        self.store.consistent_from = self.world.wal.insert_position();
        self.opened(task, snapshot);
    }

    fn opened(&mut self, task: &mut Task, snapshot: View) {
        let core = snapshot.to_core();
        let late = self.world.wal.commits().iter().rev();
        let late = late.take_while(|commit| commit.end > task.position);
        self.store.copied_late = late
            .map(|commit| commit.xid)
            .filter(|xid| snapshot.shows(*xid))
            .collect();
        if let Some(engine) = &mut self.engine {
            engine.snapshot = Some(snapshot);
        }
        task.answer = Some(Event::SnapshotOpened {
            consistent_point: task.position,
            snapshot: core,
            ranges: 8 + self.dice.below(4) as u32,
        });
    }

    /// The range's rows under the shared snapshot.
    pub(super) fn copy_range(&mut self, task: &mut Task, range: RangeId) -> Result<(), Breach> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let copying = |task: &Task| matches!(task.command, Command::CopyRange(_));
        if engine.tasks.iter().any(copying) {
            self.coverage.reach(Reached::RangesSideBySide);
        }
        let ranges = engine.machine.progress().ranges.0;
        let Some(snapshot) = engine.snapshot.clone() else {
            return Ok(());
        };
        let keys = u32::from(self.scenario.keys) + 1;
        let home = |row: &Row| u32::from(row.key.number) * ranges / keys == range.0;
        let rows: Vec<Row> = self.world.heap.rows(&snapshot).filter(home).collect();
        task.answer = Some(Event::RangeCopied {
            range,
            rows: rows.len() as u64,
        });
        self.chunks_copied += 1;
        if self.is_planted(Planted::RangeReportedEarly) {
            self.report_early(rows);
            return Ok(());
        }
        self.insert_range(&rows)
    }

    /// Without `ON CONFLICT`.
    pub(crate) fn insert_range(&mut self, rows: &[Row]) -> Result<(), Breach> {
        let own = self.target().default_own();
        for row in rows {
            let key = row.key.number;
            let former = self.store.rows.insert(key, Row { own, ..*row });
            if former.is_some() {
                return Err(Breach::CopyMetDuplicate { key });
            }
        }
        self.world.engine_commit(&mut self.dice, None);
        Ok(())
    }

    pub(super) fn record_chunk(&mut self, task: &mut Task, consistent_point: Lsn, snapshot: Snapshot) {
        let lost = self.loses_answer();
        if lost {
            self.coverage.reach(Reached::ChunkAnswerLost);
        }
        task.lost = lost;
        if lost && self.dice.chance(50) {
            return;
        }
        self.world.engine_commit(&mut self.dice, None);
        self.store.phase = Phase::Copied;
        self.store.copied = Some((consistent_point, snapshot));
        self.store.aligned = None;
        self.store.last_apply = self.world.clock;
        task.answer = Some(Event::ChunkRecorded);
    }

    /// A COMMIT of this step gets no answer.
    pub(super) fn loses_answer(&mut self) -> bool {
        let interval = self.scenario.fault_interval;
        !self.is_calm() && interval > 0 && self.dice.once_in(interval)
    }

    /// Unique indexes fail on a target that is not consistent.
    pub(super) fn build_indexes(&mut self, task: &mut Task) -> Result<(), Breach> {
        let busy = |task: &Task| matches!(task.command, Command::Apply(_) | Command::Fetch { .. });
        let engine = self.engine.as_ref();
        if engine.is_some_and(|engine| engine.batch.is_some() || engine.tasks.iter().any(busy)) {
            return Err(Breach::BusyDuringIndexBuild);
        }
        if self.scenario.unique {
            if let Some(code) = repeated_code(&self.store.rows) {
                return Err(Breach::NotUnique { code });
            }
            self.store.unique_index = true;
        }
        task.answer = Some(Event::IndexesBuilt);
        Ok(())
    }
}
