//! Applying one piece: staging tables and set-based statements.
