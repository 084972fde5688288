//! The verification's sessions: a snapshot of the source, one of the target, and slices compared under both.

use crossfade_core::migration::Event;
use crossfade_core::piece::{FetchKey, TargetKey};
use crossfade_core::position::Lsn;
use crossfade_core::verify::{Bound, Compared, Repair, Slice, Totals, Verified, VerifyCommand, VerifyEvent};
use crossfade_core::way_back::Direction;

use super::Task;
use crate::breach::{Breach, Place};
use crate::coverage::Reached;
use crate::engine::PairOfSnapshots;
use crate::planted::Planted;
use crate::row::{Key, Row};
use crate::simulation::Simulation;
use crate::target::{Rows, difference, shared};

impl Simulation {
    pub(super) fn verify(&mut self, task: &mut Task, command: VerifyCommand) -> Result<(), Breach> {
        // Everything goes on between two steps of the verification.
        if self.dice.chance(50) {
            return Ok(());
        }
        match command {
            VerifyCommand::Open { .. } => self.open_pair(task),
            VerifyCommand::Fetch { keys } => self.fetch_aligned(task, &keys)?,
            VerifyCommand::Pin => self.pin(task)?,
            VerifyCommand::Compare { lower, rows } => self.compare_slice(task, lower, rows),
            VerifyCommand::Drill { .. } => {
                task.answer = Some(Event::Verify(VerifyEvent::Drilled {
                    differences: Vec::new(),
                    suspects: Vec::new(),
                    more: true,
                }));
            }
            VerifyCommand::Record(found) => self.record_verification(task, &found),
            // Performed when it was taken.
            VerifyCommand::Release => {}
        }
        Ok(())
    }

    /// Lock, snapshot; later the position.
    fn open_pair(&mut self, task: &mut Task) {
        if task.stage == 0 {
            let locks = !self.is_planted(Planted::PairWithoutLock);
            if self.world.is_truncating() && locks {
                return;
            }
            task.stage = 1;
            self.world.shares += u32::from(locks);
            let source = self.world.snapshot();
            if let Some(engine) = &mut self.engine {
                engine.pair = Some(PairOfSnapshots {
                    source,
                    position: Lsn(0),
                    locks,
                    target: Rows::new(),
                });
            }
            return;
        }
        let position = self.world.engine_commit(&mut self.dice, None);
        let Some(pair) = self.engine.as_mut().and_then(|engine| engine.pair.as_mut()) else {
            return;
        };
        pair.position = position;
        let snapshot = pair.source.to_core();
        let repair = self.reread();
        task.answer = Some(Event::Verify(VerifyEvent::Opened {
            snapshot,
            position,
            file: Some(1),
            repair,
        }));
    }

    /// No row differs here, and to write some of them anew must not make one differ.
    fn reread(&mut self) -> Repair {
        let mut repair = Repair::default();
        if self.dice.chance(50) {
            return repair;
        }
        let Some(pair) = self.engine.as_ref().and_then(|engine| engine.pair.as_ref()) else {
            return repair;
        };
        let newer = self
            .is_planted(Planted::RepairReadsLater)
            .then(|| self.world.snapshot());
        let view = newer.as_ref().unwrap_or(&pair.source);
        for number in 0..self.scenario.keys {
            match self.world.heap.row(view, number) {
                _ if self.dice.chance(80) => {}
                Some(row) => repair.rows.push(row.to_core(self.world.live)),
                None => repair.removes.push(TargetKey {
                    target: 0,
                    key: vec![number.to_string()],
                }),
            }
        }
        if !repair.rows.is_empty() {
            self.coverage.reach(Reached::RowRepaired);
        }
        repair
    }

    fn fetch_aligned(&mut self, task: &mut Task, keys: &[FetchKey]) -> Result<(), Breach> {
        self.coverage.reach(Reached::FetchAligned);
        let keys = self.held_at_once(keys);
        let Some(pair) = self.engine.as_ref().and_then(|engine| engine.pair.as_ref()) else {
            return Ok(());
        };
        let newer = self
            .is_planted(Planted::AlignedFetchReadsLater)
            .then(|| self.world.snapshot());
        let view = newer.as_ref().unwrap_or(&pair.source);
        let mut rows = Vec::with_capacity(keys.len());
        for fetch in keys {
            let key = Key::from_cells(&fetch.key).ok_or(Breach::Unreadable)?;
            let row = self.world.heap.row(view, key.number);
            rows.push(row.map(|row| row.to_core(self.world.live)));
        }
        task.answer = Some(Event::Fetched {
            snapshot: pair.source.to_core(),
            rows,
            reach: Lsn(0),
        });
        Ok(())
    }

