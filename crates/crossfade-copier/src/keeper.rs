//! The session that keeps the snapshot and the source's lock while the copiers come and go.

use crossfade_core::plan::Source;
use crossfade_core::snapshot::Snapshot;
use crossfade_postgres::copy;
use crossfade_postgres::ident;
use crossfade_postgres::session::{Session, SqlError};

use crate::CopyError;

/// Holds a snapshot and the source's ACCESS SHARE lock until it is dropped or released. While it lives, vacuum
/// cannot remove what the snapshot sees, in the whole database: let it live no longer than the copy.
pub struct SnapshotKeeper {
    session: Session,
    kept: Kept,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The name under which copiers import the snapshot.
    pub name: String,
    /// The snapshot itself.
    pub snapshot: Snapshot,
    /// The source's file: a copier that finds another one stops.
    pub filenode: u32,
    /// Pages of the source's heap.
    pub heap_pages: u32,
    /// Bytes of heap and TOAST.
    pub total_bytes: u64,
}

/// The source's lock, and no snapshot yet.
pub struct Locked<'a> {
    session: Session,
    source: &'a Source,
}

impl Locked<'_> {
    /// Imports the snapshot that the slot's creation exported and exports it again, so that the replication
    /// connection can go on: its own export ends with its next command. `None` takes a snapshot of its own,
    /// without a slot.
    ///
    /// # Errors
    /// When the exported snapshot is gone, or the source is not the one of the plan.
    pub async fn import(self, exported: Option<&str>) -> Result<SnapshotKeeper, CopyError> {
        let Locked { session, source } = self;
        if let Some(name) = exported {
            session.batch_execute(&copy::import_snapshot(name)).await?;
        }
        let row = session.query_one(copy::EXPORT_SNAPSHOT, &[]).await?;
        let state = source_state(&session, source).await?;
        let kept = Kept {
            name: row.get(0),
            snapshot: row.get::<_, &str>(1).parse()?,
            filenode: state.filenode,
            heap_pages: state.heap_pages,
            total_bytes: state.total_bytes,
        };
        Ok(SnapshotKeeper { session, kept })
    }
}

impl SnapshotKeeper {
    /// Locks the source. The lock comes before the snapshot, so before the slot that exports it (R4): what would
    /// rewrite or empty the table is either seen, or waits for us.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn lock(session: Session, source: &Source) -> Result<Locked<'_>, CopyError> {
        session.batch_execute(&copy::begin_reading(source)).await?;
        Ok(Locked { session, source })
    }

    /// What is kept.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The keeping session: to watch it, and to leave it out of lists of others' sessions.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Lets go of snapshot and lock, and gives the session back.
    ///
    /// # Errors
    /// When the connection is lost; then both are gone all the same.
    pub async fn release(self) -> Result<Session, SqlError> {
        self.session.batch_execute("COMMIT").await?;
        Ok(self.session)
    }
}

/// Holds one snapshot of several tables, and what is kept of each.
///
/// # Errors
/// When the server refuses, or a table is not the one of the plan.
pub async fn keep_tables(session: Session, sources: &[&Source]) -> Result<(Session, Vec<Kept>), CopyError> {
    session
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await?;
    for source in sources {
        session.batch_execute(&copy::lock_for_reading(source)).await?;
    }
    let row = session.query_one(copy::EXPORT_SNAPSHOT, &[]).await?;
    let (name, snapshot): (String, Snapshot) = (row.get(0), row.get::<_, &str>(1).parse()?);
    let mut kept = Vec::with_capacity(sources.len());
    for source in sources {
        let state = source_state(&session, source).await?;
        kept.push(Kept {
            name: name.clone(),
            snapshot: snapshot.clone(),
            filenode: state.filenode,
            heap_pages: state.heap_pages,
            total_bytes: state.total_bytes,
        });
    }
    Ok((session, kept))
}

/// The source as the current catalogs have it.
pub(crate) struct SourceState {
    pub(crate) filenode: u32,
    heap_pages: u32,
    total_bytes: u64,
}

/// Asks under the lock, so that the answer stays true.
pub(crate) async fn source_state(session: &Session, source: &Source) -> Result<SourceState, CopyError> {
    let name = ident::table(&source.name);
    let row = session
        .query_one(copy::SOURCE_STATE, &[&source.oid, &name])
        .await?;
    let changed = || CopyError::SourceChanged {
        table: source.name.to_string(),
    };
    match (row.get::<_, Option<u32>>(0), row.get::<_, Option<u32>>(1)) {
        (Some(filenode), Some(oid)) if oid == source.oid => Ok(SourceState {
            filenode,
            heap_pages: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
            total_bytes: row.get::<_, i64>(3).cast_unsigned(),
        }),
        _ => Err(changed()),
    }
}
