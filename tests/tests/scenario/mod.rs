//! Changes of tables under load.
