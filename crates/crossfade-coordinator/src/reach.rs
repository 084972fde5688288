//! Whether a connection for replication can be made, as an engine will make it.

use crossfade_postgres::connect::ConnectConfig;
use crossfade_replication::transport::{Connection, TransportError};

/// Opens one and closes it again.
///
/// # Errors
/// Why it cannot be made.
///
/// # Cancel safety
/// Dropping the future closes it.
pub async fn replication(config: &ConnectConfig) -> Result<(), TransportError> {
    Connection::open(config).await.map(drop)
}
