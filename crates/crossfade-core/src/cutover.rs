//! The last mile: catch up, lock in slices, fence, drain, wait for old snapshots, swap; else give the lock back.
//!
//! ```text
//!  start ─► catching up
//!               ▼
//!           approaching ─► locking ─► fencing ─► draining ─► checking ─► swapping ─► swapped
//!   catching up ▲             │          │          │           │           │  └─► resolving ─► swapped
//!               │ back off ◄──┴──────────┴──────────┴───────────┘           │          └─► (not committed)
//!               └─────────────── unlocking ◄────────────────────────────────┘
//! ```
//!
//! In a rollback, between `checking` and `swapping`: `closing` (the target is locked against everyone, a position behind
//! that is made durable) and `looking` (the detector reads up to it, R31). What it finds ends the cutover without a
//! swap.
//!
//! Invariants: nothing but `swapping` may change what applications see; from `fencing` to `looking` the hold
//! budget runs and its end gives the lock back; after an unknown answer only a query follows (R27–R29).

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::limits::Limits;
use crate::position::Lsn;

/// A session that stands in the way, by backend and virtual transaction, with words for the user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// `pid` and virtual transaction: a session that goes on to its next transaction is another holder.
    pub id: (i32, String),
    /// User, application, state and age, for messages.
    pub description: String,
}

/// Which locks are asked for first. A transaction that inserts a row locks the table and then draws its key; one that
/// draws its keys ahead locks the sequence and then the table. Under many of the one kind only the same order comes
/// through: in the other they wait for us with what we still need. Attempts take turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockOrder {
    /// Tables, then their sequences.
    TablesFirst,
    /// Sequences, then tables.
    SequencesFirst,
}

impl LockOrder {
    /// `attempt` counts from 1.
    fn of(attempt: u32) -> Self {
        if attempt.is_multiple_of(2) {
            LockOrder::SequencesFirst
        } else {
            LockOrder::TablesFirst
        }
    }
}

/// What the shell shall do; each is answered by one [`CutoverEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutoverCommand {
    /// List this database's transactions that hold a snapshot, without our own and those waiting for our lock.
    ListOldSnapshots {
        /// Goes back with the answer: an answer to an earlier question is not taken for one to this.
        round: u32,
    },
    /// Begin the cutover transaction and take its locks, each within what is left of the slice.
    Lock {
        /// The longest that others may queue behind our request.
        slice: Duration,
        /// What comes first.
        order: LockOrder,
    },
    /// In another session, commit the marker durably.
    PlantMarker {
        /// Distinguishes this attempt's marker.
        attempt: u32,
    },
    /// Lock the target against everyone; then, in another session, read the WAL insert position and make it durable.
    Close,
    /// Run the swap, compare the catalogs, write down the transaction id outside, commit.
    Swap {
        /// As recorded.
        attempt: u32,
    },
    /// Ask `pg_xact_status` for the swap's transaction once it is no longer in progress.
    Resolve,
    /// Roll the cutover transaction back.
    Unlock,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutoverEvent {
    /// Transactions that hold a snapshot now.
    OldSnapshots {
        /// As asked.
        round: u32,
        /// Who they are.
        holders: Vec<Holder>,
    },
    /// All locks are held and the source's definition is the planned one.
    Locked,
    /// All locks were held and given back: the source's file is not the one that was copied or compared last. It may
    /// have been rewritten, which no stream tells (R4).
    Rewritten,
    /// The slice passed; everything was released.
    LockTimedOut {
        /// Who held what we asked for.
        blockers: Vec<Holder>,
    },
    /// The marker is committed and flushed.
    MarkerPlanted,
    /// Whatever was written to the target was committed before this position.
    Closed {
        /// Of the WAL.
        position: Lsn,
    },
    /// The swap is committed.
    Swapped,
    /// The swap is known not to have been committed; everything was released.
    SwapRolledBack {
        /// Why.
        reason: String,
    },
    /// The answer to COMMIT was lost.
    SwapUnknown,
    /// Everything was released.
    Unlocked,
}

/// What to do about transactions that took their snapshot before the last apply (R28, step 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldSnapshots {
    /// Wait for them within the hold budget, else give the lock back.
    Wait,
    /// Go on: such a transaction that touches the table for the first time after the swap reads too few rows.
    Accept,
}

