//! Why a queue did not do a thing.

use uuid::Uuid;

use crate::bus::PublishError;
use crate::limits::{MAX_MESSAGE_BYTES, MAX_QUEUES};
use crate::store::StoreError;
use crate::store::jobs::QueueDeletion;

/// Why a queue did not do a thing.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Encoded, the job is larger than a message may be.
    #[error("the encoded job has {bytes} bytes; at most {MAX_MESSAGE_BYTES} fit, headers included")]
    TooLarge {
        /// Body and headers.
        bytes: usize,
    },
    /// The id stands for another job of this queue.
    #[error("id {id} was used for another job, at sequence {seq}")]
    Conflict {
        /// The id.
        id: Uuid,
        /// Where the other job stands or stood.
        seq: u64,
    },
    /// The lease ran out or was ended before.
    #[error("the lease ran out or was ended before")]
    LeaseLost,
    /// Not one of our tokens.
    #[error("this is no token of a lease")]
    InvalidToken,
    /// More queues than are allowed.
    #[error("there are {MAX_QUEUES} queues already")]
    TooManyQueues,
    /// It holds jobs and is to be deleted without force.
    #[error("the queue holds jobs; with force=true those that wait or are delayed are dropped")]
    QueueNotEmpty,
    /// A job is leased, so the queue cannot be deleted.
    #[error("a job of the queue is leased, or just ran out; end its lease first")]
    QueueLeased,
    /// The NATS server cannot delay.
    #[error("{0}")]
    NoDelay(String),
    /// The bus did not take a job.
    #[error("{source}")]
    Bus {
        /// The id to retry under.
        id: Uuid,
        /// Whether it may be in the queue all the same.
        source: PublishError,
    },
    /// The bus cannot be asked.
    #[error("the bus is unavailable: {0}")]
    BusUnavailable(String),
    /// The store cannot be asked.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What should be given back to a queue is no job.
    #[error("its content is no job that a queue could take")]
    Undecodable,
    /// More requests wait for jobs than the server holds open.
    #[error("more requests wait for jobs than this server holds open")]
    Overloaded,
}

impl QueueError {
    /// The same again, for another item that met it.
    #[must_use]
    pub fn again(&self) -> Self {
        match self {
            Self::TooLarge { bytes } => Self::TooLarge { bytes: *bytes },
            Self::Conflict { id, seq } => Self::Conflict { id: *id, seq: *seq },
            Self::LeaseLost => Self::LeaseLost,
            Self::InvalidToken => Self::InvalidToken,
            Self::TooManyQueues => Self::TooManyQueues,
            Self::QueueNotEmpty => Self::QueueNotEmpty,
            Self::QueueLeased => Self::QueueLeased,
            Self::NoDelay(text) => Self::NoDelay(text.clone()),
            Self::Bus { id, source } => Self::Bus { id: *id, source: source.clone() },
            Self::BusUnavailable(text) => Self::BusUnavailable(text.clone()),
            Self::Store(error) => Self::Store(StoreError::Unavailable(error.to_string())),
            Self::Undecodable => Self::Undecodable,
            Self::Overloaded => Self::Overloaded,
        }
    }
}

impl From<crate::bus::BusError> for QueueError {
    fn from(error: crate::bus::BusError) -> Self {
        Self::BusUnavailable(error.0)
    }
}

impl QueueError {
    /// What became of a deletion in the store: whether there was such a queue, or why it stays.
    pub(super) fn unless_deleted(deletion: QueueDeletion) -> Result<bool, Self> {
        match deletion {
            QueueDeletion::Done => Ok(true),
            QueueDeletion::Missing => Ok(false),
            QueueDeletion::Leased => Err(Self::QueueLeased),
            QueueDeletion::NotEmpty => Err(Self::QueueNotEmpty),
        }
    }
}
