//! Copies one range at a time into the target.
