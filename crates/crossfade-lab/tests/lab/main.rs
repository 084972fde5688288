//! The lab itself under test, against real servers: what judges the engine has to be right first.

#![expect(clippy::print_stdout, reason = "tests say which server they ran on")]
#![expect(
    clippy::unwrap_used,
    reason = "also in functions that are not tests themselves"
)]

mod compare;
mod estate;
mod estate_copies;
mod pgbench;
mod server;
mod writers;