/// How a cutover ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new table is in place.
    Swapped,
    /// Not achieved within [`Limits::cutover_max_ms`]; nothing has changed.
    GaveUp {
        /// The last obstacle, in words.
        obstacle: String,
        /// Attempts made.
        attempts: u32,
    },
    /// The tables may not be equal, and are to be compared first; nothing has changed.
    Withdrawn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// Waiting for the feed: a backlog under the lock would only use up the hold budget.
    CatchingUp,
    /// Waiting for the transactions that were there at the start of the attempt, without a lock.
    Approaching,
    Locking,
    Fencing,
    Draining,
    /// Waiting, under the lock, for transactions with snapshots older than the last apply.
    Checking,
    /// Locking the target against everyone.
    Closing,
    /// Waiting until the detector has read that far.
    Looking(Lsn),
    Swapping,
    Resolving,
    Unlocking,
    BackingOff,
    Ended,
}

/// See the module.
#[derive(Debug)]
pub struct Cutover {
    limits: Limits,
    policy: OldSnapshots,
    /// The swap waits for the detector.
    detector: bool,
    /// There is to be no swap.
    withdrawn: bool,
    state: State,
    attempt: u32,
    commands: VecDeque<CutoverCommand>,
    /// All attempts together.
    give_up_at: Option<Instant>,
    /// The hold budget, or the end of a pause between attempts.
    deadline: Option<Instant>,
    /// When to list snapshots again.
    look_again_at: Option<Instant>,
    /// The number of the newest list asked for.
    round: u32,
    /// Transactions still waited for; `None` until the first list of this round.
    waiting_for: Option<BTreeMap<(i32, String), String>>,
    obstacle: String,
    outcome: Option<Outcome>,
}

/// Between two looks at the old snapshots.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// What part of the cutover's time one approach may wait for old transactions before it tries all the same.
const APPROACH_SHARE: u32 = 4;

impl Cutover {
    /// A cutover that has not been started.
    pub fn new(limits: Limits, policy: OldSnapshots) -> Self {
        Cutover {
            limits,
            policy,
            detector: false,
            withdrawn: false,
            state: State::Idle,
            attempt: 0,
            commands: VecDeque::new(),
            give_up_at: None,
            deadline: None,
            look_again_at: None,
            round: 0,
            waiting_for: None,
            obstacle: String::new(),
            outcome: None,
        }
    }

    /// A cutover whose swap waits until a detector has read everything that was written to the target.
    pub fn with_detector(self) -> Self {
        Cutover {
            detector: true,
            ..self
        }
    }

    /// Begins, or begins again after it had given up.
    pub fn start(&mut self, now: Instant) {
        self.withdrawn = false;
        self.give_up_at = Some(now + self.limits.cutover_max());
        self.outcome = None;
        self.catch_up();
    }

    /// What this attempt waits for, or what the last one met, in words.
    pub fn waits_for(&self) -> Option<&str> {
        let waits = match self.state {
            State::Approaching | State::Checking => {
                self.waiting_for.as_ref().is_some_and(|left| !left.is_empty())
            }
            State::BackingOff => true,
            _at_work => false,
        };
        (waits && !self.obstacle.is_empty()).then_some(self.obstacle.as_str())
    }

    /// An attempt waits for the feed to catch up, and for [`Cutover::caught_up`].
    pub fn is_catching_up(&self) -> bool {
        self.state == State::CatchingUp
    }

    /// What the feed has left fits the hold budget.
    pub fn caught_up(&mut self, now: Instant) {
        if self.state == State::CatchingUp {
            self.approach(now);
        }
    }

    /// How it ended, once it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The lock has been asked for and there is no answer yet.
    pub fn is_locking(&self) -> bool {
        self.state == State::Locking
    }

    /// The lock is still to be asked for, because a fetch holds one that it would have to wait for, and the cutover's time
    /// has passed: it is not asked for any more. Whether that is so.
    pub fn give_up_waiting(&mut self, now: Instant) -> bool {
        let late = self.state == State::Locking && self.give_up_at.is_some_and(|end| end <= now);
        if late {
            self.obstacle = "changes that have to be read from the table come too late".to_owned();
            self.give_up();
        }
        late
    }

