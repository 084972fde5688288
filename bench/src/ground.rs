//! The databases that measurements happen in: ours alone, made for a run and dropped with everything that hangs on them.
//!
//! Invariants: nothing is dropped that does not say that it is ours; a slot of ours never outlives its database, since it
//! would retain WAL for ever.

use std::time::Duration;

use crossfade_postgres::connect::ConnectConfig;
use crossfade_postgres::ident::{Ident, literal};
use crossfade_postgres::session::{ConnectError, Session, SessionOptions, SqlError};

/// Where tables are changed and copied.
pub(crate) const MAIN: &str = "crossfade_bench";
/// Where a subscription applies to.
pub(crate) const SUBSCRIBER: &str = "crossfade_bench_subscriber";
/// What the comment on a database of ours is.
const OURS: &str = "made by crossfade bench, which drops it";
/// How long readers of a slot may take to let go of it.
const LET_GO_MAX: Duration = Duration::from_secs(20);

const OWNER: &str = "\
SELECT pg_catalog.shobj_description(oid, 'pg_database') IS NOT DISTINCT FROM $2::text
  FROM pg_catalog.pg_database WHERE datname = $1::text";
const SLOTS: &str = "SELECT slot_name::text FROM pg_catalog.pg_replication_slots WHERE database = $1::text";
const END_READERS: &str = "\
SELECT pg_catalog.pg_terminate_backend(active_pid) FROM pg_catalog.pg_replication_slots
 WHERE database = $1::text AND active_pid IS NOT NULL";
const SUBSCRIPTIONS: &str = "\
SELECT s.subname::text FROM pg_catalog.pg_subscription AS s JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
 WHERE d.datname = $1::text";

/// Why there is no database to measure in.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// No session.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A statement failed.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A slot of a database of ours could not be dropped.
    #[error(transparent)]
    Slot(#[from] crossfade_postgres::slot::DropSlotError),
    /// A database has our name and not our comment.
    #[error("use the database {name}: it was not made by crossfade bench")]
    NotOurs {
        /// Its name.
        name: String,
    },
}

/// A server to measure on.
#[derive(Clone, Debug)]
pub struct Ground {
    config: ConnectConfig,
    connection: String,
}

impl Ground {
    /// `connection` is what `config` was made from: a subscription's worker will connect by it, from the server.
    pub fn new(config: ConnectConfig, connection: impl Into<String>) -> Ground {
        Ground {
            config,
            connection: connection.into(),
        }
    }

    /// A session in the database that was given.
    ///
    /// # Errors
    /// As the server says.
    pub async fn admin(&self) -> Result<Session, ConnectError> {
        Session::open(&self.config, &SessionOptions::default()).await
    }

    /// How to reach a database of ours.
    pub(crate) fn config(&self, database: &str) -> ConnectConfig {
        self.config.with_database(database)
    }

    /// The same for libpq.
    pub(crate) fn connection(&self, database: &str) -> String {
        with_database(&self.connection, database)
    }

    /// A session in a database of ours that finds our tables.
    pub(crate) async fn session(&self, database: &str) -> Result<Session, ConnectError> {
        let options = SessionOptions {
            search_path: crate::SCHEMA.to_owned(),
            ..SessionOptions::default()
        };
        Session::open(&self.config(database), &options).await
    }

    /// Makes a database of ours, instead of one that is there.
    pub(crate) async fn make(&self, database: &str) -> Result<(), GroundError> {
        self.remove(database).await?;
        let admin = self.admin().await?;
        let name = Ident(database);
        admin
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await?;
        let comment = format!("COMMENT ON DATABASE {name} IS {}", literal(OURS));
        Ok(admin.batch_execute(&comment).await?)
    }

    /// Drops everything of ours; does nothing where there is nothing.
    ///
    /// # Errors
    /// As the server says.
    pub async fn clear(&self) -> Result<(), GroundError> {
        self.remove(SUBSCRIBER).await?;
        self.remove(MAIN).await
    }

    async fn remove(&self, database: &str) -> Result<(), GroundError> {
        let admin = self.admin().await?;
        let Some(found) = admin.query_opt(OWNER, &[&database, &OURS]).await? else {
            return Ok(());
        };
        if !found.get::<_, bool>(0) {
            let name = database.to_owned();
            return Err(GroundError::NotOurs { name });
        }
        self.drop_subscriptions(&admin, database).await?;
        // Slots are dropped from a session of their own database.
        let inside = self.session(database).await?;
        admin.query(END_READERS, &[&database]).await?;
        for slot in admin.query(SLOTS, &[&database]).await? {
            crossfade_postgres::slot::drop(&inside, slot.get(0), LET_GO_MAX).await?;
        }
        drop(inside);
        let statement = format!("DROP DATABASE {} WITH (FORCE)", Ident(database));
        Ok(admin.batch_execute(&statement).await?)
    }

    async fn drop_subscriptions(&self, admin: &Session, database: &str) -> Result<(), GroundError> {
        let found = admin.query(SUBSCRIPTIONS, &[&database]).await?;
        if found.is_empty() {
            return Ok(());
        }
        let inside = self.session(database).await?;
        for row in found {
            let name = Ident(row.get(0));
            // Its slot goes with the database that it reads.
            for statement in [
                format!("ALTER SUBSCRIPTION {name} DISABLE"),
                format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
                format!("DROP SUBSCRIPTION {name}"),
            ] {
                inside.batch_execute(&statement).await?;
            }
        }
        Ok(())
    }
}

/// The same connection string, to another database.
fn with_database(connection: &str, database: &str) -> String {
    let Some((scheme, rest)) = connection.split_once("://") else {
        // Of keywords that are given twice the last one counts.
        return format!("{connection} dbname={database}");
    };
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let authority = place.split('/').next().unwrap_or_default();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{authority}/{database}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_database_is_named_in_both_forms() {
        assert_eq!(with_database("host=a dbname=b", "c"), "host=a dbname=b dbname=c");
        assert_eq!(
            with_database("postgres://me@db:5432/shop?sslmode=require", "c"),
            "postgres://me@db:5432/c?sslmode=require"
        );
        assert_eq!(with_database("postgresql://db", "c"), "postgresql://db/c");
    }
}
