//! What is carried over, for display.

use crate::catalog::definition::Definition;

/// One attachment that the new table will have too.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct CarriedItem {
    /// Its class: `column`, `index`, `foreign key`, …
    pub class: String,
    /// Its name.
    pub object: String,
}

/// Everything carried over, by class.
pub fn carried(_definition: &Definition) -> Vec<CarriedItem> {
    Vec::new()
}
