//! Changes of tables under load, from `run` to the rows compared.

mod history;
mod memory;
mod pgbench;
