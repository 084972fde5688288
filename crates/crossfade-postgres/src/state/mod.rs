//! The state store: schema `crossfade`, written by numbered migrations.
//!
//! A command reaches a running engine only through here, from any machine; an engine that starts again knows
//! nothing but what stands here. Every function takes the session it shall run in, so that progress can commit
//! with what it describes.

mod audit;
mod detector;
mod engine;
mod error;
mod ledger;
mod migration;
mod moves;
mod progress;
mod publication;
mod request;
mod schema;
mod verification;
mod way_back;

pub use self::audit::audit;
pub use self::detector::{note_seen, seen, settle_strays};
pub use self::engine::{
    Engine, Generation, TakeOver, engine, guard, guard_statement, heartbeat, raise_generation,
};
pub use self::error::StateError;
pub use self::ledger::{
    Chunk, chunks, forget_copy, note_statements, record_chunk, record_slot_snapshot, slot_snapshot,
    unproven_drops,
};
pub use self::migration::{
    Created, Stored, advance_phase, create, list, load, reset, set_paused, set_phase, store_report,
};
pub use self::moves::{
    Mark, forget_tables, has_everything, keep_dump, kept_dump, mark, mark_left, marked, other_files,
    raise_generation_of_tables, set_table_phase, start_tables, table_phases, unmark,
};
pub use self::progress::{
    advance_statement, aligned, done_statements, forget_statements, forget_swap_attempts,
    forget_swap_attempts_to, position, record_statement, record_swap_attempt, start_position, swap_attempt,
};
pub use self::publication::{publication_is_the_same, record_publication};
pub use self::request::{Verb, ask, take};
pub use self::schema::{ensure, exists};
pub use self::verification::{
    StoredVerification, last_verification, record_verification, server_time, trust_file, trusted_file,
};
pub use self::way_back::{Closed, close_way_back, open_way_back, way_back_closed};
