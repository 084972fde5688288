//! The messages of pgoutput, protocol versions 1 and 2, as PostgreSQL's chapter "Logical Replication Message
//! Formats" lists them.
//!
//! ```text
//! version 1   Begin (Origin)? (Relation | Type | Insert | Update | Delete | Truncate | Logical)* Commit
//! version 2   also, for transactions in progress larger than logical_decoding_work_mem:
//!             ( StreamStart (Origin)? (… as above, each with its xid)* StreamStop | StreamAbort )* StreamCommit
//! ```
//!
//! Blocks of several streamed transactions, and whole transactions, may come in turn; a block is never
//! interrupted. A [`Logical`] message that is not transactional may also come between transactions.
//! A [`Relation`] comes before the first change of its table and again when its definition has changed.
//!
//! `xid` fields of type `Option<u32>` are set if and only if the message came between StreamStart and StreamStop.
//! There they tell the **sub**transaction, which a later [`StreamAbort`] may take back; only that of a [`Logical`]
//! message is the top-level one, whichever subtransaction wrote it (seen in PostgreSQL 15).

use bytes::Bytes;

use crate::tuple::Tuple;
use crate::{Lsn, Timestamp};

/// One message of pgoutput.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// `B`.
    Begin(Begin),
    /// `C`.
    Commit(Commit),
    /// `O`.
    Origin(Origin),
    /// `R`.
    Relation(Relation),
    /// `Y`.
    Type(Type),
    /// `I`.
    Insert(Insert),
    /// `U`.
    Update(Update),
    /// `D`.
    Delete(Delete),
    /// `T`.
    Truncate(Truncate),
    /// `M`, what PostgreSQL's documentation calls Message.
    Logical(Logical),
    /// `S`.
    StreamStart(StreamStart),
    /// `E`.
    StreamStop,
    /// `c`.
    StreamCommit(StreamCommit),
    /// `A`.
    StreamAbort(StreamAbort),
}

/// A committed transaction begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// **Start** of the commit record, the same as [`Commit::commit_lsn`].
    pub final_lsn: Lsn,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The top-level transaction id, without its epoch.
    pub xid: u32,
}

/// The transaction is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// **Start** of the commit record.
    pub commit_lsn: Lsn,
    /// **End** of the commit record: the position to acknowledge.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// The transaction was replicated to this server from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Where it was committed there.
    pub commit_lsn: Lsn,
    /// Name of the replication origin.
    pub name: String,
}

/// Definition of a table, as of the changes that follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// `pg_class.oid`. It survives renames and rewrites of the table.
    pub oid: u32,
    /// Schema; empty for `pg_catalog`.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Which columns identify a row.
    pub replica_identity: ReplicaIdentity,
    /// The published columns, in the order of every tuple. Without dropped columns and, up to
    /// PostgreSQL 17, generated ones.
    pub columns: Vec<Column>,
}

/// What the server sends of an old row (`pg_class.relreplident`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaIdentity {
    /// `d`: the primary key.
    Default,
    /// `n`: nothing.
    Nothing,
    /// `f`: all columns.
    Full,
    /// `i`: the columns of a chosen index.
    Index,
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// It belongs to the replica identity (under [`ReplicaIdentity::Full`] every column does).
    pub in_identity: bool,
    /// Column name.
    pub name: String,
    /// `pg_type.oid`.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`: length, precision and the like; -1 for none.
    pub type_modifier: i32,
}

/// Name of a type that is not built in, before the [`Relation`] that uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// `pg_type.oid`.
    pub oid: u32,
    /// Schema; empty for `pg_catalog`.
    pub schema: String,
    /// Type name.
    pub name: String,
}

/// A new row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insert {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// [`Relation::oid`].
    pub relation: u32,
    /// The row.
    pub new: Tuple,
}

/// A changed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// [`Relation::oid`].
    pub relation: u32,
    /// The row before, as far as it was sent: a [`OldTuple::Key`] only when a column of the identity changed
    /// or is stored externally.
    pub old: Option<OldTuple>,
    /// The row afterwards. TOASTed values that were not touched are [`Cell::Unchanged`](crate::tuple::Cell).
    pub new: Tuple,
}

/// A removed row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// [`Relation::oid`].
    pub relation: u32,
    /// The row before, as far as it was sent.
    pub old: OldTuple,
}

/// What was sent of a row before its change. Always of the relation's full width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OldTuple {
    /// `K`: only the columns of the identity; the `Null`s elsewhere are **not** values.
    Key(Tuple),
    /// `O`: all columns ([`ReplicaIdentity::Full`]).
    Full(Tuple),
}

/// Tables emptied in one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncate {
    /// The streamed subtransaction's id; see the module.
    pub xid: Option<u32>,
    /// `CASCADE` was given. The tables it reached are among `relations`, if published.
    pub cascade: bool,
    /// `RESTART IDENTITY` was given.
    pub restart_identity: bool,
    /// [`Relation::oid`] of each published table.
    pub relations: Vec<u32>,
}

/// A message written with `pg_logical_emit_message`; sent with the option `messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logical {
    /// The streamed top-level transaction's id; see the module.
    pub xid: Option<u32>,
    /// It belongs to the transaction around it. Otherwise it stands alone, was sent as soon as it was decoded,
    /// and holds even if the transaction that wrote it was rolled back.
    pub transactional: bool,
    /// Where it is in the log.
    pub lsn: Lsn,
    /// For whom it is.
    pub prefix: String,
    /// Anything; shared with the buffer.
    pub content: Bytes,
}

/// A block of a transaction in progress begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStart {
    /// The top-level transaction id.
    pub xid: u32,
    /// This is the transaction's first block.
    pub first: bool,
}

/// A streamed transaction is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCommit {
    /// The top-level transaction id.
    pub xid: u32,
    /// **Start** of the commit record.
    pub commit_lsn: Lsn,
    /// **End** of the commit record: the position to acknowledge.
    pub end_lsn: Lsn,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// A streamed transaction, or one of its subtransactions, is rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAbort {
    /// The top-level transaction id.
    pub xid: u32,
    /// What is rolled back; the same as `xid` if it is everything.
    pub subxid: u32,
}

impl OldTuple {
    /// The tuple, whichever it is.
    pub fn tuple(&self) -> &Tuple {
        match self {
            OldTuple::Key(tuple) | OldTuple::Full(tuple) => tuple,
        }
    }
}
