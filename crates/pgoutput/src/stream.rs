//! The payloads of `CopyData` while a replication connection streams, in both directions.
//!
//! ```text
//! server ─► client   'w' XLogData            start, end, time, payload (for pgoutput: one message)
//!                    'k' PrimaryKeepalive    end, time, reply wanted
//! client ─► server   'r' StandbyStatusUpdate written, flushed, applied, time, reply wanted
//!                    'h' HotStandbyFeedback  time, xmin, catalog xmin
//! ```
//!
//! Stateless: a payload means the same wherever it comes. Encoding cannot fail.

use bytes::{BufMut, Bytes, BytesMut};

use crate::cursor::{Cursor, error};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::{Lsn, Timestamp};

/// A piece of the log, or of what an output plugin made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XLogData {
    /// Where in the log the payload stems from: of a change its record, of a Begin its transaction's first change,
    /// of a Commit the end of the commit record. Zero for messages that only introduce others, such as Relation.
    pub start: Lsn,
    /// Of a logical slot the same as `start`, **not** how far the server has got.
    pub end: Lsn,
    /// The server's clock when it sent this.
    pub sent_at: Timestamp,
    /// The message, shared with the buffer it was read into. Its decoder is [`crate::Decoder`].
    pub payload: Bytes,
}

/// A sign of life from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrimaryKeepalive {
    /// How far the server has read the log: whatever it had to send up to here was sent before this message.
    pub wal_end: Lsn,
    /// The server's clock when it sent this.
    pub sent_at: Timestamp,
    /// The server wants a [`StandbyStatusUpdate`] now, or it will close the connection at `wal_sender_timeout`.
    pub reply_requested: bool,
}

/// How far the client has got. The server keeps the log, and repeats after a reconnection, from `flushed` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandbyStatusUpdate {
    /// Received and written, up to here.
    pub written: Lsn,
    /// Durable at the client, up to here: the acknowledgement, which moves the slot.
    pub flushed: Lsn,
    /// Visible at the client, up to here.
    pub applied: Lsn,
    /// The client's clock.
    pub sent_at: Timestamp,
    /// The client wants a [`PrimaryKeepalive`] now.
    pub reply_requested: bool,
}

/// Which rows a physical standby's queries still need. Ids are of 32 bits, with the epoch that makes them unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotStandbyFeedback {
    /// The client's clock.
    pub sent_at: Timestamp,
    /// The oldest transaction id still needed; 0 withdraws the feedback.
    pub xmin: u32,
    /// The epoch of `xmin`.
    pub xmin_epoch: u32,
    /// The oldest transaction id still needed in the catalogs; 0 for none.
    pub catalog_xmin: u32,
    /// The epoch of `catalog_xmin`.
    pub catalog_xmin_epoch: u32,
}

/// From the server to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// `w`.
    XLogData(XLogData),
    /// `k`.
    PrimaryKeepalive(PrimaryKeepalive),
}

/// From the client to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// `r`.
    StandbyStatusUpdate(StandbyStatusUpdate),
    /// `h`.
    HotStandbyFeedback(HotStandbyFeedback),
}

impl ServerMessage {
    /// Reads one `CopyData` payload from the server. The payload of an [`XLogData`] is shared, not copied.
    ///
    /// # Errors
    /// When the bytes are not exactly one message.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.u8("server message")? {
            b'w' => XLogData::read(&mut cursor).map(Self::XLogData),
            b'k' => PrimaryKeepalive::read(&mut cursor).map(Self::PrimaryKeepalive),
            tag => Err(error("server message", 0, DecodeErrorKind::UnknownTag(tag))),
        }
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::XLogData(data) => data.encode(out),
            Self::PrimaryKeepalive(keepalive) => keepalive.encode(out),
        }
    }
}

impl ClientMessage {
    /// Reads one `CopyData` payload from the client.
    ///
    /// # Errors
    /// When the bytes are not exactly one message.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.u8("client message")? {
            b'r' => StandbyStatusUpdate::read(&mut cursor).map(Self::StandbyStatusUpdate),
            b'h' => HotStandbyFeedback::read(&mut cursor).map(Self::HotStandbyFeedback),
            tag => Err(error("client message", 0, DecodeErrorKind::UnknownTag(tag))),
        }
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::StandbyStatusUpdate(update) => update.encode(out),
            Self::HotStandbyFeedback(feedback) => feedback.encode(out),
        }
    }
}

impl XLogData {
    fn read(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        Ok(XLogData {
            start: cursor.lsn("XLogData start")?,
            end: cursor.lsn("XLogData end")?,
            sent_at: cursor.timestamp("XLogData time")?,
            payload: cursor.rest(),
        })
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'w');
        out.put_u64(self.start.0);
        out.put_u64(self.end.0);
        out.put_i64(self.sent_at.0);
        out.put_slice(&self.payload);
    }
}

impl PrimaryKeepalive {
    fn read(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let keepalive = PrimaryKeepalive {
            wal_end: cursor.lsn("PrimaryKeepalive end")?,
            sent_at: cursor.timestamp("PrimaryKeepalive time")?,
            reply_requested: cursor.bool("PrimaryKeepalive reply")?,
        };
        cursor.finish("PrimaryKeepalive")?;
        Ok(keepalive)
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'k');
        out.put_u64(self.wal_end.0);
        out.put_i64(self.sent_at.0);
        out.put_u8(self.reply_requested.into());
    }
}

impl StandbyStatusUpdate {
    fn read(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let update = StandbyStatusUpdate {
            written: cursor.lsn("StandbyStatusUpdate written")?,
            flushed: cursor.lsn("StandbyStatusUpdate flushed")?,
            applied: cursor.lsn("StandbyStatusUpdate applied")?,
            sent_at: cursor.timestamp("StandbyStatusUpdate time")?,
            reply_requested: cursor.bool("StandbyStatusUpdate reply")?,
        };
        cursor.finish("StandbyStatusUpdate")?;
        Ok(update)
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'r');
        out.put_u64(self.written.0);
        out.put_u64(self.flushed.0);
        out.put_u64(self.applied.0);
        out.put_i64(self.sent_at.0);
        out.put_u8(self.reply_requested.into());
    }
}

impl HotStandbyFeedback {
    fn read(cursor: &mut Cursor) -> Result<Self, DecodeError> {
        let feedback = HotStandbyFeedback {
            sent_at: cursor.timestamp("HotStandbyFeedback time")?,
            xmin: cursor.u32("HotStandbyFeedback xmin")?,
            xmin_epoch: cursor.u32("HotStandbyFeedback xmin epoch")?,
            catalog_xmin: cursor.u32("HotStandbyFeedback catalog xmin")?,
            catalog_xmin_epoch: cursor.u32("HotStandbyFeedback catalog xmin epoch")?,
        };
        cursor.finish("HotStandbyFeedback")?;
        Ok(feedback)
    }

    /// Appends the payload of one `CopyData`.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(b'h');
        out.put_i64(self.sent_at.0);
        out.put_u32(self.xmin);
        out.put_u32(self.xmin_epoch);
        out.put_u32(self.catalog_xmin);
        out.put_u32(self.catalog_xmin_epoch);
    }
}
