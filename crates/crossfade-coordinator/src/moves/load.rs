//! What an engine of a move finds: of each table how far it has come on the server where it follows.

use crossfade_core::code::FailureCode;
use crossfade_core::detector::Seen;
use crossfade_core::migration::{CopyState, Durable, copy_step};
use crossfade_core::phase::Phase;
use crossfade_core::plan::{CopyMode, CopyStep, Plan, Step};
use crossfade_core::position::{Lsn, Xid};
use crossfade_core::snapshot::Snapshot;
use crossfade_core::way_back::Direction;
use crossfade_postgres::moves::tables;
use crossfade_postgres::session::Session;
use crossfade_postgres::{copy, slot, state, wal};

use super::shared::Shared;
use crate::failure::Failure;
use crate::run::load_copy;

/// Everything that the machines begin with.
pub(crate) struct Loaded {
    /// For each table, in the plan's order: its plan in the direction of this leg.
    pub(crate) plans: Vec<Plan>,
    /// And what is durable of it.
    pub(crate) durables: Vec<Durable>,
    /// Where the stream of tables begins that are still to be copied.
    pub(crate) slot_at: Lsn,
    /// What that stream will never send.
    pub(crate) slot_snapshot: Option<Snapshot>,
    /// Of the first leg: rows of tables that were copied before.
    pub(crate) rows_before: Option<u64>,
}

/// Reads everything; empties the tables that are still to be copied under one snapshot. One that is copied in chunks goes on
/// with those that have no ledger row.
pub(crate) async fn load(shared: &Shared) -> Result<Loaded, Failure> {
    let name = shared.name();
    let (leader, follower) = (
        shared.leader().session(name).await?,
        shared.follower().session(name).await?,
    );
    let plans = plans(shared, &leader).await?;
    let phases = state::table_phases(&follower, name.as_str()).await?;
    let mut durables = Vec::with_capacity(plans.len());
    let mut positions = Vec::new();
    let mut rows_before = 0;
    for plan in &plans {
        let table = plan.name.as_str();
        let phase = phases.get(table).copied().unwrap_or(Phase::Planned);
        let copied = phase >= Phase::Copied;
        let in_chunks = copy_step(plan).copy_mode == CopyMode::Incremental;
        let position = state::position(&follower, table, Direction::Forward).await?;
        let verification = state::last_verification(&follower, table, None).await?;
        positions.extend(position.filter(|_| copied || in_chunks));
        let in_chunks = match in_chunks {
            true => Some(load_copy(&follower, table).await?),
            false => None,
        };
        let chunks = state::chunks(&follower, table).await?;
        if copied {
            rows_before += chunks.iter().map(|chunk| chunk.rows).sum::<u64>();
        }
        durables.push((
            phase,
            position.filter(|_| copied),
            verification,
            chunks,
            in_chunks,
        ));
    }
    let slot_snapshot = state::slot_snapshot(&follower, name.of_table(0).as_str()).await?;
    let slot_at = check_slot(shared, &leader, positions.iter().min().copied()).await?;
    // A snapshot after the positions were read: what was applied by then it sees or lists.
    let now = wal::snapshot(&leader).await?;
    let committing = wal::committing(&leader, &now).await?;
    let mut loaded = Vec::with_capacity(plans.len());
    for (plan, (phase, copied, verification, chunks, in_chunks)) in plans.iter().zip(durables) {
        let copy = match (in_chunks, copied) {
            (Some(copy), _) => copy,
            (None, Some(applied)) => match chunks.into_iter().next() {
                Some(chunk) => CopyState::Whole {
                    applied,
                    snapshot: chunk.snapshot,
                },
                // Of a later leg: it was whole when that began.
                None => whole(applied, &now),
            },
            (None, None) => {
                empty(shared, &follower, plan).await?;
                CopyState::Nothing
            }
        };
        loaded.push(durable(
            phase.max(Phase::Copying),
            copy,
            state::aligned(&follower, plan.name.as_str(), Direction::Forward).await?,
            verification.map(|verification| verification.found.is_equal()),
            (now.clone(), committing.clone()),
        ));
    }
    Ok(Loaded {
        durables: loaded,
        slot_at,
        slot_snapshot,
        rows_before: (shared.leg == 0).then_some(rows_before),
        plans,
    })
}

fn whole(applied: Lsn, now: &Snapshot) -> CopyState {
    CopyState::Chunked {
        applied,
        slot: now.clone(),
        chunks: Vec::new(),
        rows: 0,
        unproven: Vec::new(),
    }
}

fn durable(
    phase: Phase,
    copy: CopyState,
    aligned: Option<Snapshot>,
    equal: Option<bool>,
    (now, committing): (Snapshot, Vec<Xid>),
) -> Durable {
    Durable {
        phase,
        paused: false,
        copy,
        back: None,
        back_closed: false,
        detected: Seen::default(),
        aligned,
        equal,
        now,
        committing,
    }
}

/// The tables as the leader has them. In the first leg they are those of the plan, whose statements build what is missing
/// on the target; later ones find everything there.
async fn plans(shared: &Shared, leader: &Session) -> Result<Vec<Plan>, Failure> {
    let mut plan = shared.plan.clone();
    if shared.leg > 0 {
        let names = shared.tables();
        let read = tables::read_all(leader, &names).await?;
        let step = |table: tables::Table| {
            Step::CopyIntoTables(Box::new(CopyStep {
                statements: Vec::new(),
                ..table.step
            }))
        };
        plan.steps = read.into_iter().map(step).collect();
        plan.server = shared.leader().server.clone();
    }
    Ok((0..plan.steps.len())
        .map(|number| plan.of_table(number))
        .collect())
}

/// A copy that was not finished begins again: nothing is provable of a table half filled (R11).
async fn empty(shared: &Shared, follower: &Session, plan: &Plan) -> Result<(), Failure> {
    let Step::CopyIntoTables(step) = &plan.steps[0];
    let side = shared.follower();
    side.begin(follower, &plan.name).await?;
    for target in &step.targets {
        follower.batch_execute(&copy::empty(target)).await?;
    }
    Ok(follower.batch_execute("COMMIT").await?)
}

/// The slot of this leg, with what is needed of it (R22). Says up to where it was acknowledged: no table that is still to be
/// copied has let it go further.
async fn check_slot(shared: &Shared, leader: &Session, applied: Option<Lsn>) -> Result<Lsn, Failure> {
    let name = shared.slot(shared.direction());
    let lost = |code, what: &str| {
        Failure::needs_operator(
            code,
            format!("the slot {name} {what}"),
            "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` ends \
             the move.",
        )
    };
    let Some(slot) = slot::find(leader, &name).await? else {
        return Err(lost(FailureCode::SlotMissing, "is gone, and changes with it"));
    };
    if slot.wal_status == Some(slot::WalStatus::Lost) {
        return Err(lost(FailureCode::SlotInvalidated, "was invalidated"));
    }
    let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
    if applied.is_some_and(|applied| confirmed > applied) {
        return Err(lost(FailureCode::SlotAhead, "is ahead of what the tables have"));
    }
    Ok(confirmed)
}
