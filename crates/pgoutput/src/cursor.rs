//! A reader of big-endian fields that knows what it reads and where, so that every error can say so.
//!
//! Invariant: `at <= bytes.len()`. A failed read leaves the cursor where it was.

use bytes::Bytes;

use crate::error::{DecodeError, DecodeErrorKind};
use crate::{Lsn, Timestamp};

/// The field's name in errors.
type What = &'static str;

pub(crate) struct Cursor {
    bytes: Bytes,
    at: usize,
}

impl Cursor {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Cursor { bytes, at: 0 }
    }

    /// Offset of the next byte.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn u8(&mut self, what: What) -> Result<u8, DecodeError> {
        self.array::<1>(what).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, what: What) -> Result<u16, DecodeError> {
        self.array(what).map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self, what: What) -> Result<u32, DecodeError> {
        self.array(what).map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self, what: What) -> Result<i32, DecodeError> {
        self.array(what).map(i32::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self, what: What) -> Result<Lsn, DecodeError> {
        self.array(what).map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    pub(crate) fn timestamp(&mut self, what: What) -> Result<Timestamp, DecodeError> {
        self.array(what).map(|bytes| Timestamp(i64::from_be_bytes(bytes)))
    }

    /// A byte of flags of which only those in `known` have a meaning.
    pub(crate) fn flags(&mut self, what: What, known: u8) -> Result<u8, DecodeError> {
        let offset = self.at;
        match self.u8(what)? {
            flags if flags & !known == 0 => Ok(flags),
            flags => Err(error(what, offset, DecodeErrorKind::UnknownFlags(flags))),
        }
    }

    /// A byte that is 0 or 1.
    pub(crate) fn bool(&mut self, what: What) -> Result<bool, DecodeError> {
        self.flags(what, 1).map(|flags| flags == 1)
    }

    /// A 16-bit count, signed on the wire.
    pub(crate) fn count16(&mut self, what: What) -> Result<u16, DecodeError> {
        let offset = self.at;
        let count = self.u16(what)?;
        match count.cast_signed() {
            0.. => Ok(count),
            negative => Err(error(
                what,
                offset,
                DecodeErrorKind::NegativeLength(negative.into()),
            )),
        }
    }

    /// A 32-bit count or length, signed on the wire.
    pub(crate) fn count32(&mut self, what: What) -> Result<usize, DecodeError> {
        let offset = self.at;
        let count = self.i32(what)?;
        usize::try_from(count).map_err(|_| error(what, offset, DecodeErrorKind::NegativeLength(count)))
    }

    /// A zero-terminated UTF-8 string.
    pub(crate) fn string(&mut self, what: What) -> Result<String, DecodeError> {
        let rest = &self.bytes[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(error(what, self.at, DecodeErrorKind::UnterminatedString));
        };
        let text = std::str::from_utf8(&rest[..length])
            .map_err(|source| error(what, self.at, DecodeErrorKind::NotUtf8(source)))?
            .to_owned();
        self.at += length + 1;
        Ok(text)
    }

    /// The next `length` bytes, shared with the buffer.
    pub(crate) fn bytes(&mut self, what: What, length: usize) -> Result<Bytes, DecodeError> {
        let start = self.at;
        self.skip(what, length)?;
        Ok(self.bytes.slice(start..self.at))
    }

    pub(crate) fn skip(&mut self, what: What, length: usize) -> Result<(), DecodeError> {
        if length > self.remaining() {
            return Err(self.unexpected_end(what, length));
        }
        self.at += length;
        Ok(())
    }

    /// What was read since `start`, shared with the buffer.
    pub(crate) fn since(&self, start: usize) -> Bytes {
        self.bytes.slice(start..self.at)
    }

    /// Everything that is left, shared with the buffer.
    pub(crate) fn rest(&mut self) -> Bytes {
        let start = std::mem::replace(&mut self.at, self.bytes.len());
        self.bytes.slice(start..)
    }

    /// Nothing may be left after the message `what`.
    pub(crate) fn finish(&self, what: What) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            count => Err(error(what, self.at, DecodeErrorKind::TrailingBytes { count })),
        }
    }

    fn array<const N: usize>(&mut self, what: What) -> Result<[u8; N], DecodeError> {
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(array) => {
                self.at += N;
                Ok(*array)
            }
            None => Err(self.unexpected_end(what, N)),
        }
    }

    #[cold]
    fn unexpected_end(&self, what: What, needed: usize) -> DecodeError {
        let available = self.remaining();
        error(
            what,
            self.at,
            DecodeErrorKind::UnexpectedEnd { needed, available },
        )
    }
}

#[cold]
pub(crate) fn error(what: What, offset: usize, kind: DecodeErrorKind) -> DecodeError {
    DecodeError { what, offset, kind }
}
