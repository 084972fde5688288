//! Exit codes: each says what happened and whether running again makes sense.
//!
//! Invariant: every way in which a run can end has exactly one code, and the help and `docs/exit-codes.md` are
//! checked against this list.

use std::process::ExitCode;

use crossfade_coordinator::ended::Ended;
use crossfade_core::code::Ending;

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// The command line or a file it names cannot be understood.
    Usage = 2,
    /// The change is refused; nothing was touched.
    Refused = 10,
    /// The server cannot be reached, or the role may not do it.
    NoAccess = 11,
    /// Stopped where it can go on.
    Stopped = 20,
    /// Rows differ.
    VerificationMismatch = 21,
    /// The cutover was not achieved in its budget; it can go on.
    CutoverNotAchieved = 22,
    /// An operator must decide.
    NeedsOperator = 30,
    /// Ctrl-C or SIGTERM; it can go on.
    Interrupted = 130,
}

impl Exit {
    /// All, in the order of their codes.
    pub(crate) const ALL: [Exit; 9] = [
        Exit::Done,
        Exit::Usage,
        Exit::Refused,
        Exit::NoAccess,
        Exit::Stopped,
        Exit::VerificationMismatch,
        Exit::CutoverNotAchieved,
        Exit::NeedsOperator,
        Exit::Interrupted,
    ];

    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The word that `--json` shows.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::NoAccess => "no_access",
            Exit::Stopped => "stopped",
            Exit::VerificationMismatch => "verification_mismatch",
            Exit::CutoverNotAchieved => "cutover_not_achieved",
            Exit::NeedsOperator => "needs_operator",
            Exit::Interrupted => "interrupted",
        }
    }

    /// What happened, in a few words.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Usage => "the command line, or a file it names, cannot be understood",
            Exit::Refused => "the change is refused; nothing was touched",
            Exit::NoAccess => "cannot connect, or not permitted",
            Exit::Stopped => "stopped where it can go on",
            Exit::VerificationMismatch => "rows differ",
            Exit::CutoverNotAchieved => "cutover not achieved in its budget; nothing was swapped",
            Exit::NeedsOperator => "an operator must decide",
            Exit::Interrupted => "interrupted where it can go on",
        }
    }

    /// Whether to run again, and how.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Exit::Done => "nothing to retry",
            Exit::Usage => "do not retry: correct the command",
            Exit::Refused => "do not retry: follow the remedies first",
            Exit::NoAccess => "retry when the server answers and the role may do it",
            Exit::Stopped => "retry: crossfade continue NAME",
            Exit::VerificationMismatch => "do not retry: keep everything and report it",
            Exit::CutoverNotAchieved => "retry: crossfade continue NAME --cutover auto",
            Exit::NeedsOperator => "do not retry: do first what the message says",
            Exit::Interrupted => "retry: crossfade continue NAME",
        }
    }

    /// The list that ends `--help`.
    pub(crate) fn help() -> String {
        let line = |exit: Exit| {
            format!(
                "  {:>3}  {}\n       {}\n",
                exit.code(),
                exit.meaning(),
                exit.advice()
            )
        };
        let lines: String = Exit::ALL.into_iter().map(line).collect();
        format!("Exit codes:\n{lines}")
    }
}

impl From<Ending> for Exit {
    fn from(ending: Ending) -> Exit {
        match ending {
            Ending::NoAccess => Exit::NoAccess,
            Ending::Stopped => Exit::Stopped,
            Ending::NeedsOperator => Exit::NeedsOperator,
        }
    }
}

impl From<&Ended> for Exit {
    fn from(ended: &Ended) -> Exit {
        match ended {
            Ended::Done(_) | Ended::Aborted => Exit::Done,
            Ended::Interrupted => Exit::Interrupted,
            Ended::CutoverNotAchieved { .. } => Exit::CutoverNotAchieved,
            Ended::NotEqual { .. } => Exit::VerificationMismatch,
            Ended::Stopped { .. } => Exit::Stopped,
            Ended::Refused(_) => Exit::Refused,
            Ended::NoAccess { .. } => Exit::NoAccess,
            Ended::NeedsOperator { .. } => Exit::NeedsOperator,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../../docs/exit-codes.md");
        for exit in Exit::ALL {
            let row = format!(
                "| {} | `{}` | {} | {} |",
                exit.code(),
                exit.word(),
                exit.meaning(),
                exit.advice()
            );
            assert!(page.contains(&row), "docs/exit-codes.md lacks: {row}");
        }
    }
}
