//! Messages in, stream items out: transactions in parts, and positions at which nothing is left to deliver.
//!
//! No I/O and no clock, so that every sequence of messages can be tried. Invariants:
//!
//! - The position never goes back; whatever committed at or before it has been handed out or was
//!   applied before the start.
//! - A transaction is skipped if and only if its commit record **starts** before the start position. That
//!   position is the end of some record, so no commit record lies across it, and the test says the same as
//!   `end_lsn ≤ applied` while only the start is known; the commit itself is checked against this when it comes.
//! - A transaction without anything of ours becomes a keepalive at its commit's end: the channel keeps the
//!   order, so whoever receives it has received everything before it (R22).

mod batch;
mod error;

use std::collections::BTreeMap;

use bytes::Bytes;
use crossfade_core::change::{Change, Row, TransactionPart};
use crossfade_core::piece::MESSAGE_PREFIX;
use crossfade_core::position::Lsn;
use pgoutput::message::{Begin, Commit, Logical, Message, Relation, Truncate};

pub(crate) use self::batch::Batch;
pub use self::error::AssembleError;

use crate::rows::Rows;
use crate::shape::{Shape, SourceChange};

/// When a transaction is handed out in parts rather than whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartLimits {
    /// Changes in one part.
    pub changes_max: usize,
    /// Bytes that one part takes in memory, about; one change more is possible.
    pub bytes_max: usize,
}

/// Turns the messages of a stream into items.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The tables that it may carry.
    shapes: Vec<Shape>,
    limits: PartLimits,
    /// Where the stream was asked to begin.
    start: Lsn,
    position: Lsn,
    /// Of each table, by its oid, as it was last announced.
    rows: BTreeMap<u32, Rows>,
    open: Option<Open>,
}

/// The transaction between its Begin and its Commit.
#[derive(Debug)]
struct Open {
    xid: u32,
    final_lsn: Lsn,
    skipped: bool,
    /// No part has been handed out.
    first: bool,
    changes: Vec<Change>,
    /// See [`TransactionPart::tables`].
    tables: Vec<u32>,
    messages: Vec<Bytes>,
    bytes: usize,
}

impl Assembler {
    /// Begins at `start`, up to which everything is applied.
    pub(crate) fn new(shapes: Vec<Shape>, limits: PartLimits, start: Lsn) -> Self {
        Assembler {
            shapes,
            limits,
            start,
            position: start,
            rows: BTreeMap::new(),
            open: None,
        }
    }

    /// Everything committed at or before this has been handed out.
    pub(crate) fn position(&self) -> Lsn {
        self.position
    }

    /// Begins anew at The position, on a new connection. `false` if that cannot be done because a
    /// part of an unfinished transaction is out.
    pub(crate) fn restart(&mut self) -> bool {
        let torn = self.open.as_ref().is_some_and(|open| !open.first);
        self.start = self.position;
        self.rows.clear();
        self.open = None;
        !torn
    }

    /// The server has nothing more for us at or below `wal_end`.
    pub(crate) fn keepalive(&mut self, wal_end: Lsn, out: &mut Batch) {
        // Within a transaction the position lies before its commit and is of no use. Just after the start of a
        // stream the server may tell where it reads again from, which is behind us.
        if self.open.is_none() && wal_end > self.position {
            self.position = wal_end;
            out.push_keepalive(wal_end);
        }
    }

    /// Takes the next message; what is complete goes to `out`.
    pub(crate) fn message(&mut self, message: Message, out: &mut Batch) -> Result<(), AssembleError> {
        match message {
            Message::Begin(begin) => self.begin(&begin),
            Message::Commit(commit) => self.commit(&commit, out),
            Message::Relation(relation) => self.relation(&relation),
            Message::Insert(insert) => {
                let rows = self.rows(insert.relation)?;
                let changes = rows.handed_out(rows.insert(&insert)?);
                self.changes(rows.number(), changes, out)
            }
            Message::Update(update) => {
                let rows = self.rows(update.relation)?;
                let changes = rows.handed_out(rows.update(&update)?);
                self.changes(rows.number(), changes, out)
            }
            Message::Delete(delete) => {
                let rows = self.rows(delete.relation)?;
                let changes = rows.handed_out(rows.delete(&delete)?);
                self.changes(rows.number(), changes, out)
            }
            Message::Truncate(truncate) => self.truncate(&truncate, out),
            Message::Logical(logical) => self.logical(logical, out),
            Message::Origin(_) | Message::Type(_) => Ok(()),
            Message::StreamStart(_)
            | Message::StreamStop
            | Message::StreamCommit(_)
            | Message::StreamAbort(_) => Err(AssembleError::StreamedTransaction),
        }
    }

    fn begin(&mut self, begin: &Begin) -> Result<(), AssembleError> {
        if self.open.is_some() {
            return Err(AssembleError::BeginWithinTransaction);
        }
        let final_lsn = Lsn(begin.final_lsn.0);
        let skipped = final_lsn < self.start;
        if !skipped && final_lsn < self.position {
            return Err(AssembleError::OutOfOrder {
                final_lsn,
                position: self.position,
            });
        }
        self.open = Some(Open {
            xid: begin.xid,
            final_lsn,
            skipped,
            first: true,
            changes: Vec::new(),
            tables: Vec::new(),
            messages: Vec::new(),
            bytes: 0,
        });
        Ok(())
    }

