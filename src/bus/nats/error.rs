//! Errors of JetStream and of requests to it.
//!
//! Invariant: a refusal by the server is distinct from a missing reply. Only a refusal shows that the request
//! had no effect.

use serde::Deserialize;

use super::denial::Denial;
use crate::bus::BusError;

/// `stream not found`.
pub(super) const STREAM_NOT_FOUND: u64 = 10_059;
/// `consumer not found`.
pub(super) const CONSUMER_NOT_FOUND: u64 = 10_014;
/// `stream name already in use with a different configuration`.
pub(super) const STREAM_NAME_IN_USE: u64 = 10_058;
/// `no message found`.
pub(super) const MESSAGE_NOT_FOUND: u64 = 10_037;
/// `wrong last sequence: N`, where N is the real last sequence.
pub(super) const WRONG_LAST_SEQUENCE: u64 = 10_071;
/// `duplicate message id is in process`: an earlier publish with this id may still be stored.
pub(super) const DUPLICATE_IN_PROCESS: u64 = 10_158;
/// `message size exceeds maximum allowed`.
pub(super) const MESSAGE_TOO_LARGE: u64 = 10_054;
/// `atomic publish is disabled`.
pub(super) const BATCH_DISABLED: u64 = 10_174;
/// `atomic publish batch is incomplete`: the server did not accept one of its messages.
pub(super) const BATCH_INCOMPLETE: u64 = 10_176;
/// `atomic publish batch is too large`.
pub(super) const BATCH_TOO_LARGE: u64 = 10_199;
/// `atomic publish batch contains duplicate message id`. The error does not name the message.
pub(super) const DUPLICATE_IN_BATCH: u64 = 10_201;
/// `atomic publish too many inflight`.
pub(super) const BATCHES_TOO_MANY: u64 = 10_210;

/// An error member of a JetStream reply.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct JsError {
    /// The class of the error, as an HTTP status.
    #[serde(default)]
    pub code: u64,
    /// The number of the error.
    #[serde(default)]
    pub err_code: u64,
    /// The text of the error.
    #[serde(default)]
    pub description: String,
}

impl JsError {
    /// Whether the same request may succeed a little later: the stream has no leader, or the server is
    /// overloaded.
    pub(super) fn is_transient(&self) -> bool {
        self.code >= 500 || self.code == 429
    }
}

/// Why a request to JetStream failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ApiError {
    /// No reply: not connected, no responder, or too late.
    #[error("{0}")]
    Unavailable(String),
    /// The user lacks a permission.
    #[error("{0}")]
    Denied(Denial),
    /// The server's own error.
    #[error("{} (JetStream error {})", .0.description, .0.err_code)]
    Refused(JsError),
    /// A reply that cannot be parsed.
    #[error("unreadable reply: {0}")]
    Malformed(String),
}

impl ApiError {
    /// Whether the server refused with the error `err_code`.
    pub(super) fn is(&self, err_code: u64) -> bool {
        matches!(self, Self::Refused(error) if error.err_code == err_code)
    }

    /// Whether the error says that there is no such message. A deletion reports that with a general error
    /// code.
    pub(super) fn is_missing_message(&self) -> bool {
        let says_so = |refusal: &JsError| refusal.description.contains("no message found");
        self.is(MESSAGE_NOT_FOUND) || matches!(self, Self::Refused(refusal) if says_so(refusal))
    }
}

impl From<ApiError> for BusError {
    fn from(error: ApiError) -> Self {
        Self(error.to_string())
    }
}
