//! The applier against a real server.

#![expect(
    clippy::unwrap_used,
    reason = "also in functions that are not tests themselves"
)]

mod batches;
mod derived;
mod keeping;
mod keys;
mod scene;
mod swaps;
mod values;
