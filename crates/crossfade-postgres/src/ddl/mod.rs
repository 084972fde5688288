//! Statements that build the shadow, its indexes, the swap and what comes after: pure functions from
//! definitions to text.
//!
//! The shadow is built under its final names in the migration's own schema, never with `LIKE`, and moved into
//! place by `SET SCHEMA`. `source` is always today's table, `desired` what it shall be, both under the same name.

use crossfade_core::plan::Statement;

use crate::catalog::Definition;

/// What the statements must know beside the two definitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DdlContext {
    /// The schema in which the shadow lives until the swap.
    pub shadow_schema: String,
    /// The schema to which the retired table moves.
    pub retired_schema: String,
    /// The role of the engine's sessions.
    pub role: String,
    /// The target's key columns by which changes are applied, in index order; empty if there is none.
    pub key: Vec<String>,
    /// [`crossfade_core::limits::Limits::hold_budget_ms`], for the plan's words.
    pub hold_budget_ms: u64,
}

/// Statements that create an empty clone of the source in `schema`: columns, defaults, checks, all indexes and
/// their constraints, options and comments; no foreign keys, triggers, owner or privileges (see
/// [`crate::catalog::desired`]). For a transaction that is rolled back.
pub fn probe_clone(_source: &Definition, _schema: &str) -> Vec<String> {
    Vec::new()
}

/// Stage `Prepare`: schema and empty shadow, without indexes.
pub fn shadow(_context: &DdlContext, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `KeyIndex`: the unique index by which changes are applied.
pub fn key_index(_context: &DdlContext, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Index`: all other indexes and exclusion constraints, each independent of the others.
pub fn indexes(_context: &DdlContext, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Analyze`, in order: constraints made of their indexes, what is attached to indexes, `ANALYZE`.
pub fn analyze(_context: &DdlContext, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Lock`: one `LOCK` a statement, in the fixed order.
pub fn locks(_context: &DdlContext, _source: &Definition, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Swap`, in order, in the transaction that has run [`locks`].
pub fn swap(_context: &DdlContext, _source: &Definition, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `AfterSwap`: validation of the foreign keys that were valid.
pub fn after_swap(_context: &DdlContext, _desired: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Complete`: schemas that are empty go.
pub fn complete(_context: &DdlContext) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Drop`: the retired table and its schema.
pub fn drop(_context: &DdlContext, _source: &Definition) -> Vec<Statement> {
    Vec::new()
}

/// Stage `Abort`: whatever of the shadow there is.
pub fn abort(_context: &DdlContext) -> Vec<Statement> {
    Vec::new()
}
