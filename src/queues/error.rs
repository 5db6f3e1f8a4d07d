//! Errors of work queues.

use uuid::Uuid;

use crate::bus::{BusError, PublishError};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_QUEUES};
use crate::store::StoreError;
use crate::store::jobs::QueueDeletion;

/// Why a queue refused or failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// Encoded, the job is larger than a message may be.
    #[error("the encoded job has {bytes} bytes; at most {MAX_MESSAGE_BYTES} fit, headers included")]
    TooLarge {
        /// Body and headers.
        bytes: usize,
    },
    /// The id belongs to another job of this queue.
    #[error("id {id} was used for another job, at sequence {seq}")]
    Conflict {
        /// The id.
        id: Uuid,
        /// The sequence of the other job, which may be done by now.
        seq: u64,
    },
    /// The lease ran out or was ended before.
    #[error("the lease ran out or was ended before")]
    LeaseLost,
    /// No server of this deployment issued the token.
    #[error("this is not a lease token")]
    InvalidToken,
    /// There are as many queues as are allowed.
    #[error("there are {MAX_QUEUES} queues already")]
    TooManyQueues,
    /// The queue holds jobs, and the request to delete it is without force.
    #[error("the queue holds jobs; with force=true those that wait or are delayed are dropped")]
    QueueNotEmpty,
    /// A job is leased, so the queue cannot be deleted.
    #[error("a job of the queue is leased, or its lease just ran out; end the lease first")]
    QueueLeased,
    /// The NATS server cannot delay messages.
    #[error("{0}")]
    NoDelay(String),
    /// The bus did not acknowledge a job.
    #[error("{source}")]
    Bus {
        /// The id to retry under.
        id: Uuid,
        /// Whether the job may be in the queue all the same.
        source: PublishError,
    },
    /// The bus does not answer.
    #[error("the bus is unavailable: {0}")]
    BusUnavailable(String),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The content of a dead letter is not a job, so no queue can take it.
    #[error("its content is not a job")]
    Undecodable,
    /// More requests wait for jobs than this server allows.
    #[error("too many requests wait for jobs on this server")]
    Overloaded,
}

impl From<BusError> for QueueError {
    fn from(error: BusError) -> Self {
        Self::BusUnavailable(error.0)
    }
}

impl QueueError {
    /// The result of deleting a queue in the store: whether it existed, or why it stays.
    pub(super) fn unless_deleted(deletion: QueueDeletion) -> Result<bool, Self> {
        match deletion {
            QueueDeletion::Done => Ok(true),
            QueueDeletion::Missing => Ok(false),
            QueueDeletion::Leased => Err(Self::QueueLeased),
            QueueDeletion::NotEmpty => Err(Self::QueueNotEmpty),
        }
    }
}
