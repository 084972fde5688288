//! The one place that speaks SQL: sessions, catalog reads, statements, locks, the state store.
//!
//! Everything is rendered by pure functions and run by thin ones. Identifiers reach SQL only through [`ident`].

pub mod apply;
pub mod catalog;
pub mod causes;
pub mod change;
pub mod connect;
pub mod copy;
pub mod ddl;
mod derive;
pub mod ident;
pub mod lock;
pub mod moves;
pub mod pace;
pub mod planner;
pub mod preflight;
pub mod session;
pub mod slot;
pub mod state;
pub mod verify;
pub mod visibility;
pub mod wal;
