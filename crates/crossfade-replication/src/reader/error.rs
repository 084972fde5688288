//! Why a reader ended, and what its owner can do about it.

use std::time::Duration;

use pgoutput::error::DecodeError;

use super::options::History;
use crate::assemble::AssembleError;
use crate::server_error::{ServerError, Verdict};
use crate::transport::TransportError;
use crate::violation::Violation;
use crate::wire::WireError;

/// Why a reader ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection could not be opened or used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server ended the stream in good order: it is shutting down.
    #[error("follow the stream: the server ended it")]
    Ended,
    /// The server did not even answer a question.
    #[error("follow the stream: the server said nothing for {after:?}")]
    Silent {
        /// The limit.
        after: Duration,
    },
    /// The connection was lost while parts of a transaction were out and others not.
    #[error("follow the stream: the connection was lost within a transaction")]
    LostInsideTransaction {
        /// How.
        #[source]
        source: Box<ReadError>,
    },
    /// The address leads to another cluster or to another timeline of it.
    #[error(
        "go on with the slot: it belongs to system {}, timeline {}, and this server is {}, timeline {}",
        expected.system_identifier, expected.timeline, found.system_identifier, found.timeline
    )]
    OtherHistory {
        /// Where the slot was made, or where this reader began.
        expected: History,
        /// What is there now.
        found: History,
    },
    /// Bytes that are no message.
    #[error("follow the stream")]
    Decode {
        /// Why.
        #[from]
        source: DecodeError,
    },
    /// The table is not the planned one any more, or the messages make no sense together.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The owner closed the channel.
    #[error("hand over what was read: nobody receives it")]
    Stopped,
}

/// What an owner can do about a [`ReadError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadErrorClass {
    /// Start again from the durable position: nothing is wrong but the connection.
    Lost,
    /// Another server of the same cluster has taken over. Start again from what is durable *there*: this reader may
    /// have read what that one never had; and see whether the slot has come along, and how far.
    Promoted,
    /// Slot or publication is gone or cannot be used any more, or it belongs to another cluster.
    SlotGone,
    /// The source's definition changed.
    SourceChanged,
    /// The role may not do this, or not there.
    NotPermitted,
    /// What came cannot be trusted, or was refused for a reason that we do not know.
    Protocol,
    /// The owner stopped it.
    Stopped,
}

impl ReadError {
    /// What the owner can do about it.
    pub fn class(&self) -> ReadErrorClass {
        match self {
            ReadError::Transport(error) => class_of_transport(error),
            ReadError::Ended | ReadError::Silent { .. } | ReadError::LostInsideTransaction { .. } => {
                ReadErrorClass::Lost
            }
            ReadError::OtherHistory { expected, found }
                if expected.system_identifier == found.system_identifier =>
            {
                ReadErrorClass::Promoted
            }
            ReadError::OtherHistory { .. } => ReadErrorClass::SlotGone,
            ReadError::Decode { .. } => ReadErrorClass::Protocol,
            ReadError::Assemble(error) => class_of_assembly(error),
            ReadError::Stopped => ReadErrorClass::Stopped,
        }
    }
}

fn class_of_transport(error: &TransportError) -> ReadErrorClass {
    match error {
        TransportError::Stream(_) | TransportError::NoServer { .. } => ReadErrorClass::Lost,
        TransportError::WrongServer(_)
        | TransportError::PasswordMissing
        | TransportError::MethodNotSupported { .. }
        | TransportError::NotBound { .. }
        | TransportError::Pooler { .. }
        | TransportError::Scram { .. } => ReadErrorClass::NotPermitted,
        TransportError::Encode { .. } => ReadErrorClass::Protocol,
        TransportError::Server { source, .. } => class_of_refusal(source),
        TransportError::Wire(error) => match error {
            WireError::Closed | WireError::Read { .. } | WireError::Write { .. } => ReadErrorClass::Lost,
            WireError::Violation(_) => ReadErrorClass::Protocol,
        },
    }
}

/// A reader asks for little, so a SQLSTATE says enough: what is missing or unusable is slot or publication, and
/// what is in use is our slot, by a walsender that has not noticed yet that its client is gone.
fn class_of_refusal(error: &ServerError) -> ReadErrorClass {
    match error.verdict() {
        Verdict::TryLater | Verdict::Again | Verdict::InUse => ReadErrorClass::Lost,
        Verdict::Missing | Verdict::Unusable => ReadErrorClass::SlotGone,
        Verdict::NotPermitted => ReadErrorClass::NotPermitted,
        Verdict::Exists | Verdict::Other => ReadErrorClass::Protocol,
    }
}

fn class_of_assembly(error: &AssembleError) -> ReadErrorClass {
    match error {
        AssembleError::SourceChanged { .. } => ReadErrorClass::SourceChanged,
        AssembleError::UnknownRelation { .. }
        | AssembleError::TupleWidth { .. }
        | AssembleError::KeyMissing
        | AssembleError::NoTransaction
        | AssembleError::BeginWithinTransaction
        | AssembleError::StreamedTransaction
        | AssembleError::OtherCommit { .. }
        | AssembleError::OutOfOrder { .. }
        | AssembleError::StartWithinCommit { .. } => ReadErrorClass::Protocol,
    }
}

impl From<WireError> for ReadError {
    fn from(error: WireError) -> Self {
        ReadError::Transport(error.into())
    }
}

impl From<Violation> for ReadError {
    fn from(violation: Violation) -> Self {
        ReadError::Transport(violation.into())
    }
}
