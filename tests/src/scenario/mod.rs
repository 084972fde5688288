//! Scenarios that `cargo test` runs small and `cargo scenario` runs large.

pub mod held;
pub mod memory;
pub mod pgbench;
