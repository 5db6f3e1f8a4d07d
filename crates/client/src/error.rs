//! Errors of the client.

use std::time::Duration;

use crate::problem::Problem;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the server is invalid. Nothing was sent.
    #[error("{0}")]
    Address(String),
    /// The key cannot be sent. Nothing was sent.
    #[error("{0}")]
    Key(&'static str),
    /// There was no response. Whether the request reached the server is unknown.
    #[error("{0}")]
    Unreachable(String),
    /// The server refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server has ended the stream, because its credential was revoked or has expired: the code is `revoked`
    /// or `expired`. Reconnecting would be refused.
    #[error("the server has ended the stream: the key is {0}")]
    Denied(String),
    /// The response is not one of the contract. Perhaps the address is not that of an agentbus server.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// Whether the same request can succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused(problem) => problem.is_transient(),
            Self::Address(_) | Self::Key(_) | Self::Denied(_) | Self::Unexpected(_) => false,
        }
    }

    /// The stable code of the server's problem, or that of [`Self::Denied`]; `None` if there is none.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => problem.code.as_deref(),
            Self::Denied(code) => Some(code),
            _ => None,
        }
    }

    /// How long the server asks to wait before the next attempt; `None` if it does not.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after,
            _ => None,
        }
    }
}
