//! [`Decoder`]: bytes to [`Message`]s.
//!
//! ```text
//!            ┌── StreamStart ──►┐
//!  outside ──┤                  ├── inside: Relation, Type, Insert, Update, Delete, Truncate and Logical
//!            └◄── StreamStop ───┘           carry an xid; of the others only Origin may come
//! ```
//!
//! Whether a message carries an xid cannot be seen from its bytes, only from where it stands. So the decoder keeps
//! this one bit, and one decoder belongs to one stream. A message that stands where it must not is an error, and
//! an error leaves the decoder as it was.

use bytes::Bytes;

use crate::cursor::{Cursor, error};
use crate::error::{DecodeError, DecodeErrorKind};
use crate::message::{
    Begin, Column, Commit, Delete, Insert, Logical, Message, OldTuple, Origin, Relation, ReplicaIdentity,
    StreamAbort, StreamCommit, StreamStart, Truncate, Type, Update,
};
use crate::tuple::Tuple;

/// `TRUNCATE … CASCADE`.
pub(crate) const TRUNCATE_CASCADE: u8 = 1;
/// `TRUNCATE … RESTART IDENTITY`.
pub(crate) const TRUNCATE_RESTART_IDENTITY: u8 = 2;

/// Reads the messages of one stream, in order. Make a new one for each connection.
#[derive(Clone, Debug, Default)]
pub struct Decoder {
    in_stream_block: bool,
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the next message stands between StreamStart and StreamStop.
    pub fn in_stream_block(&self) -> bool {
        self.in_stream_block
    }

    /// Reads one message. `payload` is that of one [`XLogData`](crate::stream::XLogData); values are not copied
    /// but share its buffer.
    ///
    /// # Errors
    /// When the bytes are not exactly one message, or one that may not come here. The decoder is then as before.
    pub fn decode(&mut self, payload: Bytes) -> Result<Message, DecodeError> {
        let mut cursor = Cursor::new(payload);
        let tag = cursor.u8("message")?;
        self.check_place(tag)?;
        let (what, message) = self.read(tag, &mut cursor)?;
        cursor.finish(what)?;
        self.in_stream_block = match tag {
            b'S' => true,
            b'E' => false,
            _ => self.in_stream_block,
        };
        Ok(message)
    }

    fn check_place(&self, tag: u8) -> Result<(), DecodeError> {
        match (tag, self.in_stream_block) {
            (b'B', true) => Err(error("Begin", 0, DecodeErrorKind::InsideStreamBlock)),
            (b'C', true) => Err(error("Commit", 0, DecodeErrorKind::InsideStreamBlock)),
            (b'S', true) => Err(error("StreamStart", 0, DecodeErrorKind::InsideStreamBlock)),
            (b'c', true) => Err(error("StreamCommit", 0, DecodeErrorKind::InsideStreamBlock)),
            (b'A', true) => Err(error("StreamAbort", 0, DecodeErrorKind::InsideStreamBlock)),
            (b'E', false) => Err(error("StreamStop", 0, DecodeErrorKind::OutsideStreamBlock)),
            _ => Ok(()),
        }
    }

    /// The message after its tag, and its name.
    fn read(&self, tag: u8, cursor: &mut Cursor) -> Result<(&'static str, Message), DecodeError> {
        Ok(match tag {
            b'I' => ("Insert", Message::Insert(self.insert(cursor)?)),
            b'U' => ("Update", Message::Update(self.update(cursor)?)),
            b'D' => ("Delete", Message::Delete(self.delete(cursor)?)),
            b'B' => ("Begin", Message::Begin(begin(cursor)?)),
            b'C' => ("Commit", Message::Commit(commit(cursor)?)),
            b'R' => ("Relation", Message::Relation(self.relation(cursor)?)),
            b'Y' => ("Type", Message::Type(self.type_name(cursor)?)),
            b'O' => ("Origin", Message::Origin(origin(cursor)?)),
            b'T' => ("Truncate", Message::Truncate(self.truncate(cursor)?)),
            b'M' => ("Message", Message::Logical(self.logical(cursor)?)),
            b'S' => ("StreamStart", Message::StreamStart(stream_start(cursor)?)),
            b'E' => ("StreamStop", Message::StreamStop),
            b'c' => ("StreamCommit", Message::StreamCommit(stream_commit(cursor)?)),
            b'A' => ("StreamAbort", Message::StreamAbort(stream_abort(cursor)?)),
            tag => return Err(error("message", 0, DecodeErrorKind::UnknownTag(tag))),
        })
    }

