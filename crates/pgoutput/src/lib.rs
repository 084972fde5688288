//! Bytes to messages and back: PostgreSQL's streaming replication protocol and its `pgoutput` plugin.
//!
//! A replication connection delivers `CopyData` payloads. [`stream`] opens each one; for a logical slot its payload
//! is a [`message::Message`], which a [`Decoder`] reads. Nothing is copied: values are [`bytes::Bytes`] that share
//! the buffer they came in. Everything can also be written, for tests and simulated servers.
//!
//! No I/O, no clock, no async runtime, one dependency (`bytes`).
//!
//! ```
//! use bytes::{Bytes, BytesMut};
//! use pgoutput::message::{Insert, Message};
//! use pgoutput::stream::{ServerMessage, XLogData};
//! use pgoutput::tuple::{Cell, Tuple};
//! use pgoutput::{Decoder, Lsn, Timestamp};
//!
//! // What a server would send: an Insert within XLogData.
//! let row = Tuple::new(&[Cell::Text(Bytes::from_static(b"42")), Cell::Null])?;
//! let insert = Message::Insert(Insert { xid: None, relation: 16_384, new: row });
//! let mut payload = BytesMut::new();
//! insert.encode(&mut payload)?;
//! let position = Lsn(0x16B_3748);
//! let data = XLogData { start: position, end: position, sent_at: Timestamp(0), payload: payload.freeze() };
//! let mut copy_data = BytesMut::new();
//! data.encode(&mut copy_data);
//!
//! // What a client does with it.
//! let mut decoder = Decoder::new();
//! if let ServerMessage::XLogData(data) = ServerMessage::decode(copy_data.freeze())? {
//!     match decoder.decode(data.payload)? {
//!         Message::Insert(insert) => {
//!             assert_eq!(insert.relation, 16_384);
//!             assert_eq!(insert.new.cells().next(), Some(Cell::Text(Bytes::from_static(b"42"))));
//!         }
//!         other => panic!("an Insert was sent, {other:?} came"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
mod decode;
mod encode;
pub mod error;
mod lsn;
pub mod message;
pub mod stream;
mod timestamp;
pub mod tuple;

pub use decode::Decoder;
pub use lsn::Lsn;
pub use timestamp::Timestamp;
