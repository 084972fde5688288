//! The start-up packet and everything up to the first ReadyForQuery.

use bytes::{Bytes, BytesMut};
use crossfade_postgres::connect::ConnectConfig;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncRead, AsyncWrite};

use super::authentication::{self, Progress};
use super::cancel::BackendKey;
use super::{Session, TransportError};
use crate::frame::{Fields, Frame};
use crate::server_error::ServerError;
use crate::violation::Violation;
use crate::wire::Wire;

const DURING: &str = "log in";

/// Said of `replication`, as pgbouncer before 1.23 does. PostgreSQL itself understands our start-up packet.
const NOT_UNDERSTOOD: &str = "unsupported startup parameter";

/// Settings of every replication session. The first ones shape the text form of values: they are what the
/// sessions that read that text back rely on. The timeouts would end an exported snapshot while it is in use.
pub const PINNED_SETTINGS: &[(&str, &str)] = &[
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("search_path", "pg_catalog"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// Sends the start-up packet, answers what the server asks for, and reads up to ReadyForQuery.
pub(super) async fn start<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    config: &ConnectConfig,
    mut login: authentication::Login<'_>,
) -> Result<(Session, BackendKey), TransportError> {
    send_startup(wire, config).await?;
    loop {
        let Frame { tag, body } = wire.frame().await?;
        match tag {
            b'R' => match login.answer(body)? {
                Progress::Reply(reply) => wire.send(&reply).await?,
                Progress::Wait => {}
                Progress::Done => return session(wire).await,
            },
            tag => other(tag, body)?,
        }
    }
}

async fn send_startup<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    config: &ConnectConfig,
) -> Result<(), TransportError> {
    let options = options(PINNED_SETTINGS);
    let parameters = [
        ("user", config.user.as_str()),
        ("database", &config.database),
        ("replication", "database"),
        ("application_name", &config.application_name),
        ("client_encoding", "UTF8"),
        ("options", &options),
    ];
    let mut out = BytesMut::new();
    let encoded = frontend::startup_message(parameters, &mut out);
    encoded.map_err(|source| TransportError::Encode {
        during: DURING,
        source,
    })?;
    Ok(wire.send(&out).await?)
}

/// `-c name=value` for each setting; a space or a backslash within a value is escaped.
fn options(settings: &[(&str, &str)]) -> String {
    let flags = settings.iter().map(|(name, value)| {
        let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
        format!("-c {name}={value}")
    });
    flags.collect::<Vec<_>>().join(" ")
}

/// After the login: parameters, the backend's pid, ready.
async fn session<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
) -> Result<(Session, BackendKey), TransportError> {
    let mut session = Session::default();
    let mut key = BackendKey::default();
    loop {
        let Frame { tag, body } = wire.frame().await?;
        match tag {
            b'S' => session.learn(body)?,
            b'K' => {
                let mut fields = Fields::of(body);
                (key.process, key.secret) = (fields.i32()?, fields.i32()?);
                session.backend_pid = key.process.cast_unsigned();
            }
            b'Z' => return Ok((session, key)),
            tag => other(tag, body)?,
        }
    }
}

/// What may come at any moment of the start-up.
fn other(tag: u8, body: Bytes) -> Result<(), TransportError> {
    match tag {
        b'E' => {
            let source = Box::new(ServerError::parse(body)?);
            Err(match source.message.contains(NOT_UNDERSTOOD) {
                true => TransportError::Pooler { source },
                false => TransportError::Server {
                    during: DURING,
                    source,
                },
            })
        }
        b'N' => Ok(()),
        tag => Err(Violation::Unexpected { tag, during: DURING }.into()),
    }
}

impl Session {
    fn learn(&mut self, parameter_status: Bytes) -> Result<(), Violation> {
        let mut fields = Fields::of(parameter_status);
        let (name, value) = (fields.text()?, fields.text()?);
        match name.as_str() {
            "server_version" => {
                let digits = value.split(|c: char| !c.is_ascii_digit()).next();
                self.server_major =
                    digits
                        .and_then(|digits| digits.parse().ok())
                        .ok_or(Violation::Reply {
                            during: DURING,
                            column: "server_version",
                        })?;
            }
            "in_hot_standby" => self.in_recovery = value == "on",
            "server_encoding" => self.without_encoding = value == "SQL_ASCII",
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_space_in_a_setting_does_not_end_it() {
        assert_eq!(
            options(&[("DateStyle", "ISO, MDY"), ("x", r"a\b")]),
            r"-c DateStyle=ISO,\ MDY -c x=a\\b"
        );
    }

    #[test]
    fn version_and_role_are_learnt() {
        let mut session = Session::default();
        session
            .learn(Bytes::from_static(b"server_version\x0015.18 (Debian)\0"))
            .unwrap();
        session
            .learn(Bytes::from_static(b"in_hot_standby\0on\0"))
            .unwrap();
        session
            .learn(Bytes::from_static(b"server_encoding\0SQL_ASCII\0"))
            .unwrap();
        assert_eq!((session.server_major, session.in_recovery), (15, true));
        assert!(session.without_encoding);
        assert!(
            session
                .learn(Bytes::from_static(b"server_version\0devel\0"))
                .is_err()
        );
    }
}
