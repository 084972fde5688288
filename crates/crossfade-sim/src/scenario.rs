//! What a seed decides before the first step: the table, the writers, the limits, the faults.

use crossfade_core::feed::FeedLimits;
use crossfade_core::limits::Limits;

use crate::dice::Dice;
use crate::pace::LAG_MAX;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Key numbers run from 0 to below this; the next one is the writers' temporary key.
    pub(crate) keys: u8,
    /// Equal keys may differ in bytes, so that only the server can compare them.
    pub(crate) server_equality: bool,
    /// In chunks, while changes are applied.
    pub(crate) incremental: bool,
    /// A target column's expression reads the TOASTed column and another one.
    pub(crate) mixed: bool,
    /// `code` is unique on the source, and by an index on the target.
    pub(crate) unique: bool,
    pub(crate) truncates: bool,
    /// Where nobody is in the way, one of so many transactions begins with a truncate.
    pub(crate) truncate_interval: u64,
    /// In how many of a hundred steps applications do anything: with few the feed keeps up and the cutover comes
    /// while faults still happen, with many there is a backlog.
    pub(crate) load: u32,
    /// Rows mostly move from key to key.
    pub(crate) restless: bool,
    /// Transactions of many changes.
    pub(crate) bulk: bool,
    /// Commits stay invisible for long after they are decoded.
    pub(crate) slow_visibility: bool,
    /// The copy reads a snapshot later than the slot's consistent point.
    pub(crate) late_snapshot: bool,
    /// Transactions on other tables come as empty ones (before PostgreSQL 15) instead of not at all.
    pub(crate) empty_transactions: bool,
    /// Other applications use up transaction ids by the hundreds of millions.
    pub(crate) burns_xids: bool,
    pub(crate) first_xid: u64,
    pub(crate) accepts_old_snapshots: bool,
    pub(crate) cutover_when_ready: bool,
    pub(crate) verifies: bool,
    /// While it is ready, somebody asks for a verification once in so many steps.
    pub(crate) verify_asked_interval: u64,
    pub(crate) copiers: usize,
    pub(crate) feed: FeedLimits,
    pub(crate) limits: Limits,
    /// Steps with faults; after them everything must come to its end.
    pub(crate) stormy_steps: u64,
    /// The same, after the swap.
    pub(crate) stormy_steps_back: u64,
    /// One fault in so many steps; 0: none but those of the world itself.
    pub(crate) fault_interval: u64,
    /// The plan has a way back.
    pub(crate) way_back: bool,
    /// Writers write values that the retired table does not take.
    pub(crate) misfits: bool,
    /// What operators want after the swap.
    pub(crate) ending: Ending,
    /// Transactions of applications before they ask for it.
    pub(crate) asked_after: u64,
    /// The rollback was asked for from the beginning.
    pub(crate) rolls_back_unasked: bool,
    /// The slot of the way back is said to retain too much once in so many steps; 0: never.
    pub(crate) back_budget_interval: u64,
    /// There is a fault at this step, if there was none before.
    pub(crate) sure_fault_at: u64,
    /// An operator gives up at this step.
    pub(crate) abort_at: Option<u64>,
    /// The slot is said to retain too much at this step.
    pub(crate) wal_budget_at: Option<u64>,
}

/// How operators end a migration whose swap is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With the old table.
    RollBack,
    /// With the new one.
    Complete,
}

/// More than the limit that scenarios with a WAL budget set.
pub(crate) const TOO_MUCH_WAL: u64 = 2_000_000;

impl Scenario {
    pub(crate) fn roll(dice: &mut Dice) -> Self {
        let incremental = dice.chance(50);
        let misfits = dice.chance(30);
        // With few keys the same rows are hit again and again, and many make many chunks.
        let keys = match incremental {
            true => 22 + dice.below(6) as u8,
            false if dice.chance(50) => 3,
            false => 6 + dice.below(8) as u8,
        };
        let fault_interval = [0, 25, 60, 150][dice.index(4)];
        Scenario {
            keys,
            server_equality: dice.chance(35),
            incremental,
            mixed: dice.chance(35),
            unique: dice.chance(60),
            truncates: dice.chance(40),
            truncate_interval: [3, 12][dice.index(2)],
            load: [10, 20, 30, 100][dice.index(4)],
            restless: dice.chance(25),
            bulk: dice.chance(40),
            slow_visibility: dice.chance(40),
            late_snapshot: dice.chance(50),
            empty_transactions: dice.chance(25),
            burns_xids: dice.chance(20),
            first_xid: first_xid(dice),
            accepts_old_snapshots: dice.chance(20),
            cutover_when_ready: dice.chance(60),
            verifies: dice.chance(60),
            verify_asked_interval: [15, 1_000][dice.index(2)],
            copiers: 1 + dice.index(3),
            feed: feed_limits(dice, misfits),
            limits: limits(dice),
            stormy_steps: 100 + dice.below(1_400),
            stormy_steps_back: 300 + dice.below(1_500),
            fault_interval,
            way_back: dice.chance(85),
            misfits,
            ending: if dice.chance(75) {
                Ending::RollBack
            } else {
                Ending::Complete
            },
            asked_after: 120 + dice.below(120),
            rolls_back_unasked: dice.chance(15),
            back_budget_interval: if dice.once_in(25) { 60 } else { 0 },
            sure_fault_at: dice.below(150),
            abort_at: dice.once_in(30).then(|| dice.below(600)),
            wal_budget_at: dice.once_in(40).then(|| dice.below(600)),
        }
    }
}

/// Mostly shortly before the 32-bit ids begin again.
fn first_xid(dice: &mut Dice) -> u64 {
    let epoch = 1 + dice.below(3);
    let before_wrap = if dice.chance(70) { dice.below(80) } else { 1 << 30 };
    ((epoch + 1) << 32) - before_wrap - 20
}

/// A row that is refused is opened again where what mends it fits into one piece with it.
fn feed_limits(dice: &mut Dice, misfits: bool) -> FeedLimits {
    let usual = FeedLimits::default();
    if misfits && dice.chance(50) {
        return usual;
    }
    let piece_changes_max = [1, 2, 3, 5, usual.piece_changes_max][dice.index(5)];
    // A queue must hold more than a piece, or a transaction larger than it would wait for ever.
    let narrow = piece_changes_max < usual.piece_changes_max && dice.chance(50);
    FeedLimits {
        piece_changes_max,
        queue_bytes_max: if narrow { 6_000 } else { usual.queue_bytes_max },
        ..usual
    }
}

fn limits(dice: &mut Dice) -> Limits {
    Limits {
        execution_max_ms: dice.once_in(20).then(|| 400 + dice.below(2_000)),
        lock_timeout_ms: 30 + dice.below(100),
        hold_budget_ms: 60 + dice.below(300),
        cutover_max_ms: if dice.chance(25) { 400 } else { 20_000 },
        chunk_delay_ms: if dice.chance(20) { 30 } else { 0 },
        chunk_time_max_ms: 10 + dice.below(100),
        verify_time_ms: 20 + dice.below(300),
        replica_lag_bytes_max: dice.chance(30).then_some(LAG_MAX),
        proof_wait_ms: 5 + dice.below(60),
        retained_wal_max_bytes: Some(TOO_MUCH_WAL / 2),
        ..Limits::default()
    }
}
