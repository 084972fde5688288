//! A session of the engine: opened with pinned settings, named, known by its backend.
//!
//! Invariants: no setting of the role or the database reaches the engine's statements (expressions must mean the
//! same in every session of ours, R2); the server is a supported one and not in recovery; no error carries a
//! row's values.

mod error;
mod pooler;
pub(crate) mod settings;
mod several;

use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt as _, TryStreamExt as _};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Row, SimpleQueryMessage, ToStatement};

use crate::connect::{self, AsItIs, ConnectConfig, Route, Stream};

use self::several::Server;

pub use self::error::{ConnectError, SqlClass, SqlError};
pub use self::settings::{SessionOptions, SynchronousCommit};

/// The oldest server that is served, as `server_version_num`.
pub const VERSION_MIN: u32 = 140_000;

/// The largest message of a `COPY … FROM STDIN`, in bytes.
const COPY_MESSAGE_MAX: usize = 1 << 20;

/// What is gathered of rows that run from one server to another, in bytes: one message of theirs.
const PIPE_BUFFER: usize = 64 << 10;

/// One connection. Dropping it closes the connection once what was sent has been answered; a statement that
/// must not go on is canceled first ([`Session::canceler`]).
pub struct Session {
    client: Client,
    backend: Backend,
    server: Server,
    way: Arc<Way>,
}

/// How it was reached.
struct Way {
    config: ConnectConfig,
    route: Route,
}

/// Who we are on the server. A pid alone may be given out again; with the start time it is unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `pg_backend_pid()`.
    pub pid: i32,
    /// `pg_stat_activity.backend_start`, as text in UTC.
    pub started: String,
    /// `server_version_num`.
    pub version_num: u32,
}

/// A statement that was parsed once, and its text for error messages.
#[derive(Clone)]
pub struct Prepared {
    statement: tokio_postgres::Statement,
    text: String,
}

impl Prepared {
    /// The types of its answer's columns.
    pub fn column_types(&self) -> Vec<Type> {
        let columns = self.statement.columns().iter();
        columns.map(|column| column.type_().clone()).collect()
    }
}

/// What can be run: text, or a [`Prepared`] statement.
pub trait Runnable {
    /// What the client library takes.
    type Statement: ?Sized + ToStatement;

    /// For the client library.
    fn statement(&self) -> &Self::Statement;

    /// For error messages.
    fn text(&self) -> &str;
}

impl Runnable for str {
    type Statement = str;

    fn statement(&self) -> &str {
        self
    }

    fn text(&self) -> &str {
        self
    }
}

impl Runnable for String {
    type Statement = str;

    fn statement(&self) -> &str {
        self
    }

    fn text(&self) -> &str {
        self
    }
}

impl Runnable for Prepared {
    type Statement = tokio_postgres::Statement;

    fn statement(&self) -> &tokio_postgres::Statement {
        &self.statement
    }

    fn text(&self) -> &str {
        &self.text
    }
}

/// Cancels what a session is running, from outside.
#[derive(Clone)]
pub struct Canceler {
    token: tokio_postgres::CancelToken,
    way: Arc<Way>,
}

impl Canceler {
    /// Asks the server to cancel. That the request was delivered does not mean that the statement ended; its
    /// own answer says that.
    ///
    /// # Errors
    /// When the request could not be delivered.
    pub async fn cancel(&self) -> Result<(), SqlError> {
        const REQUEST: &str = "cancel request";
        let stream = self.way.route.open(&self.way.config).await;
        let stream = stream.map_err(|error| SqlError::unsent(REQUEST, &error))?;
        let outcome = self.token.cancel_query_raw(stream, AsItIs).await;
        outcome.map_err(|error| SqlError::new(REQUEST, &error))
    }
}

impl Session {
    /// Opens a connection, pins its settings and checks the server.
    ///
    /// # Errors
    /// When the server cannot be reached, does not let us in, or is not one that may be worked on.
    pub async fn open(config: &ConnectConfig, options: &SessionOptions) -> Result<Session, ConnectError> {
        match Self::open_once(config, options).await {
            Ok(session) => Ok(session),
            Err(error) => Err(error.or_several(config).await),
        }
    }

    /// As [`Session::open`], without a look at whether the address leads elsewhere too.
    async fn open_once(config: &ConnectConfig, options: &SessionOptions) -> Result<Session, ConnectError> {
        connect::establish(config, async |route, stream| {
            let session = Self::log_in(config, options, route, stream).await?;
            session.check(config)?;
            Ok(session)
        })
        .await
    }

