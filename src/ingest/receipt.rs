//! What a publish returns for each message.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::bus::PublishError;
use crate::limits::MAX_MESSAGE_BYTES;
use crate::message::{Outgoing, Subject};

/// How durable a message must be before the client gets its receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckLevel {
    /// The bus has it.
    #[default]
    Stored,
    /// The store has it too, or [`COMMITTED_WAIT`](crate::limits::COMMITTED_WAIT) has passed.
    Committed,
}

/// The receipt of an accepted message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its sequence; for a duplicate, that of the first message.
    pub seq: u64,
    /// Its id.
    pub id: Uuid,
    /// Its subject.
    pub subject: Subject,
    /// When it (for a duplicate, the first message) was created.
    pub created_at: DateTime<Utc>,
    /// Whether the log had it already.
    pub duplicate: bool,
    /// Whether the store has committed it.
    pub committed: bool,
}

/// Why a message was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IngestError {
    /// Encoded, it is larger than a message may be.
    #[error(
        "the encoded message has {bytes} bytes; at most {MAX_MESSAGE_BYTES} fit, headers included"
    )]
    TooLarge {
        /// Body and headers.
        bytes: usize,
    },
    /// The id was used for another body.
    #[error("id {id} was used for another message, at sequence {seq}")]
    Conflict {
        /// The id.
        id: Uuid,
        /// The sequence of the other message.
        seq: u64,
    },
    /// The bus did not take it.
    #[error("{source}")]
    Bus {
        /// The id to retry under.
        id: Uuid,
        /// Whether it may be in the log nevertheless.
        source: PublishError,
    },
    /// The store is so far behind that the stream could drop what it lacks.
    #[error("the store is too far behind the stream; publishing waits for it")]
    StoreBehind {
        /// The id to retry under.
        id: Uuid,
    },
}

impl Receipt {
    /// The receipt of a message that is new at this sequence.
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
    /// The same error for another message of the batch.
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