    /// The lock is being given back.
    pub fn is_unlocking(&self) -> bool {
        self.state == State::Unlocking
    }

    /// The lock is held, or may be.
    pub fn is_locked(&self) -> bool {
        use State::{Checking, Closing, Draining, Fencing, Looking, Resolving, Swapping, Unlocking};
        matches!(
            self.state,
            Fencing | Draining | Checking | Closing | Looking(_) | Swapping | Resolving | Unlocking
        )
    }

    /// The feed is to run up to this attempt's marker as fast as it can.
    pub fn is_draining(&self) -> bool {
        matches!(self.state, State::Fencing | State::Draining)
    }

    /// The detector is to read up to this position; then [`Cutover::nothing_unseen`] or [`Cutover::withdraw`].
    pub fn awaits_detector(&self) -> Option<Lsn> {
        match self.state {
            State::Looking(position) => Some(position),
            _elsewhere => None,
        }
    }

    /// Nobody else has written to the target.
    pub fn nothing_unseen(&mut self) {
        if let State::Looking(_) = self.state {
            self.swap();
        }
    }

    /// Somebody else has: the lock is given back, and there is no swap.
    pub fn withdraw(&mut self) {
        if let State::Looking(_) = self.state {
            self.withdrawn = true;
            self.state = State::Unlocking;
            self.commands.push_back(CutoverCommand::Unlock);
        }
    }

    /// Waiting for the answer to the swap: not to be interrupted.
    pub fn is_swapping(&self) -> bool {
        matches!(self.state, State::Swapping | State::Resolving)
    }

    /// What to do next.
    pub fn poll_command(&mut self) -> Option<CutoverCommand> {
        self.commands.pop_front()
    }

