//! Exact verification without blocking (R26): slice by slice, each under a pair of snapshots that show one instant.
//!
//! ```text
//!  start ─► due ─► opening ─► aligning ─► pinning ─► comparing ─► … ─► comparing ─► recording ─► ended
//!            ▲        │           │                     │    └► drilling ─┘
//!            │ pause ◄┴───────────┘ (no snapshot fits)  │
//!            └──────────────────────────────────────────┘ (the pair has lived long enough)
//! ```
//!
//! The feed makes the alignment ([`crate::feed::Feed::align`]); here is when to begin one, what to compare under it,
//! and what came of it.
//!
//! Invariants:
//! - no pair outlives [`crate::limits::Limits::verify_time_ms`] by more than the slice it is at, but for a table that
//!   can only be compared as a whole;
//! - slices follow each other from open end to open end: each begins where the one before ended, and a verification
//!   whose slices do not is not whole, and fails;
//! - a difference is a finding, not an error: the rest is compared all the same;
//! - a repair is asked for. It looks at the rows that differed again, under the snapshot of the next verification's first
//!   pair, and its writes are part of that alignment: they are right for one instant, as everything else in it, and every
//!   row is compared afterwards. What cannot be named completely is not repaired.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::change::Row;
use crate::migration::Invisible;
use crate::piece::{FetchKey, TargetKey};
use crate::position::Lsn;
use crate::snapshot::Snapshot;

/// A key between two slices, as the server writes it: of the source, and its image in each target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The source's key columns.
    pub source: Vec<String>,
    /// By target, its image.
    pub targets: Vec<Vec<String>>,
}

/// The rows from one bound up to the next; `None` is an open end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slice {
    /// Its first key.
    pub lower: Option<Bound>,
    /// The first key that is not in it.
    pub upper: Option<Bound>,
}

/// What one side of a slice adds up to: equal totals of the two sides mean equal rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many rows.
    pub rows: u64,
    /// The sums over two independent 64-bit hashes of each whole row.
    pub hashes: [i128; 2],
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Only the source has it.
    Missing,
    /// Only the target has it.
    Extra,
    /// Both have the key, with different rows.
    Different,
    /// A row of the source that is to be in exactly one target, and is in none or in several.
    NotOnce,
    /// The source is a view, and several of its rows have the key.
    Twice,
}

/// A row that differs, by its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The target's key as the server writes it; of a table without a key the place of the row in the target, or
    /// nothing.
    pub key: String,
    /// How.
    pub kind: Kind,
}

/// Rows of a slice that differed: what a repair looks at again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspects {
    /// The slice in which they were found, and whose bounds hold their counterparts.
    pub slice: Slice,
    /// Which rows.
    pub keys: Vec<TargetKey>,
}

/// What suspects are to become: as the source has them under the snapshot of an alignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Rows of the source, whole.
    pub rows: Vec<Row>,
    /// Rows of the targets that no row of the source stands for.
    pub removes: Vec<TargetKey>,
}

/// What a verification came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Pairs of snapshots that were taken.
    pub pairs: u32,
    /// Slices compared.
    pub slices: u32,
    /// Of these, slices that differ.
    pub slices_different: u32,
    /// Rows in them, as the source has them: of several targets, as often as they have them.
    pub rows: u64,
    /// Where the last pair was aligned.
    pub aligned: Lsn,
    /// The slices were the whole table.
    pub whole: bool,
    /// Rows that differ, up to [`DIFFERENCES_MAX`].
    pub differences: Vec<Difference>,
    /// There are more of them.
    pub more: bool,
    /// The source's file, if it was one throughout: rows that are compared afterwards, in another one, were not.
    pub file: Option<u32>,
    /// Rows that were repaired right before it.
    pub repaired: u32,
    /// The rows that differ are repaired next, and all are compared again: not the last word.
    pub repair_follows: bool,
    /// So many strays ([`crate::detector`]) lie behind it: each of its snapshots sees them.
    pub strays: u64,
}

impl Verified {
    /// Every row was compared, and none differs.
    pub fn is_equal(&self) -> bool {
        self.whole && self.slices_different == 0
    }
}

/// Rows that differ and are named.
pub const DIFFERENCES_MAX: usize = 100;

