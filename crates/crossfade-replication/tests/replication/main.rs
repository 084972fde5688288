//! The reader against real servers.

#![expect(
    clippy::unwrap_used,
    reason = "also in functions that are not tests themselves"
)]

mod changes;
mod flow;
mod login;
mod loss;
mod scene;
mod slots;
