//! Every decision of the engine: plan, ledger, judge, coalesce, acknowledge, verify, cut over.
//!
//! Nothing here reads a clock, a socket or a random number. The shell tells the machines what happened and
//! performs the commands they return, so that the simulator can drive the same types as the coordinator.
//!
//! Start reading at [`migration`], the machine that owns all others; [`ledger`] holds the one rule that decides
//! whether a change is applied; [`plan`] is what a user sees before anything runs.

pub mod change;
pub mod code;
mod copy;
pub mod cutover;
pub mod detector;
pub mod feed;
pub mod ledger;
pub mod limits;
pub mod migration;
pub mod moves;
pub mod name;
pub mod order;
pub mod pace;
pub mod phase;
pub mod piece;
pub mod plan;
pub mod position;
pub mod refusal;
pub mod snapshot;
pub mod verify;
pub mod way_back;
