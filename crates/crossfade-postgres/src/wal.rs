//! WAL positions, and making one durable.