/// What the shell shall do, in the sessions of the verification, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyCommand {
    /// Lock the source, take a snapshot, read the suspects' counterparts under it; then read the WAL insert position and
    /// make it durable → [`VerifyEvent::Opened`].
    Open {
        /// Mostly none.
        suspects: Vec<Suspects>,
    },
    /// Read these rows under that snapshot → [`crate::migration::Event::Fetched`].
    Fetch {
        /// Which rows.
        keys: Vec<FetchKey>,
    },
    /// Lock the target, take a snapshot of it → [`VerifyEvent::Pinned`].
    Pin,
    /// Compare about so many rows from this bound on → [`VerifyEvent::Compared`].
    Compare {
        /// Where to begin.
        lower: Option<Bound>,
        /// How many; `None`: the whole table as one slice.
        rows: Option<u64>,
    },
    /// Find the rows that differ in this slice → [`VerifyEvent::Drilled`].
    Drill {
        /// Which.
        slice: Slice,
        /// How many at most.
        limit: usize,
    },
    /// Let both snapshots go. Not answered.
    Release,
    /// Write the result down → [`VerifyEvent::Recorded`].
    Record(Box<Verified>),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyEvent {
    /// See [`VerifyCommand::Open`].
    Opened {
        /// What it sees.
        snapshot: Snapshot,
        /// The durable WAL insert position read after it.
        position: Lsn,
        /// The source's file under the lock.
        file: Option<u32>,
        /// What the suspects are to become.
        repair: Repair,
    },
    /// See [`VerifyCommand::Pin`].
    Pinned,
    /// See [`VerifyCommand::Compare`].
    Compared(Compared),
    /// See [`VerifyCommand::Drill`].
    Drilled {
        /// What was found.
        differences: Vec<Difference>,
        /// Their keys, where they have one.
        suspects: Vec<TargetKey>,
        /// There are more.
        more: bool,
    },
    /// See [`VerifyCommand::Record`].
    Recorded,
}

/// What came of one slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What was compared.
    pub slice: Slice,
    /// The source's side, transformed.
    pub source: Totals,
    /// The target's side.
    pub target: Totals,
    /// Rows of the source that are to be in exactly one target, and are not.
    pub not_once: u64,
    /// The image of every row of the source's side is within the target's: the two keys are in one order here.
    pub ordered: bool,
}

impl Compared {
    fn is_equal(&self) -> bool {
        self.source == self.target && self.not_once == 0
    }
}

/// Why there is no aligned pair yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A transaction is applied, or may be, and still not visible.
    #[error(transparent)]
    Invisible(Invisible),
    /// The stream has brought more meanwhile than may wait.
    #[error("more has changed since the snapshot than may wait in memory")]
    Crowded,
    /// The stream has not come far enough in time.
    #[error("the stream has not come as far as the snapshot within verify_time")]
    Late,
}

/// Numbers for whoever watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyProgress {
    /// Slices compared.
    pub slices: u32,
    /// Rows of the source compared.
    pub rows: u64,
    /// Slices that differ.
    pub slices_different: u32,
    /// What stands in the way of the next pair.
    pub obstacle: Option<Obstacle>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Waiting for a consistent target.
    Due,
    Opening,
    Aligning,
    Pinning,
    Comparing,
    Drilling,
    /// No snapshot fitted: another one, a moment later.
    Pausing,
    Recording,
    Ended,
}

/// What is compared and what is next.
#[derive(Debug, Default)]
struct Tally {
    next: Option<Bound>,
    /// The last slice had no upper bound.
    done: bool,
    /// A slice did not begin where the one before had ended.
    gap: bool,
    found: Verified,
    suspects: Vec<Suspects>,
    /// Not every pair had the same file.
    replaced: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Verification {
    /// See [`crate::limits::Limits::verify_time_ms`].
    pair_time: Duration,
    state: State,
    keyed: bool,
    /// The two keys are not in one order, or there is none.
    as_a_whole: bool,
    rows: u64,
    tally: Tally,
    /// Differences are to be repaired.
    may_repair: bool,
    /// Found by the verification before this one; until they are repaired.
    suspects: Vec<Suspects>,
    /// The slice that is drilled.
    drilled: Option<Slice>,
    pair_opened: Option<Instant>,
    slice_began: Option<Instant>,
    retry_at: Option<Instant>,
    retry_pause: Duration,
    late: bool,
    obstacle: Option<Obstacle>,
    commands: VecDeque<VerifyCommand>,
}

/// A first slice, before it is known how long one takes.
const SLICE_ROWS: u64 = 10_000;
const SLICE_ROWS_MIN: u64 = 1_000;
const SLICE_ROWS_MAX: u64 = 1_000_000;
/// So many slices should fit the life of a pair.
const SLICES_PER_PAIR: u32 = 4;
/// A snapshot that did not fit is given this long to be followed by one that does, and twice as long each time.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

impl Verification {
    /// One that has not been started. A table without a key can only be compared as a whole.
    pub fn new(pair_time: Duration, keyed: bool) -> Self {
        Verification {
            pair_time,
            state: State::Idle,
            keyed,
            as_a_whole: !keyed,
            rows: SLICE_ROWS,
            tally: Tally::default(),
            may_repair: false,
            suspects: Vec::new(),
            drilled: None,
            pair_opened: None,
            slice_began: None,
            retry_at: None,
            retry_pause: RETRY_PAUSE,
            late: false,
            obstacle: None,
            commands: VecDeque::new(),
        }
    }

