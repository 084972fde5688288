//! Measurements of the engine, as ratios to a named baseline in the same run.
//!
//! A figure alone says more about the machine than about the engine; a ratio to a baseline that ran beside it on
//! the same data can be compared.

pub mod copy;
