//! The logical replication reader.
