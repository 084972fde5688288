//! Replication slots through SQL: ours, another one, gone.
