//! Refusals: what stands in the way, found before anything is touched.

use serde::{Deserialize, Serialize};

use crate::code::{NoticeCode, RefusalCode};

/// One reason why a change will not be run. Preflight returns all of them at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable word, such as `no_usable_key`; listed in `docs/errors.md`.
    pub code: RefusalCode,
    /// The object it is about, such as `public.orders` or `trigger audit on public.orders`.
    pub object: String,
    /// What is wrong, as a sentence.
    pub message: String,
    /// What to do about it, as a sentence.
    pub remedy: String,
}

/// Something the user should know that does not stand in the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// A stable word, such as `sequence_stays_integer`; listed there too.
    pub code: NoticeCode,
    /// The object it is about.
    pub object: String,
    /// What to know, as a sentence.
    pub message: String,
    /// A statement that the user may add to the change, if there is one.
    pub offer: Option<String>,
}
