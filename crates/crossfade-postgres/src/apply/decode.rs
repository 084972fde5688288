//! What `COPY … TO STDOUT` answers, back into cells. Values share the buffers they came in, except text ones that
//! were escaped.

use bytes::{Buf as _, Bytes, BytesMut};
use crossfade_core::change::Cell;

/// Signature, flags and extension length.
const HEADER_LEN: usize = 19;

/// An answer that is not what `COPY` writes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("read the rows of a COPY: they are cut short or malformed")]
pub struct DecodeError;

/// The rows of a `whole` answer, or of its first messages; messages are rows, as the server sends them.
///
/// # Errors
/// When the answer is malformed.
pub fn rows(binary: bool, messages: Vec<Bytes>, whole: bool) -> Result<Vec<Vec<Cell>>, DecodeError> {
    if binary {
        binary_rows(messages, whole)
    } else {
        Ok(messages.iter().map(text_row).collect())
    }
}

fn binary_rows(messages: Vec<Bytes>, whole: bool) -> Result<Vec<Vec<Cell>>, DecodeError> {
    let mut rows = Vec::with_capacity(messages.len());
    for (number, mut message) in messages.into_iter().enumerate() {
        if number == 0 {
            // The server may send the first row in one message with the header.
            message.try_advance(HEADER_LEN)?;
        }
        while message.has_remaining() {
            let fields = message.try_get_i16()?;
            if fields < 0 {
                return Ok(rows);
            }
            rows.push(
                (0..fields)
                    .map(|_| binary_cell(&mut message))
                    .collect::<Result<_, _>>()?,
            );
        }
    }
    // The server says where its answer ends.
    if whole { Err(DecodeError) } else { Ok(rows) }
}

fn binary_cell(message: &mut Bytes) -> Result<Cell, DecodeError> {
    match usize::try_from(message.try_get_i32()?) {
        Err(_) => Ok(Cell::Null),
        Ok(length) if length <= message.len() => Ok(Cell::Binary(message.split_to(length))),
        Ok(_) => Err(DecodeError),
    }
}

trait TryAdvance {
    fn try_advance(&mut self, count: usize) -> Result<(), DecodeError>;
}

impl TryAdvance for Bytes {
    fn try_advance(&mut self, count: usize) -> Result<(), DecodeError> {
        if self.len() < count {
            return Err(DecodeError);
        }
        self.advance(count);
        Ok(())
    }
}

impl From<bytes::TryGetError> for DecodeError {
    fn from(_: bytes::TryGetError) -> Self {
        DecodeError
    }
}

fn text_row(message: &Bytes) -> Vec<Cell> {
    let line = message.strip_suffix(b"\n").unwrap_or(message);
    line.split(|byte| *byte == b'\t')
        .map(|field| text_cell(message, field))
        .collect()
}

fn text_cell(message: &Bytes, field: &[u8]) -> Cell {
    match field {
        b"\\N" => Cell::Null,
        field if field.contains(&b'\\') => Cell::Text(unescape(field)),
        field => Cell::Text(message.slice_ref(field)),
    }
}

/// The server escapes with a letter for control characters, and a backslash before anything else.
fn unescape(field: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' => bytes.next().map_or(b'\\', |escaped| match escaped {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => *other,
            }),
            other => *other,
        };
        out.extend_from_slice(&[plain]);
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use crossfade_core::piece::KeyCells;

    use super::super::{encode, fixture};
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for binary in [true, false] {
            let (mut source, _) = fixture::orders();
            source.binary = binary;
            let value = Bytes::from_static(b"a\\b\tc\nd\r\x08");
            let cell = if binary {
                Cell::Binary(value)
            } else {
                Cell::Text(value)
            };
            let keys = [KeyCells([cell.clone()].into()), KeyCells([Cell::Null].into())];
            let encoded = encode::keys(&source, &keys).unwrap();
            let messages = if binary {
                vec![encoded]
            } else {
                encoded
                    .split_inclusive(|byte| *byte == b'\n')
                    .map(Bytes::copy_from_slice)
                    .collect()
            };
            assert_eq!(
                rows(binary, messages, true),
                Ok(vec![vec![cell], vec![Cell::Null]])
            );
        }
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        let (source, _) = fixture::orders();
        let whole = encode::keys(
            &source,
            &[KeyCells([Cell::Binary(Bytes::from_static(b"abc"))].into())],
        )
        .unwrap();
        for length in 0..whole.len() - 2 {
            assert_eq!(
                rows(true, vec![whole.slice(..length)], true),
                Err(DecodeError),
                "{length}"
            );
        }
        let trailer = size_of::<i16>();
        let first = vec![whole.slice(..whole.len() - trailer)];
        assert_eq!(rows(true, first, false).map(|rows| rows.len()), Ok(1));
    }
}
