//! A replication connection to a server: logged in, settings pinned, able to run replication commands.
//!
//! Whoever owns a [`Connection`] owns its walsender: dropping it closes the socket, and the server ends whatever
//! was going on there (an exported snapshot, a slot being created, a stream).

mod authentication;
mod cancel;
mod error;
mod startup;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use crossfade_core::position::Lsn;
use crossfade_postgres::connect::{ConnectConfig, Route, Stream, establish};
use crossfade_postgres::session::ConnectError;
use postgres_protocol::message::frontend;

pub use self::cancel::Canceller;
pub use self::error::{TransportError, TransportErrorClass};
pub use self::startup::PINNED_SETTINGS;

use crate::frame::{Fields, Frame};
use crate::server_error::ServerError;
use crate::violation::Violation;
use crate::wire::Wire;

/// The first version whose sessions have a `transaction_timeout`.
const TRANSACTION_TIMEOUT_SINCE: u32 = 17;

/// An open replication connection, between commands.
#[derive(Debug)]
pub struct Connection {
    wire: Wire<Stream>,
    session: Session,
    canceller: Canceller,
}

/// What the server told about the session while it started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The walsender's process.
    pub backend_pid: u32,
    /// The server's major version.
    pub server_major: u32,
    /// The server is a standby.
    pub in_recovery: bool,
    /// The database has no encoding (`SQL_ASCII`): its texts are bytes, and may be no UTF-8.
    pub without_encoding: bool,
}

/// Which history a server is in, and how far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// Names the cluster for life.
    pub system_identifier: u64,
    /// Rises with every promotion.
    pub timeline: u32,
    /// Flushed up to here.
    pub flushed: Lsn,
    /// The database of this connection.
    pub database: String,
}

/// A row of a command's reply, in text.
type ReplyRow = Vec<Option<Bytes>>;

impl Connection {
    /// Opens a connection, logs in with trust, password, md5, SCRAM-SHA-256 or SCRAM-SHA-256-PLUS, and pins the settings
    /// that shape the text of values ([`PINNED_SETTINGS`]). Of several servers it is the first that is no standby; it is one
    /// of the cluster that is meant.
    ///
    /// # Errors
    /// [`TransportError`]; its class tells whether the server was not reached or did not let us in.
    ///
    /// # Cancel safety
    /// Dropping the future closes the socket.
    pub async fn open(config: &ConnectConfig) -> Result<Self, TransportError> {
        match establish(config, |route, stream| Self::log_in(config, route, stream)).await {
            Err(TransportError::WrongServer(error)) => Err(error.or_several(config).await.into()),
            opened => opened,
        }
    }

    async fn log_in(config: &ConnectConfig, route: Route, stream: Stream) -> Result<Self, TransportError> {
        let login = authentication::Login::of(config, &route, &stream);
        let mut wire = Wire::over(stream);
        let (session, key) = startup::start(&mut wire, config, login).await?;
        let server = || config.to_string();
        if session.in_recovery {
            return Err(ConnectError::InRecovery { server: server() }.into());
        }
        let mut connection = Connection {
            wire,
            session,
            canceller: Canceller::new(config, route, key),
        };
        connection.pin_by_server().await?;
        if let Some(expected) = config.cluster {
            let found = connection.identify_system().await?.system_identifier;
            if found != expected {
                let server = server();
                return Err(ConnectError::OtherServer {
                    server,
                    expected,
                    found,
                }
                .into());
            }
        }
        Ok(connection)
    }

    /// Pins what depends on the server, and so cannot be among the settings of the start-up packet.
    async fn pin_by_server(&mut self) -> Result<(), TransportError> {
        const DURING: &str = "pin the session's settings";
        if self.session.server_major >= TRANSACTION_TIMEOUT_SINCE {
            self.command(DURING, "SET transaction_timeout = 0").await?;
        }
        if self.session.without_encoding {
            // Under any other client_encoding the server refuses to send bytes that are none of it.
            self.command(DURING, "SET client_encoding = 'SQL_ASCII'").await?;
        }
        Ok(())
    }

