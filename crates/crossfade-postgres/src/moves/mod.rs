//! Moves to another server: which tables, what is attached to them, and who may write to them where.
//!
//! A table leads on one server and follows on the other. Where it follows it has its indexes and nothing that would act
//! by itself (R21): foreign keys, triggers, rules and the like are [attached](attachments) where it leads. A [lockout]
//! lets nobody write to it but the move's own sessions.

pub mod attachments;
pub mod indexes;
pub mod lockout;
pub mod plan;
pub mod privileges;
pub mod relations;
pub mod schema;
pub mod sequences;
pub mod tables;
