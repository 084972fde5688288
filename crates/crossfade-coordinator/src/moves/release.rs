//! The end of a copy that nobody is handed over to: everything up to one commit of the server that leads, and nothing behind
//! it, then the copy stands on its own. Nobody is locked out of anything, and nobody waits.
//!
//! ```text
//!  leader    ── marker ────────────────────────────────────► goes on as if nothing had been
//!  follower        └─► applied, and nothing behind it ─► BEGIN  attach, sequences, open ─ COMMIT
//! ```

use std::sync::Arc;

use crossfade_core::code::FailureCode;
use crossfade_core::phase::Phase;
use crossfade_postgres::state;
use tokio::sync::mpsc;

use super::enter;
use super::hand_over::{Ask, HandedOver, Handing};
use super::shared::Shared;
use crate::failure::Failure;

/// See the module.
pub(crate) async fn release(
    shared: Arc<Shared>,
    asks: mpsc::UnboundedSender<Ask>,
) -> Result<HandedOver, Failure> {
    let handing = Handing::prepare(&shared, asks).await?;
    let replaced = handing.replaced().await?;
    if !replaced.is_empty() {
        return Ok(HandedOver::Compare(replaced));
    }
    let marker = handing.marker(1).await?;
    handing.ask(|ready| Ask::EndBehind(marker.clone(), ready)).await?;
    let within = shared.plan.limits.cutover_max();
    let Some(moment) = handing.drain(marker, within).await? else {
        let within = humantime::format_duration(within);
        return Ok(HandedOver::TakenBack(format!(
            "the target had not caught up within cutover_max ({within})"
        )));
    };
    handing.ask(Ask::Stop).await?;
    // A rewrite is not in the stream (R4): of one before that moment nobody knows what the rows are.
    if !handing.replaced().await?.is_empty() {
        return Ok(HandedOver::TakenBack(
            "a table was rewritten meanwhile".to_owned(),
        ));
    }
    handing.check_publication().await?;
    let (name, session) = (shared.name(), &handing.follower);
    shared.target.begin(session, name).await?;
    // Somebody may read there.
    let patience = shared.plan.limits.lock_timeout().as_millis();
    session
        .batch_execute(&format!("SET LOCAL lock_timeout = {patience}"))
        .await?;
    match enter::let_in(&shared, session, &handing.witness).await {
        Err(Failure::Stopped {
            code: FailureCode::LockNotGranted,
            reason,
            ..
        }) => return Ok(HandedOver::TakenBack(reason)),
        done => done?,
    }
    state::set_phase(session, name.as_str(), Phase::Swapped).await?;
    let line = format!("the copy stands on its own, as of {moment}");
    shared.audit(session, &line, None).await?;
    session.batch_execute("COMMIT").await?;
    Ok(HandedOver::Released)
}
