//! Applying a piece of the feed to one target: statements, staging, encoders, fetches.
//!
//! A piece travels by `COPY` into two temporary staging tables of the session, `put` and `del`, made like the
//! source, and is then applied by a handful of set-based statements, in this order:
//!
//! 1. `TRUNCATE`, if the piece says so;
//! 2. rows whose key is in `del` go;
//! 3. puts that are whole are upserted, key columns included: two keys that are equal to the server may differ
//!    in their bytes (R12);
//! 4. puts that keep unchanged columns update the row that is there, and must find it (R16).
//!
//! Where a filter or a set-returning call decides over the rows (R20), all puts are turned into images first, rows whose
//! key is touched and that have no image go, and the images are upserted.
//!
//! The statements are sent as text and planned anew for every piece. That costs about a millisecond and buys
//! plans made for the sizes at hand: staging tables are never analyzed, and a plan made once for an almost empty
//! target would be kept while it grows.

pub mod decode;
pub mod encode;
pub mod fetch;
mod retry;
mod statements;

#[cfg(test)]
pub(crate) mod fixture;

pub use self::retry::RetryStatements;
pub(crate) use self::statements::format_of;
pub use self::statements::{ApplyStatements, KeyedStatements, Writing, apply_templates};

/// Settings of a session that applies. Joins between staging and target go through the target's key index: hash
/// and merge joins would read the target whole.
pub const APPLIER_SETTINGS: &str =
    "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off";

/// A database without an encoding takes bytes as they are; any other converts, both ways alike.
pub const CLIENT_ENCODING: &str = "\
SELECT pg_catalog.set_config('client_encoding', 'SQL_ASCII', false)
 WHERE pg_catalog.getdatabaseencoding() = 'SQL_ASCII'";

/// Opens the transaction of a batch; the generation's guard follows.
pub const BEGIN: &str = "BEGIN; SET CONSTRAINTS ALL DEFERRED";

/// The same for one read within another's transaction, and back again.
pub const JOIN_BY_INDEX: &str =
    "SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_seqscan = off";

/// See [`JOIN_BY_INDEX`].
pub const JOIN_FREELY: &str =
    "SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_seqscan = on";

/// Around the statements that join two staging tables.
pub const HASH_JOINS_ON: &str = "SET LOCAL enable_hashjoin = on";

/// See [`HASH_JOINS_ON`].
pub const HASH_JOINS_OFF: &str = "SET LOCAL enable_hashjoin = off";

/// Columns of the table `$1` that are stored as written and not among `$2`.
pub const OTHER_COLUMNS: &str = "\
SELECT attname::text FROM pg_catalog.pg_attribute
 WHERE attrelid = pg_catalog.to_regclass($1::text) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
   AND attname::text <> ALL ($2::text[])
 ORDER BY attnum";
