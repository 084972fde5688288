//! Every code of every kind, in the order in which `crossfade explain` and `docs/errors.md` show them.

use crossfade_core::code::{FailureCode, NoticeCode, RefusalCode};
use serde::Serialize;

use crate::exit::Exit;

/// What has such a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Refusal,
    Notice,
    Failure,
}

impl Kind {
    /// All, in order.
    pub(crate) const ALL: [Kind; 3] = [Kind::Refusal, Kind::Notice, Kind::Failure];

    /// One of them.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Refusal => "refusal",
            Kind::Notice => "notice",
            Kind::Failure => "failure",
        }
    }

    /// All of them, as a heading.
    pub(crate) fn heading(self) -> &'static str {
        match self {
            Kind::Refusal => "Refusals",
            Kind::Notice => "Notices",
            Kind::Failure => "Failures",
        }
    }

    /// Its codes, sorted by word.
    pub(crate) fn codes(self) -> Vec<Code> {
        match self {
            Kind::Refusal => {
                let code = |code: &RefusalCode| Code {
                    kind: self,
                    word: code.word(),
                    cause: code.cause(),
                    remedy: code.remedy(),
                    exit: Some(Exit::Refused),
                };
                RefusalCode::ALL.iter().map(code).collect()
            }
            Kind::Notice => {
                let code = |code: &NoticeCode| Code {
                    kind: self,
                    word: code.word(),
                    cause: code.cause(),
                    remedy: code.remedy(),
                    exit: None,
                };
                NoticeCode::ALL.iter().map(code).collect()
            }
            Kind::Failure => {
                let code = |code: &FailureCode| Code {
                    kind: self,
                    word: code.word(),
                    cause: code.cause(),
                    remedy: code.remedy(),
                    exit: Some(code.ending().into()),
                };
                FailureCode::ALL.iter().map(code).collect()
            }
        }
    }
}

/// A code with all that is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    pub(crate) kind: Kind,
    pub(crate) word: &'static str,
    /// What is the case, in general.
    pub(crate) cause: &'static str,
    /// What to do about it, in general.
    pub(crate) remedy: &'static str,
    /// What a run ends with that gives it; it does not end with a notice.
    pub(crate) exit: Option<Exit>,
}

/// All of all kinds.
pub(crate) fn all() -> Vec<Code> {
    Kind::ALL.into_iter().flat_map(Kind::codes).collect()
}
