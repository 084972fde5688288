//! Applies one batch and its position.
