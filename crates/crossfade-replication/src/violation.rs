//! What a server must not send. Any of these ends the connection: after one, the bytes mean nothing any more.

/// A breach of the protocol by the other side.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    /// A frame that could not hold its own header.
    #[error("read a message: `{}` has the impossible length {length}", char::from(*tag))]
    Length {
        /// The message's tag.
        tag: u8,
        /// The length it gives.
        length: i32,
    },
    /// A message shorter than its fields.
    #[error("read a message: it ends within a field")]
    Truncated,
    /// A message that has no place here.
    #[error("{during}: the server sent an unexpected `{}`", char::from(*tag))]
    Unexpected {
        /// The message's tag.
        tag: u8,
        /// What was going on.
        during: &'static str,
    },
    /// A reply without a row or column that every server of the supported versions sends, or not in its form.
    #[error("{during}: the reply has no usable `{column}`")]
    Reply {
        /// What was going on.
        during: &'static str,
        /// The column.
        column: &'static str,
    },
}
