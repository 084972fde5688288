//! What the feed gives to the applier: coalesced final images, in pieces of bounded size.
//!
//! A **batch** is one target transaction and ends on a source commit. It consists of one or more **pieces**, so
//! that a source transaction of any size is applied without being held. Within a piece every key occurs at
//! most once among `deletes` and at most once among `puts`; the applier runs all deletes before all puts.

use bytes::Bytes;

use crate::change::{Cell, Row};
use crate::position::{Lsn, Xid};
use crate::snapshot::Snapshot;

/// The final image of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// The row as the source has it. A [`Cell::Unchanged`] means: the target row exists, keep what it has.
    pub row: Row,
}

impl Put {
    /// Whether any cell is to be kept from the target's row.
    pub fn keeps(&self) -> bool {
        self.row.0.iter().any(|cell| matches!(cell, Cell::Unchanged))
    }
}

/// The key cells of one source row, in the order of [`crate::plan::Key::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCells(pub Box<[Cell]>);

/// The key of a row of one target, as the server writes its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetKey {
    /// Which target, by its position in the step.
    pub target: usize,
    /// The key's columns.
    pub key: Vec<String>,
}

/// A bounded part of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// This is the batch's first piece: the applier opens the target transaction.
    pub first: bool,
    /// Empty the target before anything else (a `TRUNCATE` in the stream).
    pub truncate: bool,
    /// Rows of the targets that no row of the source stands for: to be removed before anything else. Only a repair
    /// knows of such rows.
    pub removes: Vec<TargetKey>,
    /// Rows to remove. A replaced row (deleted, then inserted) is in both lists.
    pub deletes: Vec<KeyCells>,
    /// Rows to write. Without a key (an append-only table) in stream order and never coalesced.
    pub puts: Vec<Put>,
    /// Set on the batch's last piece: the position that commits with it.
    pub applied: Option<Lsn>,
    /// Set with `applied` on the last piece of an alignment: with its commit the target is the source as this
    /// snapshot sees it, and whatever the snapshot sees must never be applied again. It commits with the rows.
    pub aligned: Option<Snapshot>,
    /// Some rows were fetched from the source, so the target may be ahead of the stream until the batch ends.
    pub fetched: bool,
    /// What the ledger has to remember of this batch; in its last piece.
    pub ledger: LedgerNote,
}

/// What the ledger remembers across a crash, written in the transaction that advances the applied LSN (R6).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerNote {
    /// Unproven drops written before are proven: they go, before `drops` are added.
    pub forget: bool,
    /// Transactions of which a change was dropped for a chunk that is still to be read, and not seen to be visible.
    pub drops: Vec<Xid>,
    /// The source was emptied while it was copied: the ledger rows go, and the copy begins again from the first key.
    pub restart: bool,
}

impl LedgerNote {
    /// Nothing to write.
    pub fn is_empty(&self) -> bool {
        !self.forget && !self.restart && self.drops.is_empty()
    }
}

/// A row that must be read from the source because the stream did not carry it whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchKey {
    /// Where the answer belongs: position in the list that was asked for.
    pub ordinal: u32,
    /// The key.
    pub key: KeyCells,
}

/// Our prefix for `pg_logical_emit_message`.
pub const MESSAGE_PREFIX: &str = "crossfade";

const MARKER: &str = "fence ";

/// What a marker message says.
pub type Marker = Bytes;

/// The content of the marker message that ends a drain.
pub fn marker(migration: &str, attempt: u32) -> Marker {
    Bytes::from(format!("{MARKER}{migration} {attempt}"))
}

/// Whether a message of ours may be a marker: only these are kept until they are asked for.
pub(crate) fn is_marker(content: &[u8]) -> bool {
    content.starts_with(MARKER.as_bytes())
}
