//! What is attached to a table, read from the catalogs in canonical form, and compared.