    /// What the server told at start-up.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// A way to interrupt this connection's commands while they run.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// `IDENTIFY_SYSTEM`.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, TransportError> {
        const DURING: &str = "identify the system";
        let rows = self.command(DURING, "IDENTIFY_SYSTEM").await?;
        let row = Reply::single(DURING, &rows)?;
        Ok(SystemIdentity {
            system_identifier: row.parse(0, "systemid")?,
            timeline: row.parse(1, "timeline")?,
            flushed: row.parse(2, "xlogpos")?,
            database: row.text(3, "dbname")?.to_owned(),
        })
    }

    /// How long the server waits for a sign of life from us before it closes the connection; `None` for ever.
    ///
    /// # Errors
    /// [`TransportError`].
    pub async fn wal_sender_timeout(&mut self) -> Result<Option<Duration>, TransportError> {
        const DURING: &str = "read wal_sender_timeout";
        let rows = self.command(DURING, "SHOW wal_sender_timeout").await?;
        let row = Reply::single(DURING, &rows)?;
        let text = row.text(0, "wal_sender_timeout")?;
        let duration = parse_setting(text).ok_or(row.unusable("wal_sender_timeout"))?;
        Ok(Some(duration).filter(|duration| !duration.is_zero()))
    }

    /// Runs one command and returns the rows of its reply.
    ///
    /// Not cancel safe: the reply of a command that was given up would be taken for the next one's, so a caller
    /// that gives up drops the connection.
    pub(crate) async fn command(
        &mut self,
        during: &'static str,
        text: &str,
    ) -> Result<Vec<ReplyRow>, TransportError> {
        self.send_query(during, text).await?;
        let mut rows = Vec::new();
        let mut refused = None;
        loop {
            let frame = self.wire.frame().await?;
            match frame.tag {
                b'D' => rows.push(data_row(frame.body)?),
                b'E' => refused = Some(Box::new(ServerError::parse(frame.body)?)),
                b'Z' => break,
                b'T' | b'C' | b'I' | b'N' | b'S' => {}
                tag => return Err(Violation::Unexpected { tag, during }.into()),
            }
            // A fatal error has no ReadyForQuery after it.
            if let Some(error) = refused.take_if(|error| error.severity != "ERROR") {
                return Err(TransportError::Server {
                    during,
                    source: error,
                });
            }
        }
        match refused {
            Some(source) => Err(TransportError::Server { during, source }),
            None => Ok(rows),
        }
    }

    /// Runs a command that turns the connection into a stream of copy data in both directions.
    pub(crate) async fn copy_both(
        mut self,
        during: &'static str,
        text: &str,
    ) -> Result<Wire<Stream>, TransportError> {
        self.send_query(during, text).await?;
        loop {
            let Frame { tag, body } = self.wire.frame().await?;
            match tag {
                b'W' => return Ok(self.wire),
                b'E' => {
                    let source = Box::new(ServerError::parse(body)?);
                    return Err(TransportError::Server { during, source });
                }
                b'N' | b'S' => {}
                tag => return Err(Violation::Unexpected { tag, during }.into()),
            }
        }
    }

    async fn send_query(&mut self, during: &'static str, text: &str) -> Result<(), TransportError> {
        let mut out = BytesMut::new();
        frontend::query(text, &mut out).map_err(|source| TransportError::Encode { during, source })?;
        Ok(self.wire.send(&out).await?)
    }
}

fn data_row(body: Bytes) -> Result<ReplyRow, Violation> {
    let mut fields = Fields::of(body);
    let count = fields.u16()?;
    (0..count)
        .map(|_| match usize::try_from(fields.i32()?) {
            Ok(length) => fields.bytes(length).map(Some),
            Err(_) => Ok(None),
        })
        .collect()
}

/// The one row of a reply, with words for what is wrong with it.
pub(crate) struct Reply<'a> {
    during: &'static str,
    row: &'a [Option<Bytes>],
}

impl<'a> Reply<'a> {
    pub(crate) fn single(during: &'static str, rows: &'a [ReplyRow]) -> Result<Self, Violation> {
        match rows {
            [row] => Ok(Reply { during, row }),
            _ => Err(Violation::Reply {
                during,
                column: "single row",
            }),
        }
    }

    pub(crate) fn text(&self, index: usize, column: &'static str) -> Result<&'a str, Violation> {
        let cell = self.row.get(index).and_then(Option::as_ref);
        cell.and_then(|cell| std::str::from_utf8(cell).ok())
            .ok_or(self.unusable(column))
    }

    fn parse<T: std::str::FromStr>(&self, index: usize, column: &'static str) -> Result<T, Violation> {
        self.text(index, column)?
            .parse()
            .map_err(|_| self.unusable(column))
    }

    pub(crate) fn lsn(&self, index: usize, column: &'static str) -> Result<Lsn, Violation> {
        self.parse(index, column)
    }

    fn unusable(&self, column: &'static str) -> Violation {
        Violation::Reply {
            during: self.during,
            column,
        }
    }
}

/// Reads a duration as `SHOW` prints it: a whole number and a unit, or a bare zero.
fn parse_setting(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis_each = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis_each).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_the_server_prints_them() {
        assert_eq!(parse_setting("1min"), Some(Duration::from_secs(60)));
        assert_eq!(parse_setting("1500ms"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_setting("0"), Some(Duration::ZERO));
        assert_eq!(parse_setting("2h"), Some(Duration::from_secs(7200)));
        assert_eq!(parse_setting("soon"), None);
        assert_eq!(parse_setting("9é"), None);
    }

    #[test]
    fn rows_are_cut_at_their_lengths() {
        let body = Bytes::from_static(b"\0\x02\0\0\0\x02ab\xff\xff\xff\xff");
        let row = data_row(body).unwrap();
        assert_eq!(row, [Some(Bytes::from_static(b"ab")), None]);
        assert!(data_row(Bytes::from_static(b"\0\x01\0\0\0\x09ab")).is_err());
    }
}