    /// The xid that a message carries inside a stream block.
    fn xid(&self, cursor: &mut Cursor) -> Result<Option<u32>, DecodeError> {
        self.in_stream_block
            .then(|| cursor.u32("streamed xid"))
            .transpose()
    }

    fn insert(&self, cursor: &mut Cursor) -> Result<Insert, DecodeError> {
        let xid = self.xid(cursor)?;
        let relation = cursor.u32("Insert relation")?;
        let offset = cursor.offset();
        match cursor.u8("Insert tuple")? {
            b'N' => Ok(Insert {
                xid,
                relation,
                new: Tuple::read(cursor)?,
            }),
            tag => Err(error("Insert tuple", offset, DecodeErrorKind::UnknownTag(tag))),
        }
    }

    fn update(&self, cursor: &mut Cursor) -> Result<Update, DecodeError> {
        let xid = self.xid(cursor)?;
        let relation = cursor.u32("Update relation")?;
        let mut offset = cursor.offset();
        let mut tag = cursor.u8("Update tuple")?;
        let mut old = None;
        if tag != b'N' {
            old = Some(old_tuple("Update tuple", tag, offset, cursor)?);
            offset = cursor.offset();
            tag = cursor.u8("Update new tuple")?;
        }
        match tag {
            b'N' => Ok(Update {
                xid,
                relation,
                old,
                new: Tuple::read(cursor)?,
            }),
            tag => Err(error(
                "Update new tuple",
                offset,
                DecodeErrorKind::UnknownTag(tag),
            )),
        }
    }

    fn delete(&self, cursor: &mut Cursor) -> Result<Delete, DecodeError> {
        let xid = self.xid(cursor)?;
        let relation = cursor.u32("Delete relation")?;
        let offset = cursor.offset();
        let tag = cursor.u8("Delete tuple")?;
        Ok(Delete {
            xid,
            relation,
            old: old_tuple("Delete tuple", tag, offset, cursor)?,
        })
    }

    fn truncate(&self, cursor: &mut Cursor) -> Result<Truncate, DecodeError> {
        let xid = self.xid(cursor)?;
        let count = cursor.count32("Truncate relation count")?;
        let flags = cursor.flags("Truncate flags", TRUNCATE_CASCADE | TRUNCATE_RESTART_IDENTITY)?;
        // The count is only believed as far as there are bytes.
        let mut relations = Vec::with_capacity(count.min(cursor.remaining() / 4));
        for _ in 0..count {
            relations.push(cursor.u32("Truncate relation")?);
        }
        Ok(Truncate {
            xid,
            cascade: flags & TRUNCATE_CASCADE != 0,
            restart_identity: flags & TRUNCATE_RESTART_IDENTITY != 0,
            relations,
        })
    }

    fn logical(&self, cursor: &mut Cursor) -> Result<Logical, DecodeError> {
        let xid = self.xid(cursor)?;
        let transactional = cursor.bool("Message flags")?;
        let lsn = cursor.lsn("Message position")?;
        let prefix = cursor.string("Message prefix")?;
        let length = cursor.count32("Message content length")?;
        Ok(Logical {
            xid,
            transactional,
            lsn,
            prefix,
            content: cursor.bytes("Message content", length)?,
        })
    }

    fn relation(&self, cursor: &mut Cursor) -> Result<Relation, DecodeError> {
        Ok(Relation {
            xid: self.xid(cursor)?,
            oid: cursor.u32("Relation oid")?,
            schema: cursor.string("Relation schema")?,
            name: cursor.string("Relation name")?,
            replica_identity: replica_identity(cursor)?,
            columns: columns(cursor)?,
        })
    }

