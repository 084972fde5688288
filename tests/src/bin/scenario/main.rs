//! Scenarios that take longer than `cargo test` should: `cargo scenario -- --help`.
fn main() {}
