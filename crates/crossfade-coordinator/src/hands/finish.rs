//! After the swap: confirm it, validate what it left unvalidated, take slot and publication away.

use std::time::Duration;

use crossfade_core::migration::Event;
use crossfade_core::plan::Stage;
use crossfade_postgres::session::{Session, SessionOptions, SynchronousCommit};
use crossfade_postgres::slot;

use super::statements;
use crate::context::Context;
use crate::failure::Failure;

/// How long our own reader may take to let go of the slot.
pub(crate) const SLOT_RELEASE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn finish(context: &Context) -> Result<Event, Failure> {
    confirm(context).await?;
    let session = context.session().await?;
    slot::drop(&session, &context.plan.name.slot(), SLOT_RELEASE_MAX).await?;
    statements::run_in_order(context, Stage::AfterSwap).await?;
    Ok(Event::Finished)
}

/// The swap did not wait for standbys, whose lock it would have prolonged; this ordinary commit does (R29).
async fn confirm(context: &Context) -> Result<(), Failure> {
    let options = SessionOptions {
        search_path: String::new(),
        synchronous_commit: SynchronousCommit::On,
        system_identifier: Some(context.plan.server.system_identifier),
    };
    let session = Session::open(&context.config, &options).await?;
    context.audit(&session, "confirmed the swap", None).await
}
