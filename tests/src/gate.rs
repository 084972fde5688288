//! Holds an engine exactly where it writes a phase, or a line of the audit trail, down.
//!
//! A trigger on the state's table takes a shared advisory lock named after what is written; whoever holds that lock
//! exclusively keeps the engine there: what came before is durable, this is not. The engine knows nothing of it, and
//! a `kill -9` there is a crash at that transition.

use anyhow::Result;
use crossfade_core::phase::Phase;
use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::session::{Session, SessionOptions};
use crossfade_postgres::state;
use tokio_postgres::Client;

use crate::stage::Stage;
use crate::until;

const TRIGGERS: &str = "
CREATE FUNCTION public.wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.pg_advisory_xact_lock_shared(pg_catalog.hashtext(pg_catalog.to_jsonb(NEW) ->> TG_ARGV[0]));
    RETURN NEW;
END $$;
GRANT EXECUTE ON FUNCTION public.wait_at_gate() TO PUBLIC;
CREATE TRIGGER gate BEFORE UPDATE OF phase ON crossfade.migration
    FOR EACH ROW WHEN (OLD.phase IS DISTINCT FROM NEW.phase) EXECUTE FUNCTION public.wait_at_gate('phase');
CREATE TRIGGER gate BEFORE INSERT ON crossfade.audit FOR EACH ROW EXECUTE FUNCTION public.wait_at_gate('what');";

const WAITING: &str = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// A gate that is closed until it is dropped.
pub struct Gate {
    /// Holds the lock: it is free when the session ends.
    holder: Client,
    place: String,
}

impl Gate {
    /// Closes the gate in front of `phase`, before the engine is started.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn close(stage: &Stage, phase: Phase) -> Result<Gate> {
        Gate::close_at(stage, phase.as_str()).await
    }

    /// Closes the gate in front of the audit trail's line `what`, or the phase of that word.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn close_at(stage: &Stage, what: &str) -> Result<Gate> {
        let holder = stage.superuser().await?;
        let there = "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgname = 'gate')";
        if !holder.query_one(there, &[]).await?.get::<_, bool>(0) {
            let session = Session::open(
                &ConnectConfig::parse(&stage.engine())?,
                &SessionOptions::default(),
            )
            .await?;
            state::ensure(&session).await?;
            holder.batch_execute(TRIGGERS).await?;
        }
        holder
            .execute("SELECT pg_advisory_lock(hashtext($1))", &[&what])
            .await?;
        Ok(Gate {
            holder,
            place: what.to_owned(),
        })
    }

    /// Waits until the engine stands in front of it.
    ///
    /// # Errors
    /// It never does.
    pub async fn reached(&self) -> Result<()> {
        let what = format!("the engine is about to write down `{}`", self.place);
        until::so(what, || self.is_reached()).await
    }

    /// Whether the engine stands in front of it.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn is_reached(&self) -> Result<bool> {
        Ok(self.holder.query_one(WAITING, &[]).await?.get(0))
    }

    /// Lets the engine through once: the next time it stands here again.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn step(&self) -> Result<()> {
        // In one message, so that the lock is asked for before the engine comes back.
        let place = &self.place;
        let step = format!(
            "SELECT pg_advisory_unlock(hashtext('{place}')); SELECT pg_advisory_lock(hashtext('{place}'))"
        );
        Ok(self.holder.batch_execute(&step).await?)
    }

    /// Lets the engine through.
    ///
    /// # Errors
    /// What the server answered.
    pub async fn open(self) -> Result<()> {
        self.holder
            .execute("SELECT pg_advisory_unlock(hashtext($1))", &[&self.place])
            .await?;
        Ok(())
    }
}
