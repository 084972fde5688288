//! After the swap: confirm it, validate what it left unvalidated, take slots away that nobody reads any more.

use std::time::Duration;

use crossfade_core::migration::Event;
use crossfade_core::phase::Phase;
use crossfade_core::plan::{Stage, Statement};
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::{slot, state};

use super::statements;
use crate::context::Context;
use crate::failure::Failure;

/// How long our own reader may take to let go of the slot.
pub(crate) const SLOT_RELEASE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn finish(context: &Context) -> Result<Event, Failure> {
    confirm(context).await?;
    let session = context.session().await?;
    // What became of the swap is known: nobody has to ask the server for it again.
    context.begin(&session).await?;
    state::forget_swap_attempts(&session, context.name()).await?;
    session.batch_execute("COMMIT").await?;
    let stored = state::load(&session, context.name()).await?;
    let phase = stored.map_or(Phase::Swapped, |stored| stored.phase);
    let name = &context.plan.name;
    // With a way back the detector goes on reading the slot of the way there (R31).
    let slots = match (phase, context.direction) {
        (Phase::RolledBack, _) => vec![name.slot(), name.back_slot()],
        (_, Direction::Back) => Vec::new(),
        (_, Direction::Forward) => vec![name.slot()],
    };
    for slot in slots {
        slot::drop(&session, &slot, SLOT_RELEASE_MAX).await?;
    }
    statements::run(context, &session, after_swap(context, phase)).await?;
    Ok(Event::Finished)
}

/// What comes after the swap that was the last: that of the way there, or that of the way back.
pub(crate) fn after_swap(context: &Context, phase: Phase) -> Vec<(i32, &Statement)> {
    match phase {
        Phase::RolledBack => context.statements(Stage::AfterSwap),
        Phase::Planned
        | Phase::Prepared
        | Phase::Copying
        | Phase::Copied
        | Phase::Following
        | Phase::Ready
        | Phase::Swapped
        | Phase::Completed
        | Phase::Aborted => context.statements_there(Stage::AfterSwap),
    }
}

/// The swap did not wait for standbys, whose lock it would have prolonged; this ordinary commit does (R29).
async fn confirm(context: &Context) -> Result<(), Failure> {
    let options = SessionOptions {
        search_path: String::new(),
        synchronous_commit: SynchronousCommit::On,
        writes_for: None,
    };
    let session = Session::open(&context.config, &options).await?;
    context.audit(&session, "confirmed the swap", None).await
}
