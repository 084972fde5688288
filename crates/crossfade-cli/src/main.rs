//! The `crossfade` binary.

fn main() {}
