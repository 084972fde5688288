//! A seeded world that drives the core's real machines, and its checkers.
