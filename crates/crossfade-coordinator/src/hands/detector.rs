//! The detector's reader (R31): the slot of the way there lives on after the swap, and its table is the retired one now.

use crossfade_core::detector::{Seen, Stray, Strays};
use crossfade_core::migration::{Event, copy_step};
use crossfade_core::position::Lsn;
use crossfade_core::way_back::Direction;
use crossfade_postgres::session::Session;
use crossfade_postgres::slot::{self, Slot, WalStatus};
use crossfade_postgres::state;
use crossfade_replication::shape::Shape;
use crossfade_replication::slot as replication_slot;
use crossfade_replication::transport::Connection;

use super::Hands;
use super::finish::SLOT_RELEASE_MAX;
use super::follow::{failure_of, start_reader};
use crate::context::Context;
use crate::failure::Failure;

const AGAIN: &str = "The new table is in its place and complete. `crossfade continue` goes on, and looks at the retired \
                     table with a new slot if need be; `crossfade complete` ends the migration.";

impl Hands {
    /// Starts the reader. What the retired table looks like does not matter to it: whoever alters that table shall not
    /// end the way back.
    pub(super) fn detect(&mut self, from: Lsn) {
        let context = &self.context;
        let source = &copy_step(&context.plan).source;
        let shape = Shape::only_whether(source.oid, source.name.clone());
        let (reader, items) = start_reader(context, Direction::Forward, vec![shape], from);
        self.detector = Some(reader);
        self.detected = Some(items);
    }

    pub(super) fn end_detector(&mut self) {
        if let Some(reader) = self.detector.take() {
            reader.stop();
        }
        self.detected = None;
    }

    /// Why the channel of its items has ended.
    pub(super) async fn detector_ended(&mut self) -> Failure {
        self.detected = None;
        failure_of(self.detector.take(), AGAIN).await
    }
}

/// Writes down what was seen, and tells of strays that nobody has been told of.
pub(super) async fn note(context: &Context, seen: Seen) -> Result<Event, Failure> {
    let session = context.session().await?;
    context.begin(&session).await?;
    let known = state::seen(&session, context.name()).await?.strays.count;
    state::note_seen(&session, context.name(), &seen).await?;
    let news = seen.strays.count > known;
    if news {
        context
            .audit(&session, "others wrote to the retired table", None)
            .await?;
    }
    session.batch_execute("COMMIT").await?;
    if news {
        context.line(format!(
            "{}: a rollback first compares every row",
            in_words(&seen.strays)
        ));
    }
    Ok(Event::SeenNoted)
}

/// What is known of them, for people.
pub(crate) fn in_words(strays: &Strays) -> String {
    let left = strays.count.saturating_sub(strays.settled);
    let first = match strays.first {
        Some(Stray { lsn, xid: Some(xid) }) => format!(", the first at {lsn}: transaction {xid}"),
        Some(Stray { lsn, xid: None }) => format!(", the first unseen: nobody looked before {lsn}"),
        None => String::new(),
    };
    format!("the retired table was written to {left} times by others than the engine{first}")
}

/// What was written down, with a slot that goes on from there. Where the slot does not any more, it is made anew; what
/// happened meanwhile nobody has seen, which counts as a stray.
pub(crate) async fn find_or_begin_anew(session: &Session, context: &Context) -> Result<Seen, Failure> {
    let (name, slot_name) = (context.name(), context.plan.name.slot());
    let mut seen = state::seen(session, name).await?;
    // Until the swap has come by nothing was acknowledged beyond what the forward stream has applied.
    let acknowledged = match seen.upto {
        Some(upto) => Some(upto),
        None => state::position(session, name, Direction::Forward).await?,
    };
    let slot = slot::find(session, &slot_name).await?;
    if slot.is_some_and(|slot| goes_on(&slot, acknowledged)) {
        return Ok(seen);
    }
    slot::drop(session, &slot_name, SLOT_RELEASE_MAX).await?;
    let mut connection = Connection::open(&context.config).await?;
    let created = replication_slot::create(&mut connection, &slot_name)
        .await
        .map_err(Failure::from)?;
    seen.upto = Some(created.consistent_point);
    seen.strays.add(Stray {
        lsn: created.consistent_point,
        xid: None,
    });
    context.begin(session).await?;
    state::note_seen(session, name, &seen).await?;
    context
        .audit(session, "made the detector's slot anew", None)
        .await?;
    session.batch_execute("COMMIT").await?;
    context.line(format!(
        "the slot {slot_name} was gone, and with it what was written to the retired table meanwhile: a rollback first \
         compares every row"
    ));
    Ok(seen)
}

fn goes_on(slot: &Slot, acknowledged: Option<Lsn>) -> bool {
    let lost = slot.wal_status == Some(WalStatus::Lost);
    let ahead = slot.confirmed_flush_lsn > acknowledged;
    !lost && !ahead
}
