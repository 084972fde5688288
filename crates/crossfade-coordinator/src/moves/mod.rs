//! Moves: many tables, one stream, two servers.
//!
//! ```text
//!                   ┌ machine ─ applier ┐
//!  leader ─► reader ┼ machine ─ applier ┼─► follower        a hand-over turns both around
//!            (deals)└ machine ─ applier ┘
//! ```
//!
//! Each table has the machine of a migration that is never cut over by itself. An engine carries one *leg*: leg 0 leads
//! from the source of the plan to its target, the first hand-over begins leg 1, which leads back, and so on. It ends with
//! the hand-over, and another begins from the durable state, as after a crash.

mod begin;
mod changed;
mod copy;
mod end;
mod engine;
mod enter;
mod hand_over;
mod hooks;
mod load;
mod operator;
mod prepare;
mod release;
mod run;
mod shared;
mod show;
mod workers;

pub use self::end::{abort, complete};
pub use self::hooks::Hooks;
pub use self::run::{MoveOptions, MoveWhat, run};
