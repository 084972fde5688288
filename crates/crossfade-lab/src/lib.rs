//! Throwaway PostgreSQL servers, and writers that keep a ledger of their commits.
//!
//! Under `crossfade demo`, `crossfade bench` and the tests. [`server`] finds (or fetches) PostgreSQL and runs a
//! private one that leaves nothing behind; the other modules play the application on it and judge the engine
//! from outside.
//!
//! This crate names `tokio-postgres` and writes its own SQL: what it plays is an application, not the engine, and
//! a proof that went through the engine's own statements would prove less.

pub mod compare;
pub mod estate;
pub mod grants;
pub mod ledger;
pub mod orders;
pub mod pgbench;
pub mod server;
mod sql;
pub mod writers;
