//! Statements that build the shadow, its indexes, the swap and what comes after.
