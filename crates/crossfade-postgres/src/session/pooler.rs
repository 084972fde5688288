//! Is this session ours alone? Behind a pooler in transaction mode each transaction runs in whatever session is free: our
//! settings, locks and prepared statements would be somebody else's.

use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::{ConnectError, Session, SessionOptions, SqlError, several};

/// Which session has it last.
const MARK: &str = "SELECT pg_catalog.current_setting('crossfade.session', true)";

impl Session {
    /// Refuses a server that shares its sessions, and an address that leads to several servers. Outside of a transaction.
    ///
    /// A setting of this session is looked for in a second one, which holds a transaction open: it must not be there, and
    /// still be here.
    ///
    /// # Errors
    /// [`ConnectError::Pooled`], [`ConnectError::Several`], or why there is no second session.
    pub async fn refuse_pooler(&self) -> Result<(), ConnectError> {
        let config = &self.way.config;
        let looking = timeout(config.connect_timeout, self.look_for_pooler());
        match looking.await {
            Ok(Ok(())) => several::look(config, several::LOOKS_FIRST)
                .await
                .map_or(Ok(()), Err),
            Ok(Err(error)) => Err(error.or_several(config).await),
            Err(_) => Err(ConnectError::CannotConnect {
                server: config.to_string(),
                reason: "a second session does not answer beside the first one".to_owned(),
            }),
        }
    }

    async fn look_for_pooler(&self) -> Result<(), ConnectError> {
        let config = &self.way.config;
        let preparing = |error: SqlError| ConnectError::preparing(config, &error);
        let mark = format!("{} {}", self.backend.pid, self.backend.started);
        let set = format!("SET crossfade.session = '{mark}'");
        self.batch_execute(&set).await.map_err(preparing)?;
        let other = Session::open_once(config, &SessionOptions::default()).await?;
        other.batch_execute("BEGIN").await.map_err(preparing)?;
        let there = other.mark().await.map_err(preparing)?;
        let shared = there.as_deref() == Some(mark.as_str()) || {
            let here = self.mark().await.map_err(preparing)?;
            here.as_deref() != Some(mark.as_str())
        };
        match shared {
            true => Err(ConnectError::Pooled {
                server: config.to_string(),
            }),
            false => Ok(()),
        }
    }

    async fn mark(&self) -> Result<Option<String>, SqlError> {
        let answer = self.client.simple_query(MARK).await;
        let answer = answer.map_err(|error| SqlError::new(MARK, &error))?;
        Ok(answer.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }
}
