//! The soak: the same change again and again, each time with other faults at other moments, and after each the whole
//! table is what the writers know.
//!
//! A run follows from its seed as far as choices go; what meets what does not. After every fault the engine is
//! started again, as an operator would, until it says that it is done.

mod fault;
mod ground;
mod run;

pub use self::fault::Fault;
pub use self::run::{Figures, Options, run};
