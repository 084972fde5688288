//! The copier against a real server.

#![expect(
    clippy::unwrap_used,
    reason = "also in functions that are not tests themselves"
)]

mod ranges;
mod scene;
mod snapshot;
