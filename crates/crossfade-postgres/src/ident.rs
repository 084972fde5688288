//! Quoting: the only way for a name or a literal into SQL.
