//! A seeded world that drives the core's real machines, and its checkers.
//!
//! ```text
//!            ┌───────────── Simulation ─────────────┐
//!  World ────┤ Stream ─► StreamItem ─►              ├─► Migration (the coordinator's own type)
//!  (source)  │ shell  ◄─ Command    ◄─              │
//!            │   └─► Store (target, durable state)  │
//!            └── faults, checkers, coverage ────────┘
//! ```
//!
//! One seed is one run: the scenario, every interleaving and every fault come from it, and a failure is the
//! seed and one line. What is stepped is [`crossfade_core::migration::Migration`], the type that the
//! coordinator runs; what is modelled here is the server with its applications and the shell around the
//! machine. Everything that a dead engine leaves is in the store; a new machine is made from nothing else.
//!
//! A seed goes all the way: copy, cutover, the way back, and a rollback or its end by an operator; writers go on in all
//! of it, and afterwards. It has at least 200 transactions of theirs, 8 chunks or ranges and one fault; some are given
//! up on the way. Engines die by `kill -9`, servers crash and lose what was not flushed, answers get lost with their work
//! done or not, connections are slow, dead or broken, and everything stands still for a while: in both directions.
//!
//! Checked, in both directions: after every batch the target is, row by row, what comes of the source as of the applied
//! LSN, and in the column that only the target has, what a row has kept since it came; the same under every pair of
//! snapshots, and at the swap, as of everything; no reader with an older snapshot is left by then; nothing is
//! acknowledged that is not applied durably; the copy meets no duplicate; the way back begins at the end of the swap's
//! commit record, though its slot sends our own last drain before; a closed way back says how far it has come; without
//! faults a migration ends; afterwards the table in place holds what writers were told is committed. Nothing that can wait
//! begins while a standby lags.
//!
//! The world itself is compared with a real server: [`script`](fn@script) tells random histories of it, for a test to
//! repeat.
//!
//! One applier, for the engine has no more ([ADR 6](../../docs/adr/0006-one-applier.md)): of workers there are
//! the copiers. Not modelled: filters and splits, other target servers, keyless tables, foreign keys.

mod breach;
mod check;
mod coverage;
mod dice;
mod engine;
mod fault;
mod history;
mod observe;
mod operator;
mod pace;
mod plan;
mod planted;
mod row;
mod scenario;
mod script;
mod shell;
mod simulation;
mod store;
mod stream;
mod tally;
mod target;
mod trace;
mod world;

pub use breach::{Breach, Difference, Place};
pub use coverage::{Coverage, Reached};
pub use planted::Planted;
pub use script::{Script, Step, Write, script};
pub use simulation::{Run, run};
