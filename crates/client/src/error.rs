//! Errors of the client.

use std::time::Duration;

use crate::code;
use crate::kind::ErrorKind;
use crate::problem::Problem;

/// Why a call failed. [`Error::kind`] groups the reasons, [`Error::code`] is the server's stable code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address of the server is invalid. Nothing was sent.
    #[error("{0}")]
    Address(String),
    /// The key cannot be sent. Nothing was sent.
    #[error("{0}")]
    Key(&'static str),
    /// There was no response.
    #[error("{detail}")]
    Unreachable {
        /// What happened, as a text for people.
        detail: String,
        /// Whether the request may have reached the server. False: there was no connection.
        maybe_sent: bool,
    },
    /// The server refused the request.
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The server has ended the stream, because its credential was revoked or has expired: the code is `revoked`
    /// or `expired`. Reconnecting would be refused.
    #[error("the server has ended the stream: the key is {0}")]
    Denied(String),
    /// The content of a message is not of the type that was asked for, or cannot be encoded.
    #[error("{0}")]
    Content(String),
    /// The response is not one of the contract. Perhaps the address is not that of an agentbus server.
    #[error("{0}")]
    Unexpected(String),
}

impl Error {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(problem) => problem.kind(),
            Self::Denied(_) => ErrorKind::Unauthenticated,
            Self::Unreachable { .. } => ErrorKind::Connection,
            Self::Address(_) | Self::Key(_) | Self::Content(_) | Self::Unexpected(_) => {
                ErrorKind::Other
            }
        }
    }

    /// Whether the same request can succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(problem) => problem.is_transient(),
            Self::Address(_)
            | Self::Key(_)
            | Self::Denied(_)
            | Self::Content(_)
            | Self::Unexpected(_) => false,
        }
    }

    /// Whether the request certainly had no effect, and may have one later.
    pub(crate) fn had_no_effect(&self) -> bool {
        match self {
            Self::Unreachable { maybe_sent, .. } => !maybe_sent,
            Self::Refused(problem) => {
                let before_work = [code::STARTING, code::DRAINING, code::OVERLOADED];
                problem.status == 429
                    || problem.status == 503
                        && problem.code.as_deref().is_some_and(|code| before_work.contains(&code))
            }
            _ => false,
        }
    }

    /// The problem document of the server, if it refused the request.
    #[must_use]
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            _ => None,
        }
    }

    /// The stable code of the server's problem ([`code`]), or that of [`Self::Denied`]; `None` if there is none.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Error {
        let code = Some(code.to_owned());
        Error::Refused(Box::new(Problem { status, code, ..Problem::default() }))
    }

    #[test]
    fn kinds_follow_status_and_code() {
        for (status, code, kind) in [
            (401, code::UNAUTHENTICATED, ErrorKind::Unauthenticated),
            (403, code::FORBIDDEN, ErrorKind::Forbidden),
            (404, code::NOT_FOUND, ErrorKind::NotFound),
            (409, code::IDEMPOTENCY_CONFLICT, ErrorKind::Conflict),
            (410, code::LEASE_LOST, ErrorKind::LeaseLost),
            (422, code::INVALID_MESSAGE, ErrorKind::Invalid),
            (429, code::RATE_LIMITED, ErrorKind::TooMany),
            (504, code::NO_REPLY, ErrorKind::NoReply),
            (504, "", ErrorKind::Unavailable),
            (503, code::STORE_BEHIND, ErrorKind::Unavailable),
            (413, code::PAYLOAD_TOO_LARGE, ErrorKind::Other),
            (500, code::INTERNAL_ERROR, ErrorKind::Other),
        ] {
            assert_eq!(refused(status, code).kind(), kind, "{status} {code}");
        }
        assert!(!refused(504, code::NO_REPLY).is_transient());
    }

    #[test]
    fn only_what_was_refused_before_any_work_had_no_effect() {
        for (status, code, expected) in [
            (503, code::DRAINING, true),
            (503, code::BUS_UNAVAILABLE, false),
            (503, "", false),
            (502, code::STARTING, false),
            (429, code::RATE_LIMITED, true),
        ] {
            assert_eq!(refused(status, code).had_no_effect(), expected, "{status} {code}");
        }
    }
}
