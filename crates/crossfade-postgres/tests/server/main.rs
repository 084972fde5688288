//! Sessions, locks, slots and WAL positions against a real server.

#![expect(
    clippy::unwrap_used,
    reason = "also in functions that are not tests themselves"
)]

mod lock;
mod scene;
mod session;
mod slot;
