//! Statements that build the shadow, its indexes, the swap and what comes after: pure functions from
//! definitions to text.
//!
//! A new table is built under its final names in the migration's own schema, never with `LIKE`, and moved into
//! place by `SET SCHEMA`. `source` is always today's table.

mod after;
mod index;
mod old_shape;
mod render;
mod shadow;
mod swap;

pub use after::{abort, after_swap, complete, drop};
pub use index::{analyze, indexes, key_index};
pub use old_shape::{OldShape, drop_view, function};
pub use shadow::{probe_clone, shadow};
pub use swap::{Leaving, lock_writers_out, locks, swap};

use crossfade_core::name::TableName;
use crossfade_core::plan::{Stage, Statement};

use crate::catalog::Definition;
use crate::ident;

/// What the statements must know beside the two definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdlContext {
    /// The schema from which the swap takes the table that comes: the shadow, and on the way back the retired one.
    pub shadow_schema: String,
    /// The schema to which the table moves that goes.
    pub retired_schema: String,
    /// Which way the swap goes, and what it prepares for.
    pub way: Way,
    /// The role of the engine's sessions.
    pub role: String,
    /// [`crossfade_core::limits::Limits::hold_budget_ms`], for the plan's words.
    pub hold_budget_ms: u64,
}

/// A table that comes with the swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTable<'a> {
    /// What it shall be.
    pub definition: &'a Definition,
    /// The columns that tell its rows apart while changes are applied, in index order; empty if nothing does.
    pub row_key: Vec<String>,
    /// The image of the source's key, if that is not the same: the rows that come of a source row are found by it.
    pub source_key: Option<Vec<String>>,
    /// It takes the place of the source, and takes over what is attached to it.
    pub successor: bool,
    /// Its place among the new tables, which share a schema.
    pub number: usize,
}

/// Which way a swap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the new table; nothing follows it afterwards.
    There,
    /// To the new table, and the retired one follows it.
    ThereWithWayBack,
    /// Back to the retired table.
    Back,
}

/// The index of our own by which changes are applied, where a new table has none on the key's columns. It
/// is dropped in the swap.
const KEY_INDEX: &str = "crossfade_key";

/// The index of our own by which the rows of a source row are found, where a new table has none. It is dropped in the
/// swap.
const SOURCE_KEY_INDEX: &str = "crossfade_source_key";

impl DdlContext {
    /// The shadow's qualified name, quoted.
    fn shadow(&self, desired: &Definition) -> String {
        ident::qualified(&self.shadow_schema, &desired.name.name)
    }

    /// The retired table's qualified name, quoted.
    fn retired(&self, source: &Definition) -> String {
        ident::qualified(&self.retired_schema, &source.name.name)
    }

    /// A statement of the cutover transaction.
    fn under_lock(&self, stage: Stage, sql: String, locks: Vec<String>) -> Statement {
        let held = if locks.is_empty() {
            String::new()
        } else {
            format!(
                "until the swap commits, at most hold_budget ({} ms)",
                self.hold_budget_ms
            )
        };
        Statement {
            stage,
            sql,
            locks,
            held,
        }
    }
}

/// A statement on nothing but our own objects.
fn private(stage: Stage, sql: String) -> Statement {
    Statement {
        stage,
        sql,
        locks: Vec::new(),
        held: String::new(),
    }
}

fn lock(mode: &str, table: &TableName) -> String {
    format!("{mode} on {table}")
}