    async fn log_in(
        config: &ConnectConfig,
        options: &SessionOptions,
        route: Route,
        stream: Stream,
    ) -> Result<Session, ConnectError> {
        let opened = config.to_tokio(&route).connect_raw(stream, AsItIs).await;
        let (client, connection) = opened.map_err(|error| ConnectError::opening(config, &error))?;
        let version_text = connection.parameter("server_version").map(str::to_owned);
        // The task ends with the connection; its error reaches whoever waits for an answer.
        tokio::spawn(connection);

        let major = settings::major_version(version_text.as_deref().unwrap_or_default());
        let pin = settings::pin(major, options);
        let pinned = client.batch_execute(&pin).await;
        pinned.map_err(|error| ConnectError::preparing(config, &SqlError::new(&pin, &error)))?;
        let (backend, server) = identify(&client, config).await?;
        let way = Arc::new(Way {
            config: config.clone(),
            route,
        });
        Ok(Session {
            client,
            backend,
            server,
            way,
        })
    }

    /// Whether this server may be worked on.
    fn check(&self, config: &ConnectConfig) -> Result<(), ConnectError> {
        let version_num = self.backend.version_num;
        if version_num < VERSION_MIN {
            return Err(ConnectError::TooOld { version_num });
        }
        let server = || config.to_string();
        if self.server.in_recovery {
            return Err(ConnectError::InRecovery { server: server() });
        }
        let found = self.server.system_identifier;
        match config.cluster {
            Some(expected) if expected != found => Err(ConnectError::OtherServer {
                server: server(),
                expected,
                found,
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// For code of this crate that is generic over the client library's own trait, or that needs an answer's
    /// position and detail.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Who we are on the server.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }

    /// `pg_backend_pid()`.
    pub fn pid(&self) -> i32 {
        self.backend.pid
    }

    /// `server_version_num`.
    pub fn version_num(&self) -> u32 {
        self.backend.version_num
    }

    /// The connection is known to have ended.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// A handle that cancels this session's statement from another task.
    pub fn canceler(&self) -> Canceler {
        Canceler {
            token: self.client.cancel_token(),
            way: Arc::clone(&self.way),
        }
    }

    /// Parses a statement once, to be run often.
    ///
    /// # Errors
    /// As the server says.
    pub async fn prepare(&self, sql: &str) -> Result<Prepared, SqlError> {
        let prepared = self.client.prepare(sql).await;
        let statement = prepared.map_err(|error| SqlError::new(sql, &error))?;
        let text = sql.to_owned();
        Ok(Prepared { statement, text })
    }

    /// Runs a statement; returns the number of rows it touched.
    ///
    /// # Errors
    /// As the server says.
    pub async fn execute<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, SqlError> {
        let outcome = self.client.execute(sql.statement(), params).await;
        outcome.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// Runs a query.
    ///
    /// # Errors
    /// As the server says.
    pub async fn query<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, SqlError> {
        let outcome = self.client.query(sql.statement(), params).await;
        outcome.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// Runs a query that answers with exactly one row.
    ///
    /// # Errors
    /// As the server says, or when there is none or more than one.
    pub async fn query_one<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, SqlError> {
        let outcome = self.client.query_one(sql.statement(), params).await;
        outcome.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// Runs a query that answers with at most one row.
    ///
    /// # Errors
    /// As the server says, or when there is more than one.
    pub async fn query_opt<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, SqlError> {
        let outcome = self.client.query_opt(sql.statement(), params).await;
        outcome.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// Runs one or more statements without parameters. Several in one text are one transaction, unless one of
    /// them begins or ends one.
    ///
    /// # Errors
    /// As the server says.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), SqlError> {
        let outcome = self.client.batch_execute(sql).await;
        outcome.map_err(|error| SqlError::new(sql, &error))
    }

    /// Runs several statements without parameters in one round trip; returns how many rows each touched or found.
    /// One that fails is the last.
    ///
    /// # Errors
    /// As the server says.
    pub async fn run_script(&self, statements: &[&str]) -> Result<Vec<u64>, SqlError> {
        let script = statements.join(";\n");
        let answer = self.client.simple_query(&script).await;
        let messages = answer.map_err(|error| SqlError::new(&script, &error))?;
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        Ok(counts.collect())
    }

    /// Runs a `COPY … FROM STDIN` with these buffers; returns the number of rows.
    ///
    /// # Errors
    /// As the server says.
    pub async fn copy_in<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        buffers: impl IntoIterator<Item = Bytes>,
    ) -> Result<u64, SqlError> {
        let copy = async {
            let sink = self.client.copy_in(sql.statement()).await?;
            let mut sink = pin!(sink);
            for buffer in buffers {
                feed(&mut sink, buffer).await?;
            }
            sink.finish().await
        };
        copy.await.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// Runs a `COPY … TO STDOUT`; returns its messages, one row each (and header and trailer in binary).
    ///
    /// # Errors
    /// As the server says.
    pub async fn copy_out<S: Runnable + ?Sized>(&self, sql: &S) -> Result<Vec<Bytes>, SqlError> {
        let copy = async { self.client.copy_out(sql.statement()).await?.try_collect().await };
        copy.await.map_err(|error| SqlError::new(sql.text(), &error))
    }

    /// As [`Session::copy_out`], and keeps the first messages, until they have `bytes_max` bytes; says whether that is all of
    /// them. What is not kept is read nevertheless.
    ///
    /// # Errors
    /// As the server says.
    pub async fn copy_out_upto<S: Runnable + ?Sized>(
        &self,
        sql: &S,
        bytes_max: usize,
    ) -> Result<(Vec<Bytes>, bool), SqlError> {
        let copy = async {
            let stream = self.client.copy_out(sql.statement()).await?;
            let (mut kept, mut bytes, mut whole) = (Vec::new(), 0, true);
            let mut stream = pin!(stream);
            while let Some(message) = stream.try_next().await? {
                if bytes >= bytes_max {
                    whole = false;
                    continue;
                }
                bytes += message.len();
                kept.push(message);
            }
            Ok((kept, whole))
        };
        copy.await
            .map_err(|error: tokio_postgres::Error| SqlError::new(sql.text(), &error))
    }

    /// Runs a `COPY … TO STDOUT` here and a `COPY … FROM STDIN` there, and lets one run into the other; returns the number
    /// of rows.
    ///
    /// # Errors
    /// As the servers say: the second is told to forget the rows if the first fails.
    ///
    /// # Cancel safety
    /// None: both sessions are within a `COPY`. Drop them too.
    pub async fn pipe(&self, out: &str, target: &Session, into: &str) -> Result<u64, SqlError> {
        let of_source = |error: &tokio_postgres::Error| SqlError::new(out, error);
        let of_target = |error: &tokio_postgres::Error| SqlError::new(into, error);
        let rows = self
            .client
            .copy_out(out)
            .await
            .map_err(|error| of_source(&error))?;
        let sink = target
            .client
            .copy_in(into)
            .await
            .map_err(|error| of_target(&error))?;
        let (mut rows, mut sink) = (pin!(rows), pin!(sink));
        let mut buffer = BytesMut::with_capacity(PIPE_BUFFER);
        while let Some(row) = rows.try_next().await.map_err(|error| of_source(&error))? {
            if buffer.len() + row.len() > PIPE_BUFFER && !buffer.is_empty() {
                let full = std::mem::replace(&mut buffer, BytesMut::with_capacity(PIPE_BUFFER));
                feed(&mut sink, full.freeze())
                    .await
                    .map_err(|error| of_target(&error))?;
            }
            match row.len() > PIPE_BUFFER {
                true => feed(&mut sink, row).await.map_err(|error| of_target(&error))?,
                false => buffer.extend_from_slice(&row),
            }
        }
        feed(&mut sink, buffer.freeze())
            .await
            .map_err(|error| of_target(&error))?;
        sink.finish().await.map_err(|error| of_target(&error))
    }

    /// Which cluster this is.
    pub fn system_identifier(&self) -> u64 {
        self.server.system_identifier
    }
}

/// The server takes no message beyond 1 GB, and rows may be cut anywhere.
async fn feed(
    sink: &mut Pin<&mut CopyInSink<Bytes>>,
    mut buffer: Bytes,
) -> Result<(), tokio_postgres::Error> {
    while buffer.len() > COPY_MESSAGE_MAX {
        sink.feed(buffer.split_to(COPY_MESSAGE_MAX)).await?;
    }
    sink.feed(buffer).await
}

const IDENTIFY: &str = "\
SELECT a.pid, a.backend_start::text, pg_catalog.current_setting('server_version_num')::int4,
       pg_catalog.pg_is_in_recovery(), c.system_identifier, pg_catalog.pg_postmaster_start_time()::text,
       pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port()
  FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) a, pg_catalog.pg_control_system() c";

async fn identify(client: &Client, config: &ConnectConfig) -> Result<(Backend, Server), ConnectError> {
    let answer = client.query_one(IDENTIFY, &[]).await;
    let row = answer.map_err(|error| ConnectError::preparing(config, &SqlError::new(IDENTIFY, &error)))?;
    let backend = Backend {
        pid: row.get(0),
        started: row.get(1),
        version_num: row.get::<_, i32>(2).cast_unsigned(),
    };
    let server = Server {
        in_recovery: row.get(3),
        system_identifier: row.get::<_, i64>(4).cast_unsigned(),
        started: row.get(5),
        address: Option::zip(row.get::<_, Option<String>>(6), row.get::<_, Option<i32>>(7)),
    };
    Ok((backend, server))
}
