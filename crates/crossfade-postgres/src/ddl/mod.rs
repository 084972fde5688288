//! Statements that build the shadow, its indexes, the swap and what comes after: pure functions from
//! definitions to text.
//!
//! The shadow is built under its final names in the migration's own schema, never with `LIKE`, and moved into
//! place by `SET SCHEMA`. `source` is always today's table, `desired` what it shall be, both under the same name.

mod after;
mod index;
mod render;
mod shadow;
mod swap;

pub use after::{abort, after_swap, complete, drop};
pub use index::{analyze, indexes, key_index};
pub use shadow::{probe_clone, shadow};
pub use swap::{locks, swap};

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
    /// The target's key columns by which changes are applied, in index order; empty if there is none.
    pub key: Vec<String>,
    /// [`crossfade_core::limits::Limits::hold_budget_ms`], for the plan's words.
    pub hold_budget_ms: u64,
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

/// The index of our own by which changes are applied, where the new table has none on the key's columns. It
/// is dropped in the swap.
pub const KEY_INDEX: &str = "crossfade_key";

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
