//! Why the bus did not do what it was asked.

/// Why a publish was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Certainly not in the log.
    #[error("not sent: {0}")]
    NotSent(String),
    /// In the log or not: only a retry with the same id shows which.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// The bus did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is unavailable: {0}")]
pub struct BusError(pub String);
