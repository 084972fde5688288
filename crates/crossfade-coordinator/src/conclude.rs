//! How an engine's end is told: what a stop means and what is left to do for it, and what a failure means for whoever
//! started the run.

use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_core::migration::Stop;
use crossfade_core::refusal::Refusal;
use crossfade_core::way_back::Direction;
use crossfade_postgres::slot;

use crate::context::Context;
use crate::ended::Ended;
use crate::failure::Failure;
use crate::hands::SLOT_RELEASE_MAX;
use crate::operate;
use crate::operator::store_report;
use crate::report::{Report, Verification, now_ms};

/// What a stop means, and what is left to do for it.
pub(crate) async fn conclude(
    context: &Context,
    stopped: Result<Stop, Failure>,
    mut report: Report,
) -> Result<Option<Ended>, Failure> {
    let stop = match stopped {
        Ok(stop) => stop,
        Err(failure) => {
            store_quietly(context, &report).await;
            return Err(match was_superseded(context).await {
                true => Failure::Superseded,
                false => failure,
            });
        }
    };
    if stop != Stop::Again {
        report.timeline.ended.get_or_insert_with(now_ms);
    }
    store_quietly(context, &report).await;
    if let Stop::WalBudget { .. } = stop {
        // Before anything that may have to wait: the server's disk does not.
        drop_budgeted(context).await?;
    }
    if context.direction == Direction::Forward && stop != Stop::Again {
        // Nothing was swapped that it could lead back from, and nobody is left to read it.
        drop_slot(context, &context.plan.name.back_slot()).await?;
    }
    Ok(Some(match stop {
        Stop::Again => return Ok(None),
        Stop::Done => Ended::Done(Box::new(report)),
        Stop::Interrupted => Ended::Interrupted,
        Stop::Aborted => operate::abort(&context.config, &context.plan.name)
            .await
            .unwrap_or_else(|ended| ended),
        Stop::NotEqual(found) => {
            let verification = report
                .verification
                .unwrap_or_else(|| Verification::new(context.direction, &found, Vec::new()));
            Ended::NotEqual {
                verification: Box::new(verification),
            }
        }
        Stop::CutoverNotAchieved { obstacle, attempts } => Ended::CutoverNotAchieved { obstacle, attempts },
        Stop::OutOfTime => end(Failure::stopped(
            FailureCode::ExecutionMax,
            "execution_max has passed",
            "Go on with `crossfade continue`.",
        )),
        Stop::WalBudget { retained } if context.direction == Direction::Back => end(Failure::needs_operator(
            FailureCode::RetainedWalMax,
            format!(
                "the slots of the way back retained {retained} bytes of WAL, more than retained_wal_max; they were dropped"
            ),
            "There is no way back any more; the new table is in its place and complete. `crossfade complete` ends the \
             migration.",
        )),
        Stop::WalBudget { retained } => end(Failure::needs_operator(
            FailureCode::RetainedWalMax,
            format!("our slot retained {retained} bytes of WAL, more than retained_wal_max; it was dropped"),
            "The source is untouched. `crossfade abort`, raise the limit or choose a quieter hour, then run the change \
             again.",
        )),
        Stop::SourceRewritten => end(Failure::needs_operator(
            FailureCode::SourceRewritten,
            "the table was rewritten while it was copied (VACUUM FULL, CLUSTER, or ALTER TABLE), and a rewrite is not in \
             the stream",
            "The source is untouched. `crossfade abort`, then plan the change again.",
        )),
        Stop::CannotFollow(error) => end(Failure::needs_operator(
            FailureCode::NotAppendOnly,
            error,
            "The source is untouched. `crossfade abort`; give the table a primary key, then run the change again.",
        )),
    }))
}

/// Whoever takes a migration over ends our sessions and may take our slots: what we have met then is not what ails it.
async fn was_superseded(context: &Context) -> bool {
    let asking = async {
        let session = context.session().await?;
        context.begin(&session).await
    };
    matches!(
        tokio::time::timeout(STORE_MAX, asking).await,
        Ok(Err(Failure::Superseded))
    )
}

/// How long the end of an engine may wait for its report: a session that it has just let go of may still hold the
/// row, until its server process notices.
const STORE_MAX: Duration = Duration::from_secs(2);

/// The report is for people; that it cannot be written must not hide why the engine ended, nor keep it from ending.
async fn store_quietly(context: &Context, report: &Report) {
    let storing = async {
        let session = context.session().await?;
        store_report(&session, context.name(), report).await
    };
    match tokio::time::timeout(STORE_MAX, storing).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the report was not stored"),
        Err(_) => tracing::warn!("the report was not stored in time"),
    }
}

/// The slots that retain more than they may.
async fn drop_budgeted(context: &Context) -> Result<(), Failure> {
    let name = &context.plan.name;
    let slots = match context.direction {
        Direction::Forward => vec![name.slot()],
        Direction::Back => vec![name.back_slot(), name.slot()],
    };
    for slot in slots {
        drop_slot(context, &slot).await?;
    }
    Ok(())
}

/// Unless another engine has taken over: it has the slots now.
async fn drop_slot(context: &Context, name: &str) -> Result<(), Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    session.batch_execute("COMMIT").await?;
    slot::drop(&session, name, SLOT_RELEASE_MAX).await?;
    context
        .audit(&session, &format!("dropped the slot {name}"), None)
        .await
}

/// What a failure means for whoever started the run.
pub(crate) fn end(failure: Failure) -> Ended {
    match failure {
        Failure::Lost { what } => end(Failure::no_access(FailureCode::CannotConnect, what)),
        Failure::NoAccess { code, reason } => Ended::NoAccess { code, reason },
        Failure::Superseded => end(Failure::stopped(
            FailureCode::Superseded,
            "another engine has taken this migration over, or it was aborted",
            "`crossfade status` says which.",
        )),
        Failure::Refused {
            code,
            object,
            reason,
            remedy,
        } => Ended::Refused(vec![Refusal {
            code,
            object,
            message: reason,
            remedy: remedy.to_owned(),
        }]),
        Failure::Stopped { code, reason, remedy } => Ended::Stopped { code, reason, remedy },
        Failure::NeedsOperator { code, reason, remedy } => Ended::NeedsOperator { code, reason, remedy },
    }
}