    fn type_name(&self, cursor: &mut Cursor) -> Result<Type, DecodeError> {
        Ok(Type {
            xid: self.xid(cursor)?,
            oid: cursor.u32("Type oid")?,
            schema: cursor.string("Type schema")?,
            name: cursor.string("Type name")?,
        })
    }
}

fn old_tuple(
    what: &'static str,
    tag: u8,
    offset: usize,
    cursor: &mut Cursor,
) -> Result<OldTuple, DecodeError> {
    match tag {
        b'K' => Tuple::read(cursor).map(OldTuple::Key),
        b'O' => Tuple::read(cursor).map(OldTuple::Full),
        tag => Err(error(what, offset, DecodeErrorKind::UnknownTag(tag))),
    }
}

fn begin(cursor: &mut Cursor) -> Result<Begin, DecodeError> {
    Ok(Begin {
        final_lsn: cursor.lsn("Begin final position")?,
        committed_at: cursor.timestamp("Begin commit time")?,
        xid: cursor.u32("Begin xid")?,
    })
}

fn commit(cursor: &mut Cursor) -> Result<Commit, DecodeError> {
    cursor.flags("Commit flags", 0)?;
    Ok(Commit {
        commit_lsn: cursor.lsn("Commit position")?,
        end_lsn: cursor.lsn("Commit end position")?,
        committed_at: cursor.timestamp("Commit time")?,
    })
}

fn origin(cursor: &mut Cursor) -> Result<Origin, DecodeError> {
    Ok(Origin {
        commit_lsn: cursor.lsn("Origin commit position")?,
        name: cursor.string("Origin name")?,
    })
}

fn replica_identity(cursor: &mut Cursor) -> Result<ReplicaIdentity, DecodeError> {
    let offset = cursor.offset();
    match cursor.u8("Relation replica identity")? {
        b'd' => Ok(ReplicaIdentity::Default),
        b'n' => Ok(ReplicaIdentity::Nothing),
        b'f' => Ok(ReplicaIdentity::Full),
        b'i' => Ok(ReplicaIdentity::Index),
        tag => Err(error(
            "Relation replica identity",
            offset,
            DecodeErrorKind::UnknownTag(tag),
        )),
    }
}

fn columns(cursor: &mut Cursor) -> Result<Vec<Column>, DecodeError> {
    /// A column with an empty name.
    const COLUMN_BYTES_MIN: usize = 10;
    let count = usize::from(cursor.count16("Relation column count")?);
    let mut columns = Vec::with_capacity(count.min(cursor.remaining() / COLUMN_BYTES_MIN));
    for _ in 0..count {
        columns.push(Column {
            in_identity: cursor.bool("Column flags")?,
            name: cursor.string("Column name")?,
            type_oid: cursor.u32("Column type")?,
            type_modifier: cursor.i32("Column type modifier")?,
        });
    }
    Ok(columns)
}

fn stream_start(cursor: &mut Cursor) -> Result<StreamStart, DecodeError> {
    Ok(StreamStart {
        xid: cursor.u32("StreamStart xid")?,
        first: cursor.bool("StreamStart first block")?,
    })
}

fn stream_commit(cursor: &mut Cursor) -> Result<StreamCommit, DecodeError> {
    let xid = cursor.u32("StreamCommit xid")?;
    cursor.flags("StreamCommit flags", 0)?;
    Ok(StreamCommit {
        xid,
        commit_lsn: cursor.lsn("StreamCommit position")?,
        end_lsn: cursor.lsn("StreamCommit end position")?,
        committed_at: cursor.timestamp("StreamCommit time")?,
    })
}

fn stream_abort(cursor: &mut Cursor) -> Result<StreamAbort, DecodeError> {
    Ok(StreamAbort {
        xid: cursor.u32("StreamAbort xid")?,
        subxid: cursor.u32("StreamAbort subtransaction xid")?,
    })
}
