//! What is not carried over, refused by name.

use crossfade_core::refusal::{Notice, Refusal};

use crate::catalog::definition::Definition;

/// Every attachment that this release does not carry over, and every role that it would have to be.
/// `own_publications` are those of the migration itself.
pub fn refuse(_definition: &Definition, _own_publications: &[&str]) -> Vec<Refusal> {
    Vec::new()
}

/// What the user should know of what is attached: invalid indexes, event triggers.
pub fn notices(_definition: &Definition) -> Vec<Notice> {
    Vec::new()
}