    /// Both snapshots show one instant.
    fn pin(&mut self, task: &mut Task) -> Result<(), Breach> {
        self.coverage.reach(Reached::Pinned);
        let Some(pair) = self.engine.as_mut().and_then(|engine| engine.pair.as_mut()) else {
            return Ok(());
        };
        pair.target = self.store.rows.clone();
        let expected: Vec<_> = self.world.heap.rows(&pair.source).collect();
        if let Some(difference) = difference(&shared(&expected), &shared(pair.target.values())) {
            return Err(Breach::Differs {
                place: Place::Pair,
                at: pair.position,
                difference,
            });
        }
        task.answer = Some(Event::Verify(VerifyEvent::Pinned));
        Ok(())
    }

    /// The world has so few rows that it cuts slices as it likes.
    fn compare_slice(&mut self, task: &mut Task, lower: Option<Bound>, rows: Option<u64>) {
        let first = lower.as_ref().map_or(0, number);
        let end = first + 1 + self.dice.below(u64::from(self.scenario.keys)) as u8;
        let upper = (rows.is_some() && end < self.scenario.keys).then(|| bound(end));
        let inside = |key: u8| key >= first && upper.as_ref().is_none_or(|upper| key < number(upper));
        let Some(pair) = self.engine.as_ref().and_then(|engine| engine.pair.as_ref()) else {
            return;
        };
        let source: Vec<Row> = self.world.heap.rows(&pair.source).collect();
        let compared = Compared {
            source: totals(source.iter().filter(|row| inside(row.key.number))),
            target: totals(pair.target.values().filter(|row| inside(row.key.number))),
            slice: Slice { lower, upper },
            not_once: 0,
            ordered: true,
        };
        if compared.slice.upper.is_some() {
            self.coverage.reach(Reached::SliceOfMany);
        }
        task.answer = Some(Event::Verify(VerifyEvent::Compared(compared)));
    }

    fn record_verification(&mut self, task: &mut Task, found: &Verified) {
        self.world.engine_commit(&mut self.dice, None);
        if found.is_equal() {
            self.coverage.reach(match self.direction() {
                Direction::Forward => Reached::VerifiedEqual,
                Direction::Back => Reached::VerifiedEqualBack,
            });
        }
        self.store.equal = Some(found.is_equal());
        task.answer = Some(Event::Verify(VerifyEvent::Recorded));
    }

    /// An alignment committed at `applied`: the target has everything that the snapshot shows.
    pub(super) fn note_alignment(&mut self, applied: Lsn) {
        let Some(pair) = self.engine.as_ref().and_then(|engine| engine.pair.as_ref()) else {
            return;
        };
        let commits = self.world.wal.commits();
        let later = || commits.iter().filter(|commit| commit.end > applied);
        let ahead = later().filter(|commit| pair.source.shows(commit.xid));
        self.store.copied_late = ahead.map(|commit| commit.xid).collect();
        self.store.consistent_from = self.store.consistent_from.max(pair.position);
        let held = |commit: &&crate::world::Commit| {
            commit.end <= pair.position && !pair.source.shows(commit.xid) && !commit.changes.is_empty()
        };
        if later().any(|commit| held(&commit)) {
            self.coverage.reach(Reached::AlignedHolding);
        }
        if !self.store.copied_late.is_empty() {
            self.coverage.reach(Reached::AlignedAhead);
        }
    }
}

fn bound(number: u8) -> Bound {
    let key = vec![number.to_string()];
    Bound {
        source: key.clone(),
        targets: vec![key],
    }
}

fn number(bound: &Bound) -> u8 {
    bound
        .source
        .first()
        .and_then(|key| key.parse().ok())
        .unwrap_or_default()
}

/// Any hash does: the world has no adversary.
fn totals<'a>(rows: impl Iterator<Item = &'a Row>) -> Totals {
    let mut totals = Totals::default();
    for row in rows {
        let text = format!("{:?}", row.shared());
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        totals.rows += 1;
        totals.hashes[0] += i128::from(hash);
    }
    totals
}
