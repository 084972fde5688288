//! What the stream delivers, in the core's own types: rows, changes, and transactions in parts.

use bytes::Bytes;

use crate::position::Lsn;

/// One value of one column. Bytes are shared with the buffer they were read into, never copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// SQL `NULL`.
    Null,
    /// A TOASTed value that the update did not touch and that the server therefore did not send. In a
    /// [`crate::piece::Put`] it means: keep what the target has.
    Unchanged,
    /// The type's text form.
    Text(Bytes),
    /// The type's binary (`typsend`) form.
    Binary(Bytes),
}

impl Cell {
    /// Bytes of the value itself; `Null` and `Unchanged` count as none.
    pub fn size(&self) -> usize {
        match self {
            Cell::Null | Cell::Unchanged => 0,
            Cell::Text(bytes) | Cell::Binary(bytes) => bytes.len(),
        }
    }
}

/// The cells of one source row, in the order of [`crate::plan::Source::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Box<[Cell]>);

impl Row {
    /// Bytes of all values.
    pub fn size(&self) -> usize {
        self.0.iter().map(Cell::size).sum()
    }
}

/// One row-level event of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new row, complete.
    Insert {
        /// The row.
        new: Row,
    },
    /// A changed row.
    Update {
        /// The replica identity before the update, when the server sent it: full width, and of columns outside
        /// the identity the cells are `Null` and mean nothing. Absent when no key column changed.
        old_key: Option<Row>,
        /// The row afterwards; TOASTed values that were not touched are [`Cell::Unchanged`]. Under REPLICA
        /// IDENTITY FULL the reader has already filled these from the old row.
        new: Row,
    },
    /// A removed row.
    Delete {
        /// As [`Change::Update::old_key`].
        old_key: Row,
    },
    /// All rows removed.
    Truncate {
        /// `RESTART IDENTITY` was given.
        restart_identity: bool,
    },
}

/// A consecutive part of one committed transaction. Small transactions come whole, in one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionPart {
    /// The low 32 bits of the top-level transaction id, as the stream carries it.
    pub xid: u32,
    /// Start of the commit record, known from the beginning.
    pub final_lsn: Lsn,
    /// This is the first part.
    pub first: bool,
    /// The changes of the tables that are followed, in stream order.
    pub changes: Vec<Change>,
    /// For each of the changes the table that it is of, by its number among those that are followed; empty if there is
    /// only one.
    pub tables: Vec<u32>,
    /// Logical messages with our prefix, in stream order.
    pub messages: Vec<Bytes>,
    /// End of the commit record; set on the last part only.
    pub commit_lsn: Option<Lsn>,
}

/// What the reader hands to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamItem {
    /// A part of a transaction.
    Transaction(TransactionPart),
    /// The server has nothing (more) for us at or below this position.
    Keepalive {
        /// `walEnd` of the keepalive; comparable with commit positions.
        wal_end: Lsn,
    },
}