    /// Ends without a result. An answer that is on its way must not reach it any more.
    pub fn abandon(&mut self) {
        self.commands.clear();
        self.commands.push_back(VerifyCommand::Release);
        self.state = State::Idle;
    }

    /// Begins from the first slice. `repair`: what differs is to be repaired, once, and everything compared again.
    pub fn start(&mut self, repair: bool) {
        self.may_repair = repair;
        self.suspects.clear();
        self.begin();
    }

    fn begin(&mut self) {
        self.as_a_whole = !self.keyed;
        self.tally = Tally::default();
        self.state = State::Due;
    }

    /// Waits for a consistent target and [`Verification::open`].
    pub fn is_due(&self) -> bool {
        self.state == State::Due
    }

    /// Waits for the feed to be aligned, and for [`Verification::aligned`].
    pub fn is_aligning(&self) -> bool {
        self.state == State::Aligning
    }

    /// Between the consistent target and its snapshot nothing but the alignment is applied.
    pub fn holds_applier(&self) -> bool {
        matches!(self.state, State::Opening | State::Pinning)
    }

    /// What it came to, once it is written down. Afterwards it can be started again.
    pub fn take_outcome(&mut self) -> Option<Verified> {
        if self.state != State::Ended {
            return None;
        }
        self.state = State::Idle;
        Some(std::mem::take(&mut self.tally.found))
    }

    /// Numbers for whoever watches.
    pub fn progress(&self) -> VerifyProgress {
        let found = &self.tally.found;
        VerifyProgress {
            slices: found.slices,
            rows: found.rows,
            slices_different: found.slices_different,
            obstacle: self.obstacle,
        }
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<VerifyCommand> {
        self.commands.pop_front()
    }

    /// When [`Verification::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Pausing => self.retry_at,
            State::Aligning if !self.late => self.pair_ends(),
            State::Idle
            | State::Aligning
            | State::Due
            | State::Opening
            | State::Pinning
            | State::Comparing
            | State::Drilling
            | State::Recording
            | State::Ended => None,
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Pausing && self.retry_at.is_some_and(|moment| moment <= now) {
            self.retry_at = None;
            self.state = State::Due;
        }
        self.late = self.is_aligning() && self.pair_ends().is_some_and(|end| end <= now);
    }

    /// The target is consistent, at a batch's end, and stays so: a pair may be opened.
    pub fn open(&mut self, now: Instant) {
        if self.state == State::Due {
            self.pair_opened = Some(now);
            self.late = false;
            self.state = State::Opening;
            let suspects = self.suspects.clone();
            self.commands.push_back(VerifyCommand::Open { suspects });
        }
    }

    /// The feed has begun the alignment with the snapshot that was opened, which sees that many strays.
    pub fn align(&mut self, position: Lsn, strays: u64, file: Option<u32>) {
        let found = &mut self.tally.found;
        found.aligned = position;
        if found.slices == 0 {
            found.strays = strays;
            found.file = file;
        }
        self.tally.replaced |= found.file != file;
        self.state = State::Aligning;
    }

    /// The alignment lasts longer than a pair should live.
    pub fn is_late(&self) -> bool {
        self.late
    }

    /// The alignment is committed, and the repair with it.
    pub fn aligned(&mut self) {
        let repaired: usize = self.suspects.drain(..).map(|found| found.keys.len()).sum();
        self.tally.found.repaired += u32::try_from(repaired).unwrap_or(u32::MAX);
        self.obstacle = None;
        self.retry_pause = RETRY_PAUSE;
        self.state = State::Pinning;
        self.commands.push_back(VerifyCommand::Pin);
    }

    /// There is no alignment with the snapshot that was opened: another one, a moment later.
    pub fn give_up_pair(&mut self, now: Instant, obstacle: Obstacle) {
        self.obstacle = Some(obstacle);
        self.commands.push_back(VerifyCommand::Release);
        self.retry_at = Some(now + self.retry_pause);
        self.retry_pause = (self.retry_pause * 2).min(RETRY_PAUSE_MAX);
        self.state = State::Pausing;
    }

    /// Takes what happened, but for [`VerifyEvent::Opened`], which is the feed's to judge first. `held_back`: nothing
    /// more is to be begun for now.
    pub fn handle_event(&mut self, now: Instant, event: VerifyEvent, held_back: bool) {
        match (self.state, event) {
            (State::Pinning, VerifyEvent::Pinned) => {
                self.tally.found.pairs += 1;
                self.compare(now);
            }
            (State::Comparing, VerifyEvent::Compared(compared)) => self.compared(now, compared, held_back),
            (
                State::Drilling,
                VerifyEvent::Drilled {
                    differences,
                    suspects,
                    more,
                },
            ) => {
                let slice = self.drilled.take().unwrap_or_default();
                self.tally.drilled(slice, differences, suspects, more);
                self.go_on(now, held_back);
            }
            (State::Recording, VerifyEvent::Recorded) => self.recorded(),
            (state, event) => unreachable!("{event:?} in {state:?}: the shell answers commands only"),
        }
    }

