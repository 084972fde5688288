//! A whole database of mixed tables, for scenarios that move a database to another server.

pub mod schema;
