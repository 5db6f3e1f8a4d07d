//! Errors that end a pull session.

use crate::bus::BusError;
use crate::bus::nats::error::ApiError;

/// Why a session has ended, or could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The connection went down. An entry that async-nats cannot read may be the reason.
    #[error("the connection to NATS was lost")]
    Disconnected,
    /// The consumer or a delivery was lost. A new session recovers.
    #[error("{0}")]
    Lost(String),
    /// The consumer was deleted, alone or with its stream.
    #[error("the consumer was deleted")]
    Deleted,
    /// JetStream cannot be reached.
    #[error("{0}")]
    Unavailable(String),
    /// JetStream refuses.
    #[error("{0}")]
    Refused(ApiError),
}

impl From<ApiError> for PullError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unavailable(text) => Self::Unavailable(text),
            ApiError::Refused(ref refusal) if refusal.is_transient() => {
                Self::Unavailable(error.to_string())
            }
            ApiError::Refused(_) | ApiError::Malformed(_) | ApiError::Denied(_) => {
                Self::Refused(error)
            }
        }
    }
}

impl From<BusError> for PullError {
    fn from(error: BusError) -> Self {
        Self::Unavailable(error.0)
    }
}