    fn pair_ends(&self) -> Option<Instant> {
        self.pair_opened.map(|opened| opened + self.pair_time)
    }

    fn compare(&mut self, now: Instant) {
        self.state = State::Comparing;
        self.slice_began = Some(now);
        self.commands.push_back(VerifyCommand::Compare {
            lower: self.tally.next.clone(),
            rows: (!self.as_a_whole).then_some(self.rows),
        });
    }

    fn compared(&mut self, now: Instant, compared: Compared, held_back: bool) {
        if !compared.ordered && !self.as_a_whole {
            // Ranges of the one key are not ranges of the other: only all rows together can be compared.
            self.as_a_whole = true;
            self.tally = Tally {
                found: Verified {
                    pairs: self.tally.found.pairs,
                    repaired: self.tally.found.repaired,
                    file: self.tally.found.file,
                    strays: self.tally.found.strays,
                    aligned: self.tally.found.aligned,
                    ..Verified::default()
                },
                ..Tally::default()
            };
            return self.compare(now);
        }
        self.resize(now);
        self.tally.take(&compared);
        let left = DIFFERENCES_MAX.saturating_sub(self.tally.found.differences.len());
        if compared.is_equal() {
            self.go_on(now, held_back);
        } else if left == 0 {
            self.tally.found.more = true;
            self.go_on(now, held_back);
        } else {
            self.state = State::Drilling;
            self.drilled = Some(compared.slice.clone());
            self.commands.push_back(VerifyCommand::Drill {
                slice: compared.slice,
                limit: left,
            });
        }
    }

    /// The next slice shall take its share of a pair's life.
    fn resize(&mut self, now: Instant) {
        let Some(began) = self.slice_began.take() else {
            return;
        };
        let took = now.saturating_duration_since(began).as_millis().max(1);
        let goal = (self.pair_time / SLICES_PER_PAIR).as_millis();
        let fitting = u128::from(self.rows) * goal / took;
        let fitting = u64::try_from(fitting).unwrap_or(u64::MAX);
        // One that was held up says little of the next.
        let nearby = fitting.clamp(self.rows / 4, self.rows.saturating_mul(4));
        self.rows = nearby.clamp(SLICE_ROWS_MIN, SLICE_ROWS_MAX);
    }

    fn go_on(&mut self, now: Instant, held_back: bool) {
        let lived = self.pair_ends().is_none_or(|end| end <= now);
        if self.tally.done {
            self.commands.push_back(VerifyCommand::Release);
            self.tally.found.whole = !self.tally.gap;
            self.tally.found.file = self.tally.found.file.filter(|_| !self.tally.replaced);
            self.tally.found.repair_follows = self.may_repair && self.tally.is_repairable();
            self.state = State::Recording;
            self.commands
                .push_back(VerifyCommand::Record(Box::new(self.tally.found.clone())));
        } else if lived || held_back {
            self.commands.push_back(VerifyCommand::Release);
            self.state = State::Due;
        } else {
            self.compare(now);
        }
    }
}

impl Verification {
    /// A repair is tried once: what differs after it is being written to by somebody else.
    fn recorded(&mut self) {
        if !self.tally.found.repair_follows {
            self.state = State::Ended;
            return;
        }
        self.may_repair = false;
        self.suspects = std::mem::take(&mut self.tally.suspects);
        self.begin();
    }
}

impl Tally {
    fn drilled(&mut self, slice: Slice, differences: Vec<Difference>, keys: Vec<TargetKey>, more: bool) {
        self.found.differences.extend(differences);
        self.found.differences.truncate(DIFFERENCES_MAX);
        self.found.more |= more;
        self.suspects.push(Suspects { slice, keys });
    }

    /// Something differs, and every row that does is named by its key.
    fn is_repairable(&self) -> bool {
        let suspects: usize = self.suspects.iter().map(|found| found.keys.len()).sum();
        let named = suspects == self.found.differences.len() && !self.found.more;
        self.found.whole && self.found.slices_different > 0 && named
    }

    fn take(&mut self, compared: &Compared) {
        self.gap |= compared.slice.lower != self.next;
        self.next.clone_from(&compared.slice.upper);
        self.done = self.next.is_none();
        self.found.slices += 1;
        self.found.rows += compared.source.rows;
        self.found.slices_different += u32::from(!compared.is_equal());
    }
}

#[cfg(test)]
mod tests;
