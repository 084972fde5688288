//! The copy: slot, snapshot, ranges, ledger row.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossfade_copier::{Copier, Outcome, SnapshotKeeper};
use crossfade_core::ledger::Span;
use crossfade_core::migration::{Event, RangeId};
use crossfade_core::phase::Phase;
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_core::way_back::Direction;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::copy::{self, CtidRange, ranges};
use crossfade_postgres::{slot, state};
use crossfade_replication::slot::{ExportingSlot, SlotError};
use crossfade_replication::transport::Connection;

use super::finish::SLOT_RELEASE_MAX;
use crate::context::Context;
use crate::failure::Failure;

/// Heap and TOAST bytes of one range. The server decodes what a copier writes only to drop it, and from
/// `logical_decoding_work_mem` (64 MB) on it writes transactions that it decodes to disk before that, all that are open.
const RANGE_BYTES: u64 = 8 << 20;
/// Between two attempts to create the slot.
const SLOT_PAUSE: Duration = Duration::from_secs(1);

/// What the copy reads: the session that keeps lock and snapshot, and the ranges.
pub(crate) struct Opened {
    keeper: SnapshotKeeper,
    consistent_point: Lsn,
    ranges: Vec<CtidRange>,
    /// Copiers that have nothing to do. There are never more than ranges are copied at once.
    free: Mutex<Vec<Copier>>,
}

impl Opened {
    /// A copier that is free, or a new one.
    async fn copier(&self, context: &Context) -> Result<Copier, Failure> {
        let free = self.free().pop();
        if let Some(copier) = free {
            return Ok(copier);
        }
        let session = context.session().await?;
        Ok(Copier::prepare(session, context.step(), &context.plan.name, context.generation).await?)
    }

    /// Nobody panics while holding it.
    fn free(&self) -> MutexGuard<'_, Vec<Copier>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the machine.
    pub(crate) fn event(&self) -> Event {
        Event::SnapshotOpened {
            consistent_point: self.consistent_point,
            snapshot: self.keeper.kept().snapshot.clone(),
            ranges: self.ranges.len() as u32,
        }
    }
}

/// Drops what an earlier copy left, then lock, slot, snapshot, in this order (R3, R4).
pub(crate) async fn open_snapshot(context: &Context) -> Result<Opened, Failure> {
    let session = context.session().await?;
    slot::drop(&session, &context.plan.name.slot(), SLOT_RELEASE_MAX).await?;
    begin_anew(context, &session).await?;
    // The lock comes before the snapshot (R4), which is made with the slot.
    let keeper = SnapshotKeeper::lock(context.session().await?, &context.step().source).await?;
    let exporting = exporting_slot(context).await?;
    context.audit(&session, "created the slot", None).await?;
    let keeper = keeper.import(Some(exporting.snapshot_name())).await?;
    let consistent_point = exporting.slot().consistent_point;
    drop(exporting);
    context.begin(&session).await?;
    let file = Some(keeper.kept().filenode);
    state::trust_file(&session, context.name(), Direction::Forward, file).await?;
    session.batch_execute("COMMIT").await?;
    let ranges = ranges(keeper.kept().heap_pages, keeper.kept().total_bytes, RANGE_BYTES);
    Ok(Opened {
        keeper,
        consistent_point,
        ranges,
        free: Mutex::default(),
    })
}

/// Creates the slot with its snapshot.
pub(super) async fn exporting_slot(context: &Context) -> Result<ExportingSlot, Failure> {
    context.line("creating the slot: the server first waits for every transaction that is writing now");
    create_exporting(&context.config, &context.plan.name.slot(), |line| {
        context.line(line)
    })
    .await
}

/// Creates a slot with its snapshot, again and again while a transaction with very many subtransactions is in the way. Then
/// it waits for that one too, as the server itself waits for whoever is writing when it begins.
pub(crate) async fn create_exporting(
    config: &ConnectConfig,
    slot: &str,
    line: impl Fn(String),
) -> Result<ExportingSlot, Failure> {
    let mut told = false;
    loop {
        let connection = Connection::open(config).await?;
        match ExportingSlot::create(connection, slot).await {
            Err(error @ SlotError::SnapshotTooLarge { .. }) => {
                if !std::mem::replace(&mut told, true) {
                    line(format!(
                        "{error}, one with very many subtransactions: trying until it has ended"
                    ));
                }
                tokio::time::sleep(SLOT_PAUSE).await;
            }
            created => return Ok(created?),
        }
    }
}

/// Empties the targets, and writes down the publication that the slot begins with (R34).
pub(super) async fn begin_anew(
    context: &Context,
    session: &crossfade_postgres::session::Session,
) -> Result<(), Failure> {
    context.begin(session).await?;
    state::forget_copy(session, context.name()).await?;
    context.record_publication(session, Direction::Forward).await?;
    for target in &context.step().targets {
        session.batch_execute(&copy::empty(target)).await?;
    }
    session.batch_execute("COMMIT").await?;
    Ok(())
}

/// Copies one range.
pub(crate) async fn copy_range(context: &Context, opened: &Opened, id: RangeId) -> Result<Event, Failure> {
    let range = opened.ranges[id.0 as usize];
    let copier = opened.copier(context).await?;
    match copier.copy_range(range, opened.keeper.kept()).await {
        Outcome::Done(copied) => {
            opened.free().push(copier);
            Ok(Event::RangeCopied {
                range: id,
                rows: copied.rows,
            })
        }
        Outcome::NotDone(error) => Err(error.into()),
        // Without a ledger row nothing of the copy counts: it begins again.
        Outcome::Unknown(error) => Err(Failure::Lost {
            what: error.to_string(),
        }),
    }
}

/// Ledger row, applied LSN and phase, in one transaction (R11).
pub(crate) async fn record_chunk(
    context: &Context,
    consistent_point: Lsn,
    snapshot: Snapshot,
    rows: u64,
) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    let chunk = state::Chunk {
        number: 0,
        span: Span::default(),
        snapshot,
        rows,
    };
    state::record_chunk(&session, context.name(), &chunk).await?;
    state::start_position(&session, context.name(), Direction::Forward, consistent_point).await?;
    state::set_phase(&session, context.name(), Phase::Copied).await?;
    context
        .audit(&session, &format!("copied {rows} rows"), None)
        .await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::ChunkRecorded)
}
