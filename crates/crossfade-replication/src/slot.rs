//! Logical replication slots through the replication protocol: the only way to get a snapshot with one.
//!
//! R3: the publication must be there, committed, before its slot is made. Whether an existing slot is ours is
//! for the state schema to say, not for this module.

use crossfade_core::position::Lsn;

use crate::command;
use crate::server_error::Verdict;
use crate::transport::{Connection, Reply, TransportError};

/// A slot just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedSlot {
    /// Its name.
    pub name: String,
    /// The stream has every transaction that commits after this point; the exported snapshot sees all others.
    pub consistent_point: Lsn,
}

/// A slot just made, and the snapshot that belongs to it, which lives as long as this does.
#[derive(Debug)]
pub struct ExportingSlot {
    slot: CreatedSlot,
    snapshot_name: String,
    connection: Connection,
}

/// Why there is no slot, or still one.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// There is one of this name already.
    #[error("create the slot {name}: it exists")]
    Exists {
        /// Its name.
        name: String,
    },
    /// There is none of this name.
    #[error("drop the slot {name}: it does not exist")]
    Missing {
        /// Its name.
        name: String,
    },
    /// The snapshot to export would have to list more running transactions, subtransactions among them, than the
    /// server has room for. The server has dropped the slot again. With the end of those transactions it works.
    #[error("create the slot {name}: its snapshot has no room for all running transactions")]
    SnapshotTooLarge {
        /// Its name.
        name: String,
    },
    /// Everything else.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl ExportingSlot {
    /// Creates a slot and exports the snapshot from which its stream goes on. The server first waits for every
    /// transaction that is writing now to end, however long that takes.
    ///
    /// The snapshot lives until [`ExportingSlot::release`] or until this is dropped; the slot stays.
    ///
    /// # Errors
    /// [`SlotError::Exists`] if the name is taken, [`SlotError::SnapshotTooLarge`] while a transaction with very many
    /// subtransactions runs.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket, **but a server that waits does not look at it**: it goes on waiting
    /// and, when its turn comes, finishes a slot that nobody knows of. To abandon the creation, take the
    /// connection's [`canceller`](Connection::canceller) first and keep polling the future: after
    /// [`Canceller::cancel`](crate::transport::Canceller::cancel) it ends, with the slot (drop it) or without.
    pub async fn create(mut connection: Connection, name: &str) -> Result<Self, SlotError> {
        let (slot, snapshot) = create_slot(&mut connection, name, true).await?;
        Ok(ExportingSlot {
            slot,
            snapshot_name: snapshot,
            connection,
        })
    }

    /// The slot.
    pub fn slot(&self) -> &CreatedSlot {
        &self.slot
    }

    /// What `SET TRANSACTION SNAPSHOT` wants.
    pub fn snapshot_name(&self) -> &str {
        &self.snapshot_name
    }

    /// Gives the snapshot up and the connection back.
    pub fn release(self) -> (CreatedSlot, Connection) {
        // The snapshot ends with the next command on the connection.
        (self.slot, self.connection)
    }
}

/// Creates a slot without a snapshot.
///
/// # Errors
/// [`SlotError::Exists`] if the name is taken.
///
/// # Cancel safety
/// As [`ExportingSlot::create`]; the connection must be dropped with the future.
pub async fn create(connection: &mut Connection, name: &str) -> Result<CreatedSlot, SlotError> {
    Ok(create_slot(connection, name, false).await?.0)
}

/// Drops a slot; waits while another session uses it.
///
/// # Errors
/// [`SlotError::Missing`] if there is none.
///
/// # Cancel safety
/// The slot may or may not be dropped; the connection must be dropped with the future.
pub async fn drop(connection: &mut Connection, name: &str) -> Result<(), SlotError> {
    match connection
        .command("drop the slot", &command::drop_slot(name))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if refused_as(&error, Verdict::Missing) => Err(SlotError::Missing {
            name: name.to_owned(),
        }),
        Err(error) => Err(error.into()),
    }
}

async fn create_slot(
    connection: &mut Connection,
    name: &str,
    export: bool,
) -> Result<(CreatedSlot, String), SlotError> {
    const DURING: &str = "create the slot";
    let command = command::create_slot(name, export, connection.session().server_major);
    let rows = match connection.command(DURING, &command).await {
        Ok(rows) => rows,
        Err(error) if refused_as(&error, Verdict::Exists) => {
            return Err(SlotError::Exists {
                name: name.to_owned(),
            });
        }
        Err(error) if refused_as(&error, Verdict::Again) => {
            return Err(SlotError::SnapshotTooLarge {
                name: name.to_owned(),
            });
        }
        Err(error) => return Err(error.into()),
    };
    let row = Reply::single(DURING, &rows).map_err(TransportError::from)?;
    let slot = CreatedSlot {
        name: name.to_owned(),
        consistent_point: row.lsn(1, "consistent_point").map_err(TransportError::from)?,
    };
    let snapshot = match export {
        true => row.text(2, "snapshot_name").map_err(TransportError::from)?,
        false => "",
    };
    Ok((slot, snapshot.to_owned()))
}

fn refused_as(error: &TransportError, verdict: Verdict) -> bool {
    matches!(error, TransportError::Server { source, .. } if source.verdict() == verdict)
}
