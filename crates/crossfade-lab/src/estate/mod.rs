//! A whole database of mixed tables, an application that can be sent elsewhere at any moment, and the proof.
//!
//! ```text
//! schema::build ──► Application ── writes where the Route points ──► Story ──► check_ledger
//!                                                                    two databases ──► differences
//! ```
//!
//! For scenarios that move a database to another server. The application knows nothing of a move: it is told
//! where to connect, as it would be by its configuration or its pooler, and takes down each commit that was
//! acknowledged. Judging reads the databases only.

mod application;
mod check;
mod differences;
pub mod schema;

pub use self::application::{
    Application, ApplicationError, ApplicationOptions, Commit, Progress, Route, Story, WRITERS_MAX,
};
pub use self::check::check_ledger;
pub use self::differences::differences;
