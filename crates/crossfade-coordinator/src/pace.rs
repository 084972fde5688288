//! What the gate for pace is told of the servers: a task with a session of its own, since the user's query may take its
//! time, and nothing of ours may wait for it.
//!
//! It never ends the engine: what cannot be read closes the gate, and is tried again.

use std::sync::Arc;
use std::time::Duration;

use crossfade_core::limits::Limits;
use crossfade_core::migration::{Activity, Event};
use crossfade_core::pace::{Observation, Reading};
use crossfade_postgres::pace;
use crossfade_postgres::session::Session;
use tokio::sync::watch;

use crate::context::{Context, Message};
use crate::operator::Published;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// A query of the user's that takes longer is ended by the server.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that has not answered by then is taken for gone.
const LOOK_MAX: Duration = Duration::from_secs(15);

/// Looks until it is dropped; ends at once where the limits want nothing of it.
pub(crate) async fn watch(context: Arc<Context>, published: watch::Receiver<Option<Published>>) {
    let limits = context.plan.limits.clone();
    if !limits.wants_standbys() && limits.pace_query.is_none() {
        return;
    }
    let mut watcher = Watcher {
        context,
        session: None,
        hidden_told: false,
    };
    loop {
        if may_look(&published) {
            watcher.look(&limits).await;
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A query that reads the table must not queue where the cutover asks for its lock.
fn may_look(published: &watch::Receiver<Option<Published>>) -> bool {
    let published = published.borrow();
    let activity = published.as_ref().and_then(|published| published.status.activity);
    activity != Some(Activity::CuttingOver)
}

struct Watcher {
    context: Arc<Context>,
    session: Option<Session>,
    hidden_told: bool,
}

impl Watcher {
    async fn look(&mut self, limits: &Limits) {
        if limits.wants_standbys() {
            let seen = self.standbys().await;
            self.tell(Observation::Standbys(seen));
        }
        if let Some(query) = &limits.pace_query {
            let answer = self.ask(query).await;
            self.tell(Observation::Query(answer));
        }
    }

    async fn standbys(&mut self) -> Reading<Vec<crossfade_core::pace::Standby>> {
        let session = match self.session().await {
            Ok(session) => session,
            Err(why) => return Reading::Failed(why),
        };
        let seen = tokio::time::timeout(LOOK_MAX, pace::standbys(session)).await;
        match seen {
            Ok(Ok(Some(standbys))) => Reading::Known(standbys),
            Ok(Ok(None)) => {
                self.tell_hidden();
                Reading::Hidden
            }
            Ok(Err(error)) => self.failed(error.message()),
            Err(_) => self.failed("the server does not answer"),
        }
    }

    async fn ask(&mut self, query: &str) -> Reading<i64> {
        let session = match self.session().await {
            Ok(session) => session,
            Err(why) => return Reading::Failed(why),
        };
        let asked = tokio::time::timeout(LOOK_MAX, pace::ask(session, query, QUERY_TIMEOUT)).await;
        match asked {
            Ok(Ok(answer)) => Reading::Known(answer),
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("the server does not answer"),
        }
    }

    /// The session, opened again if it was given up.
    async fn session(&mut self) -> Result<&Session, String> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => {
                let opened = self.context.session().await;
                opened.map_err(|error| error.to_string())?
            }
        };
        Ok(self.session.insert(session))
    }

    /// Whatever state the session is in, the next look takes another.
    fn failed<T>(&mut self, why: &str) -> Reading<T> {
        self.session = None;
        Reading::Failed(why.to_owned())
    }

    /// Nobody hears it once the engine has ended.
    fn tell(&self, observation: Observation) {
        let event = Event::Observed(observation);
        let _ = self.context.answers.send(Ok(Message::Event(event)));
    }

    fn tell_hidden(&mut self) {
        if !std::mem::replace(&mut self.hidden_told, true) {
            self.context.line(
                "our role may not see how far standbys are behind, so replica_lag_max and replica_lag_bytes_max hold \
                 nothing back: GRANT pg_read_all_stats to it",
            );
        }
    }
}
