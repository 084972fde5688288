//! Scenarios against a real PostgreSQL, in one binary: all tests share one server, each has a database of its own.
//!
//! - `scenario`: changes under load, from `run` to the rows compared.
//! - `crash`: `kill -9`, signals, lost answers; then `abort` or `continue`.
//! - `plan`: what `plan` prints is what the server executes.
//! - `cli`: what operators do from other processes.
//! - `incremental`: the copy in chunks.
//! - `moves`: a whole database to another server, and back.
//! - `pace`: each input of the gate for pace, with a real standby.
//! - `verify`: equal tables while writers write, and differences planted by hand.
//! - `differential`: the simulator's world against PostgreSQL.
//! - `splits`: the examples of `docs/examples`, under writers.
//! - `tables`: tables out of the ordinary, in both ways to copy.
//! - `docs`: every test and planted bug that the documents name exists.
//! - `doors`: who is let in how, and what whoever is not is told.
//! - `failures`: what goes wrong on the side of the server or of the applications.

#![expect(clippy::print_stdout, reason = "tests print what they measured")]
#![expect(
    clippy::unwrap_used,
    reason = "a step of a scenario that fails says where by itself"
)]

mod back;
mod cli;
mod crash;
mod differential;
mod docs;
mod doors;
mod failures;
mod incremental;
mod moves;
mod pace;
mod plan;
mod scenario;
mod soak;
mod splits;
mod tables;
mod verify;
