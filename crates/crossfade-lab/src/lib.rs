//! Throwaway PostgreSQL servers, and writers that keep a ledger of their commits.
