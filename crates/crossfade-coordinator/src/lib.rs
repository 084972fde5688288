//! The loop: takes an event, hands it to the core, performs the commands it returns.
//!
//! [`run::run`] is a whole migration; [`operate`] is what operators do from anywhere. Nothing here decides about
//! rows: that is `crossfade-core`.

mod conclude;
mod context;
pub mod ended;
mod engine;
mod failure;
mod hands;
mod losses;
pub mod moves;
pub mod operate;
mod operator;
mod pace;
pub mod reach;
pub mod report;
pub mod run;
pub mod verify;
