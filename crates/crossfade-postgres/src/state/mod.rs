//! The state store: schema `crossfade`, written by numbered migrations.
