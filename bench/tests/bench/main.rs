//! Each measurement in a small form, against a throwaway server. What is asserted is that it measures what it says; never
//! a speed.

#![expect(clippy::unwrap_used, reason = "a test that cannot begin shall fail")]

mod apply;
mod copy;
mod scene;
mod stall;
