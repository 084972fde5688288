//! Frames in, bytes out, over any byte stream. Knows nothing of what the frames mean.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use crossfade_postgres::connect::tls_reason;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::frame::{self, Frame};
use crate::violation::Violation;

/// Room made for the next read. Rows handed out share these blocks, so a block lives as long as its last row.
const READ_BLOCK: usize = 64 * 1024;

/// What is left of a block before a new one is taken.
const READ_MIN: usize = 8 * 1024;

/// The longest that the kernel may take to accept a few bytes from us.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side has closed it.
    #[error("read from the server: it closed the connection")]
    Closed,
    /// Reading failed.
    #[error("read from the server")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing failed or took longer than 30 seconds.
    #[error("write to the server")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The other side does not speak the protocol.
    #[error(transparent)]
    Violation(#[from] Violation),
}

/// A byte stream with a buffer of what has been read.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    stream: S,
    input: BytesMut,
}

/// An error of TLS's own says what the server thinks of our certificate.
fn in_words(error: io::Error) -> io::Error {
    match tls_reason(&error) {
        Some(reason) => io::Error::new(error.kind(), reason),
        None => error,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn over(stream: S) -> Self {
        Wire {
            stream,
            input: BytesMut::with_capacity(READ_BLOCK),
        }
    }

    /// The next frame, if it is here already.
    pub(crate) fn buffered(&mut self) -> Result<Option<Frame>, WireError> {
        Ok(frame::split(&mut self.input)?)
    }

    /// Waits for more bytes. Cancel safe: what was read is kept.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        if self.input.capacity() - self.input.len() < READ_MIN {
            self.input.reserve(READ_BLOCK);
        }
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err(WireError::Closed),
            Ok(_) => Ok(()),
            Err(source) => Err(WireError::Read {
                source: in_words(source),
            }),
        }
    }

    /// The next frame. Cancel safe: what was read is kept.
    pub(crate) async fn frame(&mut self) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.fill().await?;
        }
    }

    /// Sends `bytes`. Not cancel safe: a part of them may have been sent.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        let sending = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(WRITE_TIMEOUT, sending).await {
            Ok(sent) => sent.map_err(|source| WireError::Write { source }),
            Err(_) => Err(WireError::Write {
                source: io::ErrorKind::TimedOut.into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_whole_through_a_narrow_pipe() {
        let (near, mut far) = tokio::io::duplex(3);
        let writer = tokio::spawn(async move {
            for tag in [b'a', b'b'] {
                far.write_all(&[tag, 0, 0, 0, 9, 1, 2, 3, 4, 5]).await.unwrap();
            }
        });
        let mut wire = Wire::over(near);
        for tag in [b'a', b'b'] {
            let frame = wire.frame().await.unwrap();
            assert_eq!((frame.tag, frame.body.as_ref()), (tag, &[1, 2, 3, 4, 5][..]));
        }
        writer.await.unwrap();
        assert!(matches!(wire.frame().await, Err(WireError::Closed)));
    }
}
