//! The durable phases of a migration.

use serde::{Deserialize, Serialize};

/// How far a migration has come. Persisted in `crossfade.migration.phase`; pause is a flag beside it.
///
/// ```text
/// planned ─► prepared ─► copying ─► copied ─► following ─► ready ─► swapped ─┬─────────────► completed
///    └──────────┴───────────┴─────────┴──────────┴──────────┴─► aborted      └─► rolled back ─┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The plan is stored; nothing of the user's has been touched. Set with the state row itself.
    Planned,
    /// Publication, schema and empty shadow are there. Set by the coordinator after the last of them.
    Prepared,
    /// The slot exists and copiers are at work. Set before the slot is created; an engine that finds this
    /// phase at its start empties the target, drops the slot and begins the copy again (R11).
    Copying,
    /// Every row of the snapshot is in the target. Set in the transaction of the ledger row.
    Copied,
    /// All indexes are built; the target follows the source. Set by the coordinator.
    Following,
    /// Consistent and analyzed: a cutover may be asked for. Set by the coordinator.
    Ready,
    /// The new table is in place, and the retired one may follow it. Set inside the swap transaction.
    Swapped,
    /// The old table is in its place again, with every write made since. Set inside the transaction that swaps back.
    RolledBack,
    /// Everything that was left for after the swap is done, slot and publication are gone. Set by the coordinator.
    Completed,
    /// Given up before the swap; nothing but the audit trail is left. Set by `abort`.
    Aborted,
}

impl Phase {
    /// The word that users see and the state schema stores.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Planned => "planned",
            Phase::Prepared => "prepared",
            Phase::Copying => "copying",
            Phase::Copied => "copied",
            Phase::Following => "following",
            Phase::Ready => "ready",
            Phase::Swapped => "swapped",
            Phase::RolledBack => "rolled_back",
            Phase::Completed => "completed",
            Phase::Aborted => "aborted",
        }
    }

    /// All phases, in order.
    pub const ALL: [Phase; 10] = [
        Phase::Planned,
        Phase::Prepared,
        Phase::Copying,
        Phase::Copied,
        Phase::Following,
        Phase::Ready,
        Phase::Swapped,
        Phase::RolledBack,
        Phase::Completed,
        Phase::Aborted,
    ];

    /// The phase of that word.
    pub fn from_word(word: &str) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == word)
    }

    /// Its name and its table are free for another migration.
    pub fn is_final(self) -> bool {
        matches!(self, Phase::RolledBack | Phase::Completed | Phase::Aborted)
    }
}
