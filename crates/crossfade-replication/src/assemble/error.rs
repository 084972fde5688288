//! Messages that are each well-formed but do not make a stream that can be trusted.

use crossfade_core::position::Lsn;

use crate::shape::SourceChange;

/// Why the stream cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The table is not what the plan says.
    #[error("follow the source: it has changed: {what}")]
    SourceChanged {
        /// How.
        #[from]
        what: SourceChange,
    },
    /// A change of a table that was never announced, or of another than was announced.
    #[error("follow the stream: a change of the unannounced relation {oid}")]
    UnknownRelation {
        /// Its oid.
        oid: u32,
    },
    /// A tuple that does not have the announced columns.
    #[error("follow the stream: a tuple of {found} cells where {announced} were announced")]
    TupleWidth {
        /// Columns of the relation.
        announced: usize,
        /// Cells of the tuple.
        found: usize,
    },
    /// An update whose new row lacks its key, with no old row to take it from.
    #[error("follow the stream: an update came without its key")]
    KeyMissing,
    /// A change or a commit outside a transaction.
    #[error("follow the stream: a change or commit came outside a transaction")]
    NoTransaction,
    /// A transaction within a transaction.
    #[error("follow the stream: a transaction began within another one")]
    BeginWithinTransaction,
    /// We did not ask for transactions in progress.
    #[error("follow the stream: a transaction in progress was streamed")]
    StreamedTransaction,
    /// The commit is not the one that was announced at the beginning.
    #[error("follow the stream: a commit at {found} ends the transaction announced for {announced}")]
    OtherCommit {
        /// At Begin.
        announced: Lsn,
        /// At Commit.
        found: Lsn,
    },
    /// A transaction that committed before a position which the server said to have passed.
    #[error("follow the stream: a commit at {final_lsn} comes after position {position} was passed")]
    OutOfOrder {
        /// Start of its commit record.
        final_lsn: Lsn,
        /// The position.
        position: Lsn,
    },
    /// The start position is not the end of a record, so nobody can tell whether this commit is applied.
    #[error("follow the stream: the start {start} lies within the commit record {commit_lsn}..{end_lsn}")]
    StartWithinCommit {
        /// Where we began.
        start: Lsn,
        /// Start of the commit record.
        commit_lsn: Lsn,
        /// Its end.
        end_lsn: Lsn,
    },
}
