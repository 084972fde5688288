//! [`Message::encode`]: messages to bytes, the exact reverse of [`Decoder`](crate::Decoder), for tests and
//! simulated servers.
//!
//! A message with `xid: Some(_)` is written as inside a stream block, one without as outside; that the sequence of
//! messages makes sense is the caller's affair.

use bytes::{BufMut, BytesMut};

use crate::decode::{TRUNCATE_CASCADE, TRUNCATE_RESTART_IDENTITY};
use crate::error::EncodeError;
use crate::message::{Column, Logical, Message, OldTuple, Relation, ReplicaIdentity, Truncate, Type};

impl Message {
    /// Appends the message's bytes.
    ///
    /// # Errors
    /// When a string contains a zero byte, or a length does not fit its counter. `out` then holds a part of the
    /// message.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match self {
            Message::Begin(begin) => {
                out.put_u8(b'B');
                out.put_u64(begin.final_lsn.0);
                out.put_i64(begin.committed_at.0);
                out.put_u32(begin.xid);
            }
            Message::Commit(commit) => {
                out.put_slice(b"C\0");
                out.put_u64(commit.commit_lsn.0);
                out.put_u64(commit.end_lsn.0);
                out.put_i64(commit.committed_at.0);
            }
            Message::Origin(origin) => {
                out.put_u8(b'O');
                out.put_u64(origin.commit_lsn.0);
                put_string(out, "Origin name", &origin.name)?;
            }
            Message::Relation(relation) => put_relation(out, relation)?,
            Message::Type(type_name) => put_type(out, type_name)?,
            Message::Insert(insert) => {
                put_tag(out, b'I', insert.xid);
                out.put_u32(insert.relation);
                out.put_u8(b'N');
                insert.new.encode(out);
            }
            Message::Update(update) => {
                put_tag(out, b'U', update.xid);
                out.put_u32(update.relation);
                if let Some(old) = &update.old {
                    put_old_tuple(out, old);
                }
                out.put_u8(b'N');
                update.new.encode(out);
            }
            Message::Delete(delete) => {
                put_tag(out, b'D', delete.xid);
                out.put_u32(delete.relation);
                put_old_tuple(out, &delete.old);
            }
            Message::Truncate(truncate) => put_truncate(out, truncate)?,
            Message::Logical(logical) => put_logical(out, logical)?,
            Message::StreamStart(start) => {
                put_tag(out, b'S', Some(start.xid));
                out.put_u8(start.first.into());
            }
            Message::StreamStop => out.put_u8(b'E'),
            Message::StreamCommit(commit) => {
                put_tag(out, b'c', Some(commit.xid));
                out.put_u8(0);
                out.put_u64(commit.commit_lsn.0);
                out.put_u64(commit.end_lsn.0);
                out.put_i64(commit.committed_at.0);
            }
            Message::StreamAbort(abort) => {
                put_tag(out, b'A', Some(abort.xid));
                out.put_u32(abort.subxid);
            }
        }
        Ok(())
    }
}

fn put_tag(out: &mut BytesMut, tag: u8, xid: Option<u32>) {
    out.put_u8(tag);
    if let Some(xid) = xid {
        out.put_u32(xid);
    }
}

fn put_string(out: &mut BytesMut, what: &'static str, text: &str) -> Result<(), EncodeError> {
    if text.as_bytes().contains(&0) {
        return Err(EncodeError::ZeroByte { what });
    }
    out.put_slice(text.as_bytes());
    out.put_u8(0);
    Ok(())
}

fn put_count32(out: &mut BytesMut, what: &'static str, length: usize) -> Result<(), EncodeError> {
    let count = i32::try_from(length).map_err(|_| EncodeError::TooLong { what, length })?;
    out.put_i32(count);
    Ok(())
}

fn put_old_tuple(out: &mut BytesMut, old: &OldTuple) {
    out.put_u8(match old {
        OldTuple::Key(_) => b'K',
        OldTuple::Full(_) => b'O',
    });
    old.tuple().encode(out);
}

fn put_relation(out: &mut BytesMut, relation: &Relation) -> Result<(), EncodeError> {
    put_tag(out, b'R', relation.xid);
    out.put_u32(relation.oid);
    put_string(out, "Relation schema", &relation.schema)?;
    put_string(out, "Relation name", &relation.name)?;
    out.put_u8(match relation.replica_identity {
        ReplicaIdentity::Default => b'd',
        ReplicaIdentity::Nothing => b'n',
        ReplicaIdentity::Full => b'f',
        ReplicaIdentity::Index => b'i',
    });
    let length = relation.columns.len();
    let what = "Relation columns";
    out.put_i16(i16::try_from(length).map_err(|_| EncodeError::TooLong { what, length })?);
    relation
        .columns
        .iter()
        .try_for_each(|column| put_column(out, column))
}

fn put_column(out: &mut BytesMut, column: &Column) -> Result<(), EncodeError> {
    out.put_u8(column.in_identity.into());
    put_string(out, "Column name", &column.name)?;
    out.put_u32(column.type_oid);
    out.put_i32(column.type_modifier);
    Ok(())
}

fn put_type(out: &mut BytesMut, type_name: &Type) -> Result<(), EncodeError> {
    put_tag(out, b'Y', type_name.xid);
    out.put_u32(type_name.oid);
    put_string(out, "Type schema", &type_name.schema)?;
    put_string(out, "Type name", &type_name.name)
}

fn put_truncate(out: &mut BytesMut, truncate: &Truncate) -> Result<(), EncodeError> {
    put_tag(out, b'T', truncate.xid);
    put_count32(out, "Truncate relations", truncate.relations.len())?;
    let cascade = if truncate.cascade { TRUNCATE_CASCADE } else { 0 };
    let restart_identity = if truncate.restart_identity {
        TRUNCATE_RESTART_IDENTITY
    } else {
        0
    };
    out.put_u8(cascade | restart_identity);
    truncate
        .relations
        .iter()
        .for_each(|relation| out.put_u32(*relation));
    Ok(())
}

fn put_logical(out: &mut BytesMut, logical: &Logical) -> Result<(), EncodeError> {
    put_tag(out, b'M', logical.xid);
    out.put_u8(logical.transactional.into());
    out.put_u64(logical.lsn.0);
    put_string(out, "Message prefix", &logical.prefix)?;
    put_count32(out, "Message content", logical.content.len())?;
    out.put_slice(&logical.content);
    Ok(())
}
