//! What a publish returns for each message.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::bus::PublishError;
use crate::limits::MAX_MESSAGE_BYTES;
use crate::message::{Outgoing, Subject};

/// How durable a message must be before the client gets the receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// The bus has the message.
    #[default]
    Stored,
    /// The store has the message too, or [`COMMITTED_WAIT`](crate::limits::COMMITTED_WAIT) has passed.
    Committed,
}

/// The receipt of an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The message's sequence; for a duplicate, that of the first message.
    pub seq: u64,
    /// The message's id.
    pub id: Uuid,
    /// The message's subject.
    pub subject: Subject,
    /// When the message was created; for a duplicate, when the first message was.
    pub created_at: DateTime<Utc>,
    /// Whether the log had the message already.
    pub duplicate: bool,
    /// Whether the store has the message.
    pub committed: bool,
}

/// The reason why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// The encoded message is too large.
    #[error(
        "the encoded message has {bytes} bytes; at most {MAX_MESSAGE_BYTES} fit, headers included"
    )]
    TooLarge {
        /// The size of body and headers.
        bytes: usize,
    },
    /// The id belongs to a message with another body.
    #[error("id {id} was used for another message, at sequence {seq}")]
    Conflict {
        /// The id.
        id: Uuid,
        /// The sequence of that other message.
        seq: u64,
    },
    /// The bus did not accept the message.
    #[error("{source}")]
    Bus {
        /// The id under which to retry.
        id: Uuid,
        /// The error. It says whether the message may be in the log nevertheless.
        source: PublishError,
    },
    /// The store is so far behind that the stream could drop messages that it lacks.
    #[error("the store is too far behind the stream; publishing waits for it")]
    StoreBehind {
        /// The id under which to retry.
        id: Uuid,
    },
}

impl Receipt {
    /// The receipt of a new message with this sequence.
    pub(super) fn new(message: &Outgoing, seq: u64, committed: bool) -> Self {
        Self {
            seq,
            id: message.id,
            subject: message.subject.clone(),
            created_at: message.created_at,
            duplicate: false,
            committed,
        }
    }
}

impl IngestError {
    /// Copies the error for another message of the batch.
    pub(super) fn for_id(&self, new_id: Uuid) -> Self {
        let mut error = self.clone();
        match &mut error {
            Self::Bus { id, .. } | Self::StoreBehind { id } | Self::Conflict { id, .. } => {
                *id = new_id
            }
            Self::TooLarge { .. } => {}
        }
        error
    }
}
