//! Errors of work queues.

use uuid::Uuid;

use crate::bus::{BusError, PublishError};
use crate::limits::{MAX_MESSAGE_BYTES, MAX_QUEUES};
use crate::store::StoreError;
use crate::store::jobs::QueueDeletion;

/// Why a queue refused a request, or could not serve it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum QueueError {
    /// The encoded job is larger than a message may be.
    #[error("the encoded job has {bytes} bytes; at most {MAX_MESSAGE_BYTES} fit, headers included")]
    TooLarge {
        /// Bytes of body and headers together.
        bytes: usize,
    },
    /// Another job of this queue has the same id.
    #[error("id {id} was used for another job, at sequence {seq}")]
    Conflict {
        /// The id of both jobs.
        id: Uuid,
        /// The sequence of the other job, which may be done already.
        seq: u64,
    },
    /// The lease ran out or was already ended.
    #[error("the lease ran out or was ended before")]
    LeaseLost,
    /// The token was not issued by a server of this deployment.
    #[error("this is not a lease token")]
    InvalidToken,
    /// The maximum number of queues exists already.
    #[error("there are {MAX_QUEUES} queues already")]
    TooManyQueues,
    /// The queue holds jobs, and the request to delete it has no `force`.
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
        /// The id to use for a retry.
        id: Uuid,
        /// The bus's error, which says whether the job may be in the queue.
        source: PublishError,
    },
    /// The bus does not answer.
    #[error("the bus is unavailable: {0}")]
    BusUnavailable(String),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The content of the dead letter is not a job, so it cannot be redriven.
    #[error("its content is not a job")]
    Undecodable,
    /// Too many requests wait for jobs on this server.
    #[error("too many requests wait for jobs on this server")]
    Overloaded,
}

impl From<BusError> for QueueError {
    fn from(error: BusError) -> Self {
        Self::BusUnavailable(error.0)
    }
}

impl QueueError {
    /// The result of deleting a queue in the store: whether it existed. `Err` if it could not be deleted.
    pub(super) fn unless_deleted(deletion: QueueDeletion) -> Result<bool, Self> {
        match deletion {
            QueueDeletion::Done => Ok(true),
            QueueDeletion::Missing => Ok(false),
            QueueDeletion::Leased => Err(Self::QueueLeased),
            QueueDeletion::NotEmpty => Err(Self::QueueNotEmpty),
        }
    }
}
