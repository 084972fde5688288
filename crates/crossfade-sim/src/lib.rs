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
//! Checked: after every batch the target is the transform of the source as of the applied LSN;
//! the same at the swap, as of everything; no reader with an older snapshot is left by then; nothing is
//! acknowledged that is not applied durably; the copy meets no duplicate; without faults a migration ends;
//! afterwards the new table holds what writers were told is committed.
//!
//! Not modelled: filters and splits, other target servers, keyless tables, foreign keys.

mod breach;
mod check;
mod coverage;
mod dice;
mod engine;
mod fault;
mod history;
mod planted;
mod row;
mod scenario;
mod shell;
mod simulation;
mod stream;
mod target;
mod world;

pub use breach::{Breach, Difference, Place};
pub use coverage::{Coverage, Reached};
pub use planted::Planted;
pub use simulation::{Run, run};
