//! A native subscription to the table that is changed, in another database of the same server.
//!
//! It is disabled but while it drains. Its settings are those that `CREATE SUBSCRIPTION` gives it by itself.

use std::time::Duration;

use crossfade_postgres::ident::{Ident, literal};
use crossfade_postgres::session::Session;
use tokio::time::{Instant, sleep};

use crate::BenchError;
use crate::engine::{PATIENCE, late};
use crate::ground::{Ground, MAIN, SUBSCRIBER};
use crate::table;

/// Its own, and its slot's.
const NAME: &str = "bench_of_crossfade";
const SLOT: &str = "SELECT pg_catalog.pg_create_logical_replication_slot($1::text, 'pgoutput')";
const COPIED: &str = "SELECT bool_and(srsubstate = 'r') FROM pg_catalog.pg_subscription_rel";
/// Where its worker is: the end of the last transaction that it committed.
const POSITION: &str = "\
SELECT (pg_catalog.pg_replication_origin_progress('pg_' || s.oid, false) - '0/0'::pg_lsn)::int8
  FROM pg_catalog.pg_subscription AS s WHERE s.subname = $1::text";
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Subscription {
    session: Session,
}

impl Subscription {
    /// Makes it and waits until it has copied the table.
    pub(super) async fn make(
        ground: &Ground,
        main: &Session,
        publication: &str,
    ) -> Result<Subscription, BenchError> {
        ground.make(SUBSCRIBER).await?;
        let session = ground.session(SUBSCRIBER).await?;
        table::build(&session, 0, 0, 0).await?;
        // On one server the statement would wait for itself if it made its own slot.
        main.query_one(SLOT, &[&NAME]).await?;
        let statement = format!(
            "CREATE SUBSCRIPTION {NAME} CONNECTION {} PUBLICATION {} WITH (create_slot = false, slot_name = {NAME})",
            literal(&ground.connection(MAIN)),
            Ident(publication)
        );
        session.batch_execute(&statement).await?;
        let subscription = Subscription { session };
        // A worker that is not started, or cannot connect, is told from one that copies for long.
        super::scene::slot_is(main, NAME, true).await?;
        subscription.copied().await?;
        // Its progress is ours to read, or nothing is to be measured.
        subscription.position().await?;
        subscription.enable(false).await?;
        super::scene::slot_is(main, NAME, false).await?;
        Ok(subscription)
    }

    async fn copied(&self) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let row = self.session.query_one(COPIED, &[]).await?;
            if row.get::<_, Option<bool>>(0) == Some(true) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(late("the copy of a subscription"));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Lets its worker work, or not.
    pub(super) async fn enable(&self, wanted: bool) -> Result<(), BenchError> {
        let verb = if wanted { "ENABLE" } else { "DISABLE" };
        let statement = format!("ALTER SUBSCRIPTION {NAME} {verb}");
        Ok(self.session.batch_execute(&statement).await?)
    }

    /// Everything that was committed up to there is applied.
    pub(super) async fn position(&self) -> Result<u64, BenchError> {
        let row = self.session.query_one(POSITION, &[&NAME]).await?;
        Ok(row.get::<_, Option<i64>>(0).map_or(0, i64::cast_unsigned))
    }

    /// The slot that its worker reads.
    pub(super) fn slot(&self) -> &'static str {
        NAME
    }

    /// A session in its database.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}