    /// When [`Cutover::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Approaching | State::Checking => {
                [self.look_again_at, self.deadline].into_iter().flatten().min()
            }
            State::Fencing | State::Draining | State::Looking(_) | State::BackingOff => self.deadline,
            State::CatchingUp | State::Locking => self.give_up_at,
            State::Idle
            // Bounded by the server.
            | State::Closing
            | State::Swapping
            | State::Resolving
            | State::Unlocking
            | State::Ended => None,
        }
    }

    /// The feed has applied everything up to this attempt's marker, and it is at a batch's end.
    pub fn drained(&mut self) {
        if self.state == State::Draining {
            match self.policy {
                OldSnapshots::Accept => self.close(),
                OldSnapshots::Wait => self.wait_for_snapshots(State::Checking),
            }
        }
    }

    /// Takes what happened.
    pub fn handle_event(&mut self, now: Instant, event: CutoverEvent) {
        match (self.state, event) {
            (State::Approaching | State::Checking, CutoverEvent::OldSnapshots { round, holders }) => {
                if round == self.round {
                    self.saw(now, &holders);
                }
            }
            // An answer that was on its way when the state changed.
            (_, CutoverEvent::OldSnapshots { .. }) => {}
            (State::Locking, CutoverEvent::Locked) => {
                self.deadline = Some(now + self.limits.hold_budget());
                self.state = State::Fencing;
                self.commands.push_back(CutoverCommand::PlantMarker {
                    attempt: self.attempt,
                });
            }
            (State::Locking, CutoverEvent::LockTimedOut { blockers }) => {
                self.obstacle = format!(
                    "no lock within {:?}{}",
                    self.limits.lock_timeout(),
                    names(&blockers)
                );
                self.back_off(now);
            }
            (State::Locking, CutoverEvent::Rewritten) => self.end(Outcome::Withdrawn),
            (State::Fencing, CutoverEvent::MarkerPlanted) => self.state = State::Draining,
            (State::Closing, CutoverEvent::Closed { position }) => self.state = State::Looking(position),
            (State::Swapping | State::Resolving, CutoverEvent::Swapped) => self.end(Outcome::Swapped),
            (State::Swapping, CutoverEvent::SwapUnknown) => {
                self.state = State::Resolving;
                self.commands.push_back(CutoverCommand::Resolve);
            }
            (
                State::Closing | State::Swapping | State::Resolving,
                CutoverEvent::SwapRolledBack { reason },
            ) => {
                self.obstacle = reason;
                self.back_off(now);
            }
            (State::Unlocking, CutoverEvent::Unlocked) if self.withdrawn => self.end(Outcome::Withdrawn),
            (State::Unlocking, CutoverEvent::Unlocked) => self.back_off(now),
            // It was on its way when the budget ran out; the next attempt has another marker.
            (_, CutoverEvent::MarkerPlanted) => {}
            (state, event) => unreachable!("{event:?} in {state:?}: the shell answers commands only"),
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let past = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        match self.state {
            State::BackingOff if past(self.give_up_at) => self.give_up(),
            State::BackingOff if past(self.deadline) => self.catch_up(),
            State::CatchingUp if past(self.give_up_at) => {
                // An attempt before has met something better to tell.
                if self.obstacle.is_empty() {
                    self.obstacle = "the backlog does not get small enough".to_owned();
                }
                self.give_up();
            }
            State::Approaching if past(self.deadline) => self.lock(now),
            State::Fencing | State::Draining | State::Checking | State::Looking(_) if past(self.deadline) => {
                self.unlock();
            }
            State::Approaching | State::Checking if past(self.look_again_at) => {
                self.list_snapshots();
            }
            State::Idle
            | State::CatchingUp
            | State::Approaching
            | State::Locking
            | State::Fencing
            | State::Draining
            | State::Checking
            | State::Closing
            | State::Looking(_)
            | State::Swapping
            | State::Resolving
            | State::Unlocking
            | State::BackingOff
            | State::Ended => {}
        }
    }

    fn catch_up(&mut self) {
        self.state = State::CatchingUp;
        self.deadline = None;
    }

    fn approach(&mut self, now: Instant) {
        self.attempt += 1;
        self.deadline = Some(now + self.limits.cutover_max() / APPROACH_SHARE);
        match self.policy {
            OldSnapshots::Accept => self.lock(now),
            OldSnapshots::Wait => self.wait_for_snapshots(State::Approaching),
        }
    }

    fn wait_for_snapshots(&mut self, state: State) {
        self.state = state;
        self.waiting_for = None;
        self.list_snapshots();
    }

    fn list_snapshots(&mut self) {
        self.round += 1;
        self.look_again_at = None;
        self.commands
            .push_back(CutoverCommand::ListOldSnapshots { round: self.round });
    }

    /// Only those of the first list are waited for: who comes later sees what is applied.
    fn saw(&mut self, now: Instant, holders: &[Holder]) {
        let current: BTreeMap<_, _> = holders
            .iter()
            .map(|holder| (holder.id.clone(), holder.description.clone()))
            .collect();
        match &mut self.waiting_for {
            None => self.waiting_for = Some(current),
            Some(waiting) => waiting.retain(|id, _| current.contains_key(id)),
        }
        let waiting = self.waiting_for.iter().flatten();
        let left: Vec<Holder> = waiting
            .map(|(id, description)| Holder {
                id: id.clone(),
                description: description.clone(),
            })
            .collect();
        if left.is_empty() {
            match self.state {
                State::Checking => self.close(),
                _other => self.lock(now),
            }
        } else {
            self.obstacle = format!("transactions with older snapshots go on{}", names(&left));
            self.look_again_at = Some(now + LOOK_INTERVAL);
        }
    }

    fn lock(&mut self, now: Instant) {
        let left = self
            .give_up_at
            .map_or(Duration::ZERO, |end| end.saturating_duration_since(now));
        if left.is_zero() {
            return self.give_up();
        }
        self.state = State::Locking;
        self.commands.push_back(CutoverCommand::Lock {
            slice: self.limits.lock_timeout().min(left),
            order: LockOrder::of(self.attempt),
        });
    }

    fn close(&mut self) {
        if !self.detector {
            return self.swap();
        }
        self.state = State::Closing;
        self.commands.push_back(CutoverCommand::Close);
    }

    fn swap(&mut self) {
        self.state = State::Swapping;
        self.commands.push_back(CutoverCommand::Swap {
            attempt: self.attempt,
        });
    }

    fn unlock(&mut self) {
        let budget = self.limits.hold_budget();
        match self.state {
            State::Checking => {}
            State::Looking(_) => {
                self.obstacle = format!("the detector did not read as far as the lock within {budget:?}");
            }
            _drain => self.obstacle = format!("the drain took longer than {budget:?}"),
        }
        self.state = State::Unlocking;
        self.commands.push_back(CutoverCommand::Unlock);
    }

    /// Doubles the pause up to 16 slices; the jitter keeps two engines from meeting again and again.
    fn back_off(&mut self, now: Instant) {
        if self.give_up_at.is_none_or(|end| now >= end) {
            return self.give_up();
        }
        let doubled = self.limits.lock_timeout() * (1 << self.attempt.min(4));
        let jitter = doubled * (self.attempt.wrapping_mul(37) % 50) / 100;
        self.state = State::BackingOff;
        self.deadline = Some(now + doubled + jitter);
    }

    fn give_up(&mut self) {
        let obstacle = std::mem::take(&mut self.obstacle);
        self.end(Outcome::GaveUp {
            obstacle,
            attempts: self.attempt,
        });
    }

    fn end(&mut self, outcome: Outcome) {
        self.state = State::Ended;
        self.deadline = None;
        self.outcome = Some(outcome);
    }
}

