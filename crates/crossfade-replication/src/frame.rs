//! Cuts a stream of bytes into the protocol's frames, however the network has split them.
//!
//! `postgres_protocol::message::backend` is not used for this: it rejects the messages of replication. Bodies
//! are slices of the buffer that the socket was read into; nothing is copied.

use bytes::{Buf, Bytes, BytesMut};

use crate::violation::Violation;

/// One message of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The kind of message.
    pub(crate) tag: u8,
    /// Everything after tag and length.
    pub(crate) body: Bytes,
}

/// Tag and length.
const HEADER: usize = 5;

/// Splits the first whole frame off `buffer`; `None` while more bytes are needed, in which case room for the
/// missing ones has been reserved.
pub(crate) fn split(buffer: &mut BytesMut) -> Result<Option<Frame>, Violation> {
    let Some((&[tag, a, b, c, d], _)) = buffer.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes([a, b, c, d]);
    // The length counts itself, four bytes, but not the tag.
    let body = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_sub(HEADER - 1))
        .ok_or(Violation::Length { tag, length })?;
    let total = HEADER + body;
    if buffer.len() < total {
        buffer.reserve(total - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(total);
    frame.advance(HEADER);
    Ok(Some(Frame {
        tag,
        body: frame.freeze(),
    }))
}

/// Reads the fields of a message's body, in order.
pub(crate) struct Fields(Bytes);

impl Fields {
    /// Reads `body` from its beginning.
    pub(crate) fn of(body: Bytes) -> Self {
        Fields(body)
    }

    /// Nothing is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    /// A byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Violation> {
        self.0.try_get_u8().map_err(|_| Violation::Truncated)
    }

    /// Two bytes, big-endian.
    pub(crate) fn u16(&mut self) -> Result<u16, Violation> {
        self.0.try_get_u16().map_err(|_| Violation::Truncated)
    }

    /// Four bytes, big-endian.
    pub(crate) fn i32(&mut self) -> Result<i32, Violation> {
        self.0.try_get_i32().map_err(|_| Violation::Truncated)
    }

    /// `length` bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<Bytes, Violation> {
        if length > self.0.len() {
            return Err(Violation::Truncated);
        }
        Ok(self.0.split_to(length))
    }

    /// Text up to a zero byte. The connection's encoding is UTF-8, but what the server says before it knows
    /// that may be in any: what cannot be read is replaced.
    pub(crate) fn text(&mut self) -> Result<String, Violation> {
        let end = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .ok_or(Violation::Truncated)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(frames: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (tag, body) in frames {
            bytes.push(*tag);
            bytes.extend((body.len() as i32 + 4).to_be_bytes());
            bytes.extend(*body);
        }
        bytes
    }

    #[test]
    fn frames_survive_every_split_of_the_stream() {
        let frames: &[(u8, &[u8])] = &[
            (b'Z', b"I"),
            (b'd', b"some longer body"),
            (b'N', b""),
            (b'd', b"x"),
        ];
        let bytes = encoded(frames);
        for step in 1..=bytes.len() {
            let mut buffer = BytesMut::new();
            let mut seen = Vec::new();
            for piece in bytes.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = split(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            assert!(buffer.is_empty());
            assert_eq!(seen.len(), frames.len(), "in pieces of {step}");
            for (frame, (tag, body)) in seen.iter().zip(frames) {
                assert_eq!((frame.tag, frame.body.as_ref()), (*tag, *body));
            }
        }
    }

    #[test]
    fn an_impossible_length_is_a_violation() {
        for length in [3, 0, -1, i32::MIN] {
            let mut bytes = vec![b'd'];
            bytes.extend(i32::to_be_bytes(length));
            let error = split(&mut BytesMut::from(&bytes[..])).unwrap_err();
            assert!(matches!(error, Violation::Length { tag: b'd', .. }));
        }
    }

    #[test]
    fn fields_never_reach_beyond_the_body() {
        let mut fields = Fields::of(Bytes::from_static(b"ab\0\0\x05"));
        assert_eq!(fields.text().unwrap(), "ab");
        assert_eq!(fields.u16().unwrap(), 5);
        assert!(fields.is_empty());
        assert!(fields.u8().is_err() && fields.i32().is_err() && fields.text().is_err());
        assert!(fields.bytes(1).is_err());
    }
}