    fn commit(&mut self, commit: &Commit, out: &mut Batch) -> Result<(), AssembleError> {
        let mut open = self.open.take().ok_or(AssembleError::NoTransaction)?;
        let (commit_lsn, end_lsn) = (Lsn(commit.commit_lsn.0), Lsn(commit.end_lsn.0));
        if commit_lsn != open.final_lsn || end_lsn <= commit_lsn {
            return Err(AssembleError::OtherCommit {
                announced: open.final_lsn,
                found: commit_lsn,
            });
        }
        if open.skipped {
            return match end_lsn <= self.start {
                true => Ok(()),
                false => Err(AssembleError::StartWithinCommit {
                    start: self.start,
                    commit_lsn,
                    end_lsn,
                }),
            };
        }
        if open.first && open.is_empty() {
            self.keepalive(end_lsn, out);
        } else {
            self.position = end_lsn;
            open.hand_out(Some(end_lsn), out);
        }
        Ok(())
    }

    fn relation(&mut self, relation: &Relation) -> Result<(), AssembleError> {
        self.rows.remove(&relation.oid);
        let mut shapes = (0..).zip(&self.shapes);
        let found = shapes.find(|(_, shape)| shape.oid == relation.oid);
        let rows = match found {
            Some((number, shape)) => Rows::of(shape, number, relation)?,
            None if self.shapes.iter().any(|shape| shape.partitioned) => return Ok(()),
            None => return Err(SourceChange::other_table(relation).into()),
        };
        self.rows.insert(relation.oid, rows);
        Ok(())
    }

    fn rows(&self, relation: u32) -> Result<&Rows, AssembleError> {
        let rows = self.rows.get(&relation);
        rows.ok_or(AssembleError::UnknownRelation { oid: relation })
    }

    /// Of several tables at once it is one change of each.
    fn truncate(&mut self, truncate: &Truncate, out: &mut Batch) -> Result<(), AssembleError> {
        for &relation in &truncate.relations {
            let rows = self.rows(relation)?;
            let change = rows.truncate(truncate.restart_identity)?;
            self.changes(rows.number(), std::iter::once(change), out)?;
        }
        Ok(())
    }

    fn changes(
        &mut self,
        table: u32,
        changes: impl Iterator<Item = Change>,
        out: &mut Batch,
    ) -> Result<(), AssembleError> {
        let several = self.shapes.len() > 1;
        let open = self.open.as_mut().ok_or(AssembleError::NoTransaction)?;
        for change in changes {
            open.add(weight(&change), |open| {
                open.changes.push(change);
                open.tables.extend(several.then_some(table));
            });
        }
        open.hand_out_if_large(self.limits, out);
        Ok(())
    }

    fn logical(&mut self, logical: Logical, out: &mut Batch) -> Result<(), AssembleError> {
        // One that is not transactional stands for nothing committed.
        if !logical.transactional {
            return Ok(());
        }
        let open = self.open.as_mut().ok_or(AssembleError::NoTransaction)?;
        if logical.prefix == MESSAGE_PREFIX {
            let bytes = size_of::<Bytes>() + logical.content.len();
            open.add(bytes, |open| open.messages.push(logical.content));
            open.hand_out_if_large(self.limits, out);
        }
        Ok(())
    }
}

impl Open {
    fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.messages.is_empty()
    }

    fn add(&mut self, bytes: usize, push: impl FnOnce(&mut Self)) {
        if !self.skipped {
            self.bytes += bytes;
            push(self);
        }
    }

    fn hand_out_if_large(&mut self, limits: PartLimits, out: &mut Batch) {
        let items = self.changes.len() + self.messages.len();
        if items >= limits.changes_max.max(1) || self.bytes >= limits.bytes_max {
            self.hand_out(None, out);
        }
    }

    fn hand_out(&mut self, commit_lsn: Option<Lsn>, out: &mut Batch) {
        let part = TransactionPart {
            xid: self.xid,
            final_lsn: self.final_lsn,
            first: std::mem::replace(&mut self.first, false),
            changes: std::mem::take(&mut self.changes),
            tables: std::mem::take(&mut self.tables),
            messages: std::mem::take(&mut self.messages),
            commit_lsn,
        };
        out.push_part(part, std::mem::take(&mut self.bytes));
    }
}

/// What a change takes in memory, about.
fn weight(change: &Change) -> usize {
    let row = |row: &Row| size_of_val(&*row.0) + row.size();
    size_of::<Change>()
        + match change {
            Change::Insert { new } => row(new),
            Change::Update { old_key, new } => row(new) + old_key.as_ref().map_or(0, row),
            Change::Delete { old_key } => row(old_key),
            Change::Truncate { .. } => 0,
        }
}

#[cfg(test)]
mod tests;
