//! The logical replication reader: owns a slot's stream and turns it into the core's own types.
//!
//! [`transport`] opens a replication connection, [`slot`] makes a slot with its snapshot, [`reader`] follows it.
//! Bytes become frames ([`wire`]), frames become messages (the `pgoutput` crate), and messages become
//! transactions in parts ([`assemble`]), checked against the plan's [`shape`] of the source.
//!
//! What is not here: any decision about a change. Which changes are applied, and what may be acknowledged, is
//! the core's affair; this crate never confirms a position that it was not given.

pub mod assemble;
mod command;
mod frame;
pub mod reader;
mod rows;
pub mod server_error;
pub mod shape;
pub mod slot;
pub mod transport;
pub mod violation;
pub mod wire;
