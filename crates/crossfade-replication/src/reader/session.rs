//! One connection's stream: copy data in, status updates out, and when each is due.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use crossfade_core::position::Lsn;
use pgoutput::stream::{ServerMessage, StandbyStatusUpdate};
use pgoutput::{Decoder, Timestamp};
use tokio::time::Instant;

use super::error::ReadError;
use super::options::{History, ReaderOptions};
use crate::assemble::{Assembler, Batch};
use crate::command;
use crate::frame::Frame;
use crate::server_error::ServerError;
use crate::transport::{Connection, TransportError};
use crate::violation::Violation;
use crate::wire::Wire;
use crossfade_postgres::connect::Stream;

const DURING: &str = "follow the stream";

/// A stream that has been started.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire<Stream>,
    decoder: Decoder,
    status_interval: Duration,
    status_due: Instant,
    silence_max: Duration,
    /// When the server last said something, or we last did not listen.
    heard: Instant,
    /// The server has been asked for a sign of life.
    asked: bool,
}

impl Session {
    /// Connects, checks that this is the server it should be, and starts the stream after `from`.
    ///
    /// Returns the server's history with the session.
    pub(super) async fn open(
        options: &ReaderOptions,
        expected: Option<History>,
        from: Lsn,
    ) -> Result<(Self, History), ReadError> {
        let mut connection = Connection::open(&options.connect).await?;
        let found = History::from(&connection.identify_system().await?);
        check_history(expected, found)?;
        let timeout = connection.wal_sender_timeout().await?;
        let command = command::start(&options.slot, from, &options.publication, options.binary);
        let wire = connection.copy_both("start the stream", &command).await?;
        let limits = &options.limits;
        let session = Session {
            wire,
            decoder: Decoder::new(),
            status_interval: timeout.map_or(limits.status_interval, |timeout| {
                limits.status_interval.min(timeout / 3)
            }),
            status_due: Instant::now(),
            silence_max: limits.silence_max,
            heard: Instant::now(),
            asked: false,
        };
        Ok((session, found))
    }

    /// Handles one frame; what it completes goes to `out`.
    pub(super) fn receive(
        &mut self,
        frame: Frame,
        assembler: &mut Assembler,
        out: &mut Batch,
    ) -> Result<(), ReadError> {
        match frame.tag {
            b'd' => self.copy_data(ServerMessage::decode(frame.body)?, assembler, out),
            b'E' => Err(ReadError::Transport(TransportError::Server {
                during: DURING,
                source: Box::new(ServerError::parse(frame.body)?),
            })),
            b'c' => Err(ReadError::Ended),
            b'N' | b'S' => Ok(()),
            tag => Err(Violation::Unexpected { tag, during: DURING }.into()),
        }
    }

    fn copy_data(
        &mut self,
        message: ServerMessage,
        assembler: &mut Assembler,
        out: &mut Batch,
    ) -> Result<(), ReadError> {
        match message {
            ServerMessage::XLogData(data) => {
                let message = self.decoder.decode(data.payload)?;
                Ok(assembler.message(message, out)?)
            }
            ServerMessage::PrimaryKeepalive(keepalive) => {
                assembler.keepalive(Lsn(keepalive.wal_end.0), out);
                if keepalive.reply_requested {
                    self.status_due = Instant::now();
                }
                Ok(())
            }
        }
    }

    /// When the next status update must go out, whatever else happens.
    pub(super) fn status_due(&self) -> Instant {
        self.status_due
    }

    /// Tells the server how far we are.
    pub(super) async fn send_status(&mut self, acknowledged: Lsn) -> Result<(), ReadError> {
        self.send(acknowledged, false).await
    }

    async fn send(&mut self, acknowledged: Lsn, reply_requested: bool) -> Result<(), ReadError> {
        let position = pgoutput::Lsn(acknowledged.0);
        let status = StandbyStatusUpdate {
            written: position,
            flushed: position,
            applied: position,
            sent_at: now(),
            reply_requested,
        };
        self.wire.send(&copy_data(&status)).await?;
        self.status_due = Instant::now() + self.status_interval;
        Ok(())
    }

    /// The server said something, or we did not listen: its silence begins anew.
    pub(super) fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = false;
    }

    /// When the server has been silent for too long to go on as before.
    pub(super) fn silence_due(&self) -> Instant {
        let patience = if self.asked {
            self.silence_max
        } else {
            self.silence_max / 2
        };
        self.heard + patience
    }

    /// At first asks for a sign of life, the second time gives the server up.
    pub(super) async fn break_silence(&mut self, acknowledged: Lsn) -> Result<(), ReadError> {
        if self.asked {
            return Err(ReadError::Silent {
                after: self.silence_max,
            });
        }
        self.asked = true;
        self.send(acknowledged, true).await
    }
}

fn check_history(expected: Option<History>, found: History) -> Result<(), ReadError> {
    match expected {
        Some(expected) if expected != found => Err(ReadError::OtherHistory { expected, found }),
        Some(_) | None => Ok(()),
    }
}

/// A status update as a whole CopyData message.
fn copy_data(status: &StandbyStatusUpdate) -> BytesMut {
    let mut body = BytesMut::new();
    status.encode(&mut body);
    let mut out = BytesMut::with_capacity(body.len() + 5);
    out.put_u8(b'd');
    out.put_u32(body.len() as u32 + 4);
    out.put_slice(&body);
    out
}

/// The server only shows this time; a clock that cannot be read does no harm.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_unix_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
