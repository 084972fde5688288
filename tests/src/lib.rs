//! Scenarios against a real PostgreSQL: what the binary under `tests/` shares.
