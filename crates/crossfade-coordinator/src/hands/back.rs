//! The way back: what must be there before the cutover, where the reverse stream begins, and its end when the
//! retired table does not take a row.

use crossfade_core::migration::Event;
use crossfade_core::plan::Stage;
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_postgres::{slot, state};
use crossfade_replication::slot as replication_slot;
use crossfade_replication::transport::Connection;

use super::finish::SLOT_RELEASE_MAX;
use super::statements;
use crate::context::Context;
use crate::failure::Failure;

/// The publication, then the slot (R3). A slot that an earlier attempt made is made anew: between the two nothing
/// was read from it, and what it retains is of no use.
pub(super) async fn prepare(context: &Context) -> Result<Event, Failure> {
    let session = context.session().await?;
    slot::drop(&session, &context.plan.name.back_slot(), SLOT_RELEASE_MAX).await?;
    for (_, statement) in context.statements_back(Stage::Prepare) {
        statements::run_patiently(context, &session, statement, None).await?;
    }
    context.begin(&session).await?;
    context.record_publication(&session, Direction::Back).await?;
    session.batch_execute("COMMIT").await?;
    context.line("creating the slot for the way back: the server first waits for every transaction that is writing now");
    let mut connection = Connection::open(&context.config).await?;
    replication_slot::create(&mut connection, &context.plan.name.back_slot()).await?;
    context
        .audit(&session, "created the slot for the way back", None)
        .await?;
    Ok(Event::BackPrepared)
}

/// The end of the swap's commit record (R31): from here on the position moves with the rows.
pub(super) async fn begin(context: &Context, at: Lsn) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    state::start_position(&session, context.name(), Direction::Back, at).await?;
    context.audit(&session, "the way back begins", None).await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::BackBegun)
}

/// Writes down why the retired table no longer follows. The slot stays, up to the WAL budget: once the row is mended,
/// the way back can go on.
pub(super) async fn close(context: &Context, since: Lsn, reason: String) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    context.line(format!("the way back is closed since {since}: {reason}"));
    let closed = state::Closed { since, reason };
    state::close_way_back(&session, context.name(), &closed).await?;
    context.audit(&session, "the way back is closed", None).await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::BackClosed)
}

/// The row that was refused has been taken.
pub(super) async fn reopen(context: &Context) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    state::open_way_back(&session, context.name()).await?;
    context
        .audit(&session, "the way back is open again", None)
        .await?;
    session.batch_execute("COMMIT").await?;
    Ok(Event::BackReopened)
}
