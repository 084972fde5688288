//! The copy of a move: one snapshot of all tables that are still to be copied, ranges of all of them in one queue.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossfade_copier::{Kept, Outcome, Pipe, keep_tables};
use crossfade_core::migration::{Event, Invisible, RangeId, copy_step};
use crossfade_core::plan::{Plan, Source};
use crossfade_core::position::Lsn;
use crossfade_core::snapshot::Snapshot;
use crossfade_postgres::copy::{CtidRange, ranges};
use crossfade_postgres::session::Session;
use crossfade_postgres::{visibility, wal};
use tokio::sync::Semaphore;

use super::shared::Shared;
use crate::failure::Failure;

/// Between two snapshots of which the first did not see what the slot will never send.
const AGAIN: Duration = Duration::from_millis(20);
/// Heap and TOAST bytes of one range.
const RANGE_BYTES: u64 = 16 << 20;

/// What the copy reads.
pub(crate) struct Copying {
    /// Keeps snapshot and locks.
    _keeper: Session,
    /// Where the stream begins.
    slot_at: Lsn,
    tables: Vec<Option<Table>>,
    /// How many ranges are copied at once.
    turns: Semaphore,
    /// Pipes that have nothing to do.
    free: Mutex<Vec<Pipe>>,
}

/// A commit that waits for a synchronous standby is in the log and not visible: it may lie before the slot.
async fn keep(
    shared: &Shared,
    sources: &[&Source],
    never_sent: Option<&Snapshot>,
) -> Result<(Session, Vec<Kept>), Failure> {
    let began = Instant::now();
    loop {
        let session = shared.leader().session(shared.name()).await?;
        let (keeper, kept) = keep_tables(session, sources).await?;
        let snapshot = kept.first().map(|table| &table.snapshot);
        let missed = snapshot
            .zip(never_sent)
            .and_then(|(ours, slots)| ours.misses(slots));
        let Some(xid) = missed else {
            return Ok((keeper, kept));
        };
        if began.elapsed() > shared.plan.limits.proof_wait() {
            drop(keeper);
            let session = shared.leader().session(shared.name()).await?;
            let what = visibility::explain(&session, Invisible { xid }).await?;
            return Err(Failure::Lost { what });
        }
        tokio::time::sleep(AGAIN).await;
    }
}

struct Table {
    kept: Kept,
    ranges: Vec<CtidRange>,
}

impl Copying {
    /// Locks the tables that are still to be copied, takes a snapshot, and makes durable what it sees: else a crash of the
    /// source could lose a commit that was copied (R13). The stream begins before it, and each change is held against it
    /// (R1); what the slot will never send it sees, or another one is taken.
    pub(crate) async fn open(
        shared: &Shared,
        plans: &[Plan],
        wanted: &[usize],
        (slot_at, never_sent): (Lsn, Option<&Snapshot>),
        copiers: usize,
    ) -> Result<Self, Failure> {
        let name = shared.name();
        let sources: Vec<_> = wanted
            .iter()
            .map(|number| &copy_step(&plans[*number]).source)
            .collect();
        let (keeper, kept) = keep(shared, &sources, never_sent).await?;
        wal::make_durable(&shared.leader().session(name).await?).await?;
        let mut tables: Vec<Option<Table>> = plans.iter().map(|_| None).collect();
        for (number, kept) in wanted.iter().zip(kept) {
            let ranges = ranges(kept.heap_pages, kept.total_bytes, RANGE_BYTES);
            tables[*number] = Some(Table { kept, ranges });
        }
        Ok(Copying {
            _keeper: keeper,
            slot_at,
            tables,
            turns: Semaphore::new(copiers.max(1)),
            free: Mutex::default(),
        })
    }

    /// For the machine of that table.
    pub(crate) fn opened(&self, table: usize) -> Option<Event> {
        let table = self.tables[table].as_ref()?;
        Some(Event::SnapshotOpened {
            consistent_point: self.slot_at,
            snapshot: table.kept.snapshot.clone(),
            ranges: u32::try_from(table.ranges.len()).unwrap_or(u32::MAX),
        })
    }

    /// The file that it copies of that table.
    pub(crate) fn file(&self, table: usize) -> Option<u32> {
        self.tables[table].as_ref().map(|table| table.kept.filenode)
    }

    /// Copies one range when it is its turn.
    pub(crate) async fn copy_range(
        self: Arc<Self>,
        shared: Arc<Shared>,
        plans: Arc<Vec<Plan>>,
        number: usize,
        id: RangeId,
    ) -> Result<Event, Failure> {
        let lost = |what: &str| Failure::Lost {
            what: what.to_owned(),
        };
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|_| lost("the copy was ended"))?;
        let Some(table) = &self.tables[number] else {
            return Err(lost("a table is copied that was not opened"));
        };
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let pipe = match free {
            Some(pipe) => pipe,
            None => {
                let (source, target) = tokio::try_join!(
                    shared.leader().session(shared.name()),
                    shared.follower().session(shared.name())
                )?;
                Pipe::prepare(source, target, shared.follower().generation).await?
            }
        };
        let plan = &plans[number];
        let step = copy_step(plan);
        let between = (&step.source, &step.targets[0]);
        let range = table.ranges[id.0 as usize];
        match pipe.copy_range(between, &plan.name, range, &table.kept).await {
            Outcome::Done(copied) => {
                self.free
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(pipe);
                Ok(Event::RangeCopied {
                    range: id,
                    rows: copied.rows,
                })
            }
            Outcome::NotDone(error) => Err(error.into()),
            // Without a ledger row nothing of the table's copy counts: it begins again.
            Outcome::Unknown(error) => Err(lost(&error.to_string())),
        }
    }
}
