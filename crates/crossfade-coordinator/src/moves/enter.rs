//! What makes a server lead, and what lets the other one follow.

use std::time::Duration;

use crossfade_core::code::FailureCode;
use crossfade_postgres::moves::{attachments, lockout, sequences};
use crossfade_postgres::session::{Session, SqlClass};
use crossfade_postgres::state::{self, Mark};

use super::shared::{Shared, Side};
use crate::failure::Failure;

/// In an open transaction on the server that is to lead: attaches what acts where the tables lead, moves the sequences
/// ahead to where they are on the server that is left, and lets writers in. `leg` is the one that begins.
pub(crate) async fn enter(
    shared: &Shared,
    session: &Session,
    left: &Session,
    leg: i32,
) -> Result<(), Failure> {
    let_in(shared, session, left).await?;
    state::mark(session, shared.name().as_str(), leg, Mark::Entered).await?;
    shared
        .audit(session, &format!("leads from leg {leg} on"), None)
        .await
}

/// The same without a word of who leads.
pub(crate) async fn let_in(shared: &Shared, session: &Session, left: &Session) -> Result<(), Failure> {
    let destination = shared.destination()?;
    let there = attachments::present(session, &destination.attachments).await?;
    let missing = destination.attachments.iter().enumerate();
    let mut script: Vec<String> = missing
        .filter(|(number, _)| !there.contains(number))
        .map(|(_, attachment)| attachment.attach.clone())
        .collect();
    let places = sequences::read(left, &destination.sequences).await?;
    script.extend(sequences::set(&destination.sequences, &places));
    script.push(lockout::open(&destination.relations));
    Ok(session.batch_execute(&script.join(";\n")).await?)
}

/// After a hand-over that was decided, and whose second half may be missing.
pub(crate) async fn complete_hand_over(shared: &Shared) -> Result<(), Failure> {
    let (leader, follower, name) = (shared.leader(), shared.follower(), shared.name());
    let session = leader.session(name).await?;
    let entered = state::marked(&session, name.as_str(), Mark::Entered).await?;
    if shared.leg == 0 || entered >= Some(shared.leg) {
        return Ok(());
    }
    let left = follower.session(name).await?;
    let tables = shared.state_names();
    if !state::has_everything(&left, &session, name.as_str(), shared.leg, &tables).await? {
        return Err(Failure::needs_operator(
            FailureCode::SwapUnresolved,
            format!(
                "leg {} was decided, and the tables at {} do not have everything that they had then: that server has lost \
                 its last transactions (a failover, or a restore)",
                shared.leg, leader.place
            ),
            "The server that was left is complete, and shut to writers. Judge what is missing; `DROP TRIGGER \
             crossfade_lockout` on its tables lets them in there again.",
        ));
    }
    leader.begin(&session, name).await?;
    session
        .batch_execute(&format!("SET LOCAL lock_timeout = {ENTER_MS}"))
        .await?;
    enter(shared, &session, &left, shared.leg).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Readers there are waited for so long, and then again by the next engine.
const ENTER_MS: u32 = 5_000;

/// How long one attempt to take something off the follower may queue, and how often it is tried: readers are there still.
const SLICE_MS: u32 = 500;
const ATTEMPTS: u32 = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// Takes off the server that follows what would act on rows by itself (R21). It is shut to writers, and may be read.
pub(crate) async fn detach(shared: &Shared) -> Result<(), Failure> {
    let (destination, side) = (shared.destination()?, shared.follower());
    let session = side.session(shared.name()).await?;
    for number in attachments::present(&session, &destination.attachments).await? {
        let detach = &destination.attachments[number].detach;
        run_patiently(shared, side, &session, detach).await?;
    }
    Ok(())
}

/// Runs a statement that takes a strong lock, queueing for it again and again, for moments only.
pub(crate) async fn run_patiently(
    shared: &Shared,
    side: &Side,
    session: &Session,
    sql: &str,
) -> Result<(), Failure> {
    for attempt in 1.. {
        match run_once(shared, side, session, sql).await {
            Err(Failure::Stopped {
                code: FailureCode::LockNotGranted,
                ..
            }) if attempt < ATTEMPTS => tokio::time::sleep(PAUSE).await,
            outcome => return outcome,
        }
    }
    Ok(())
}

async fn run_once(shared: &Shared, side: &Side, session: &Session, sql: &str) -> Result<(), Failure> {
    side.begin(session, shared.name()).await?;
    session
        .batch_execute(&format!("SET LOCAL lock_timeout = {SLICE_MS}"))
        .await?;
    if let Err(error) = session.batch_execute(sql).await {
        if error.class() != SqlClass::Lost {
            session.batch_execute("ROLLBACK").await?;
        }
        return Err(error.into());
    }
    shared.audit(session, "ran", Some(sql)).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Makes sure of the rows behind what was attached without looking at them, and fills views that hold rows.
/// `side` has the tables that applications use from now on.
pub(crate) async fn validate(shared: &Shared, side: &Side) -> Result<(), Failure> {
    let (destination, name) = (shared.destination()?, shared.name());
    let session = side.session(name).await?;
    for attachment in &destination.attachments {
        if let Some(validate) = &attachment.validate {
            // Of one that is valid it does nothing.
            session.batch_execute(validate).await?;
        }
    }
    if shared.leg > 1 {
        return Ok(());
    }
    let home = shared.target.session(name).await?;
    if let Some((after, refresh)) = state::kept_dump(&home, name.as_str()).await?
        && !refresh.is_empty()
    {
        session.batch_execute(&refresh).await?;
        state::keep_dump(&home, name.as_str(), &after, "").await?;
    }
    Ok(())
}
