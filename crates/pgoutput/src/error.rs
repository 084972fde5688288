//! What can be wrong with bytes that claim to be a message, and with a message that is to become bytes.
//!
//! Written by hand rather than derived: `bytes` is this crate's only dependency. The texts are fragments that
//! fit "failed to {error}", and never contain a column's value.

use std::error::Error;
use std::fmt;
use std::str::Utf8Error;

/// Bytes that are no message: which field, where, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The field or message that was being read.
    pub what: &'static str,
    /// Where that field begins, in bytes from the beginning of the payload given to the decoder. For
    /// [`DecodeErrorKind::TrailingBytes`] the first byte that is too much.
    pub offset: usize,
    /// Why it could not be read.
    pub kind: DecodeErrorKind,
}

/// Why a field could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeErrorKind {
    /// The payload ends within the field.
    UnexpectedEnd {
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that are left.
        available: usize,
    },
    /// No zero byte ends the string.
    UnterminatedString,
    /// The string is not UTF-8. Names come in the session's `client_encoding`: set it to UTF8.
    NotUtf8(Utf8Error),
    /// A byte that announces what follows, and that this crate does not know.
    UnknownTag(u8),
    /// A count or length below zero.
    NegativeLength(i32),
    /// A flag byte with a value that has no meaning.
    UnknownFlags(u8),
    /// The message is complete, and bytes follow it.
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// The message may come only between [`StreamStart`](crate::message::StreamStart) and `StreamStop`.
    OutsideStreamBlock,
    /// The message may not come between [`StreamStart`](crate::message::StreamStart) and `StreamStop`.
    InsideStreamBlock,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decode {} at byte {}: {}", self.what, self.offset, self.kind)
    }
}

impl fmt::Display for DecodeErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd { needed, available } => {
                write!(f, "{needed} bytes needed, {available} left")
            }
            Self::UnterminatedString => f.write_str("the string has no end"),
            Self::NotUtf8(_) => f.write_str("the string is not UTF-8"),
            Self::UnknownTag(tag) => write!(f, "unknown tag '{}' (0x{tag:02X})", tag.escape_ascii()),
            Self::NegativeLength(length) => write!(f, "negative length {length}"),
            Self::UnknownFlags(flags) => write!(f, "unknown flags 0x{flags:02X}"),
            Self::TrailingBytes { count } => write!(f, "{count} bytes too many"),
            Self::OutsideStreamBlock => f.write_str("not allowed outside a stream block"),
            Self::InsideStreamBlock => f.write_str("not allowed inside a stream block"),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            DecodeErrorKind::NotUtf8(source) => Some(source),
            DecodeErrorKind::UnexpectedEnd { .. }
            | DecodeErrorKind::UnterminatedString
            | DecodeErrorKind::UnknownTag(_)
            | DecodeErrorKind::NegativeLength(_)
            | DecodeErrorKind::UnknownFlags(_)
            | DecodeErrorKind::TrailingBytes { .. }
            | DecodeErrorKind::OutsideStreamBlock
            | DecodeErrorKind::InsideStreamBlock => None,
        }
    }
}

/// A message that has no form in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// A string contains a zero byte, which would end it early.
    ZeroByte {
        /// The string's field.
        what: &'static str,
    },
    /// More items or bytes than the field's counter can hold.
    TooLong {
        /// The counted field.
        what: &'static str,
        /// How many there are.
        length: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroByte { what } => write!(f, "encode {what}: it contains a zero byte"),
            Self::TooLong { what, length } => {
                write!(f, "encode {what}: length {length} does not fit its counter")
            }
        }
    }
}

impl Error for EncodeError {}
