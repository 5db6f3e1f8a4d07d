//! Errors of the bus.

/// Why a publish was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message is certainly not in the log.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The message may be in the log: only a retry with the same id shows whether it is.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// A request to the bus failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is unavailable: {0}")]
pub struct BusError(pub String);
