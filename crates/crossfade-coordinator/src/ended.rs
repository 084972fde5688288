//! How a run ended, each way with what to do next.

use crossfade_core::code::FailureCode;
use crossfade_core::refusal::Refusal;

use crate::report::{Report, Verification};

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// The new table is in place. (exit 0)
    Done(Box<Report>),
    /// Given up on request; nothing is left but the audit trail. (exit 0)
    Aborted,
    /// Ctrl-C or SIGTERM. (exit 130, resumable)
    Interrupted,
    /// The verification found rows that differ, or did not compare all of them. (exit 21)
    NotEqual {
        /// What was found.
        verification: Box<Verification>,
    },
    /// The cutover was not achieved in its budget. (exit 22, resumable)
    CutoverNotAchieved {
        /// The last obstacle, in words.
        obstacle: String,
        /// Attempts made.
        attempts: u32,
    },
    /// Stopped where it can go on. (exit 20)
    Stopped {
        /// Which case it is.
        code: FailureCode,
        /// Why.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
    /// The change was refused before anything was touched. (exit 10)
    Refused(Vec<Refusal>),
    /// Cannot connect, or not permitted. (exit 11)
    NoAccess {
        /// Which case it is.
        code: FailureCode,
        /// Why.
        reason: String,
    },
    /// An operator must decide. (exit 30)
    NeedsOperator {
        /// Which case it is.
        code: FailureCode,
        /// What was found.
        reason: String,
        /// What to do next, as a sentence.
        remedy: String,
    },
}
