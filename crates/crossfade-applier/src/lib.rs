//! Applies one batch and its position.
//!
//! An [`Applier`] owns one session of the targets' server. It is given pieces and performs them: the first piece of a
//! batch opens the transaction, the last one brings the position that commits with it. What an outcome means for
//! the feed is decided elsewhere. A [`Lane`] has one session for many tables, and commits whole batches of several at once.
//!
//! Invariants: rows and applied LSN commit in one transaction; every transaction begins under the engine's
//! generation (R24); an update that keeps columns must find its row (R16); a unique or exclusion violation gets
//! one second attempt with all touched rows taken out first (R19), within its piece: what precedes a piece in
//! its transaction is a state that the source was in.

mod applier;
mod error;
mod lane;
mod target;

pub use crate::applier::{Applier, Outcome};
pub use crate::error::{ApplyError, ApplyErrorClass};
pub use crate::lane::{Batch, Lane, LaneOutcome};