fn names(holders: &[Holder]) -> String {
    let shown: Vec<&str> = holders
        .iter()
        .take(5)
        .map(|holder| holder.description.as_str())
        .collect();
    match holders.len().saturating_sub(shown.len()) {
        0 if shown.is_empty() => String::new(),
        0 => format!(": {}", shown.join("; ")),
        more => format!(": {}; and {more} more", shown.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(pid: i32, transaction: &str) -> Holder {
        Holder {
            id: (pid, transaction.into()),
            description: format!("pid {pid}"),
        }
    }

    fn started(policy: OldSnapshots) -> (Cutover, Instant) {
        let now = std::hint::black_box(epoch());
        let mut cutover = Cutover::new(Limits::default(), policy);
        cutover.start(now);
        assert!(cutover.is_catching_up());
        cutover.caught_up(now);
        (cutover, now)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn until_locked(cutover: &mut Cutover, now: Instant) {
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::ListOldSnapshots { .. })
        ));
        let round = cutover.round;
        cutover.handle_event(
            now,
            CutoverEvent::OldSnapshots {
                round,
                holders: vec![],
            },
        );
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::Lock { .. })
        ));
        cutover.handle_event(now, CutoverEvent::Locked);
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::PlantMarker { .. })
        ));
    }

    #[test]
    fn swaps_only_after_drain_and_old_snapshots() {
        let (mut cutover, now) = started(OldSnapshots::Wait);
        until_locked(&mut cutover, now);
        cutover.drained();
        assert_eq!(cutover.poll_command(), None, "the marker is not planted yet");
        cutover.handle_event(now, CutoverEvent::MarkerPlanted);
        cutover.drained();
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::ListOldSnapshots { .. })
        ));
        let holders = vec![holder(1, "3/4"), holder(2, "4/4")];
        cutover.handle_event(
            now,
            CutoverEvent::OldSnapshots {
                round: 1,
                holders: vec![],
            },
        );
        assert_eq!(cutover.poll_command(), None, "the answer to an earlier question");
        assert_eq!(cutover.waits_for(), None);
        cutover.handle_event(now, CutoverEvent::OldSnapshots { round: 2, holders });
        let waits_for = cutover.waits_for().unwrap_or_default();
        assert!(waits_for.contains("older snapshots go on"), "{waits_for}");
        cutover.handle_timeout(now + LOOK_INTERVAL);
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::ListOldSnapshots { .. })
        ));
        // The first session is in another transaction, the second is gone, a third is new: nobody is waited for.
        let holders = vec![holder(1, "3/5"), holder(3, "5/1")];
        cutover.handle_event(now, CutoverEvent::OldSnapshots { round: 3, holders });
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Swap { attempt: 1 }));
        cutover.handle_event(now, CutoverEvent::Swapped);
        assert_eq!(cutover.outcome(), Some(&Outcome::Swapped));
    }

    /// A rollback whose target is locked against everyone: the detector is to read up to 100.
    fn closed() -> (Cutover, Instant) {
        let (cutover, now) = started(OldSnapshots::Accept);
        let mut cutover = cutover.with_detector();
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::Lock { .. })
        ));
        cutover.handle_event(now, CutoverEvent::Locked);
        cutover.poll_command();
        cutover.handle_event(now, CutoverEvent::MarkerPlanted);
        cutover.drained();
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Close));
        assert_eq!(cutover.awaits_detector(), None);
        let position = Lsn(100);
        cutover.handle_event(now, CutoverEvent::Closed { position });
        assert_eq!(cutover.awaits_detector(), Some(position));
        assert_eq!(cutover.poll_command(), None);
        (cutover, now)
    }

    #[test]
    fn a_rollback_swaps_only_when_the_detector_has_read_up_to_the_lock() {
        let (mut cutover, _) = closed();
        cutover.nothing_unseen();
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::Swap { .. })
        ));
    }

    #[test]
    fn a_stray_ends_the_cutover_without_a_swap_and_it_can_begin_again() {
        let (mut cutover, now) = closed();
        cutover.withdraw();
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Unlock));
        cutover.handle_event(now, CutoverEvent::Unlocked);
        assert_eq!(cutover.outcome(), Some(&Outcome::Withdrawn));
        cutover.start(now);
        assert!(cutover.is_catching_up() && cutover.outcome().is_none());
    }

    #[test]
    fn a_detector_that_does_not_arrive_gives_the_lock_back() {
        let (mut cutover, now) = closed();
        cutover.handle_timeout(now + Limits::default().hold_budget());
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Unlock));
        cutover.handle_event(now, CutoverEvent::Unlocked);
        assert_eq!(cutover.outcome(), None);
        assert!(cutover.obstacle.contains("detector"));
    }

    #[test]
    fn the_budget_gives_the_lock_back_and_tries_again() {
        let (mut cutover, now) = started(OldSnapshots::Wait);
        until_locked(&mut cutover, now);
        cutover.handle_event(now, CutoverEvent::MarkerPlanted);
        let late = now + Limits::default().hold_budget();
        cutover.handle_timeout(late);
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Unlock));
        cutover.drained();
        assert_eq!(
            cutover.poll_command(),
            None,
            "too late: the lock is being given back"
        );
        cutover.handle_event(late, CutoverEvent::Unlocked);
        cutover.handle_timeout(cutover.poll_timeout().unwrap());
        assert!(cutover.is_catching_up(), "what came meanwhile goes first");
        cutover.caught_up(late);
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::ListOldSnapshots { .. })
        ));
        assert_eq!(cutover.attempt(), 2);
    }

    #[test]
    fn after_a_lost_answer_only_a_query_follows() {
        let (mut cutover, now) = started(OldSnapshots::Accept);
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::Lock { .. })
        ));
        cutover.handle_event(now, CutoverEvent::Locked);
        cutover.poll_command();
        cutover.handle_event(now, CutoverEvent::MarkerPlanted);
        cutover.drained();
        assert!(matches!(
            cutover.poll_command(),
            Some(CutoverCommand::Swap { .. })
        ));
        cutover.handle_event(now, CutoverEvent::SwapUnknown);
        assert_eq!(cutover.poll_command(), Some(CutoverCommand::Resolve));
        assert_eq!(cutover.poll_command(), None);
        cutover.handle_event(now, CutoverEvent::Swapped);
        assert_eq!(cutover.outcome(), Some(&Outcome::Swapped));
    }

    #[test]
    fn gives_up_with_the_obstacle_by_name() {
        let (mut cutover, now) = started(OldSnapshots::Accept);
        cutover.poll_command();
        let end = now + Limits::default().cutover_max();
        cutover.handle_event(
            end,
            CutoverEvent::LockTimedOut {
                blockers: vec![holder(7, "1/1")],
            },
        );
        let Some(Outcome::GaveUp {
            obstacle,
            attempts: 1,
        }) = cutover.outcome()
        else {
            panic!("{cutover:?}")
        };
        assert!(obstacle.contains("pid 7"), "{obstacle}");
    }
}
