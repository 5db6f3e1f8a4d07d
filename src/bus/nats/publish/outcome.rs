//! The outcome of a publish, and whether it may be retried.
//!
//! Invariant: [`PublishError::NotSent`] is returned only for a message that is certainly not in the log. If
//! the outcome of an attempt is unknown, a refused retry does not change that.

use std::borrow::Cow;

use async_nats::{Message, StatusCode};
use serde::Deserialize;

use crate::bus::nats::denial::Denial;
use crate::bus::nats::error::{DUPLICATE_IN_PROCESS, JsError};
use crate::bus::{Ack, PublishError};
use crate::limits::NATS_ACK_TIMEOUT;

/// The outcome of one message.
pub(super) type Outcome = Result<Ack, Failure>;

#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub error: PublishError,
    /// Whether sending the message again may succeed.
    pub(super) retryable: bool,
    /// Whether the bus did not answer. The circuit breaker opens after such failures.
    pub(super) unanswered: bool,
    /// The stream's own error, if it returned one.
    pub js_error: Option<JsError>,
}

impl Failure {
    fn new(error: PublishError) -> Self {
        Self { error, retryable: false, unanswered: false, js_error: None }
    }

    pub(super) fn not_sent(text: impl Into<String>) -> Self {
        Self::new(PublishError::NotSent(text.into()))
    }

    pub(super) fn unknown(text: impl Into<String>) -> Self {
        Self::new(PublishError::Unknown(text.into()))
    }

    pub(super) fn retryable(self) -> Self {
        Self { retryable: true, ..self }
    }

    pub(super) fn unanswered(self) -> Self {
        Self { unanswered: true, ..self }
    }

    pub(super) fn not_connected() -> Self {
        Self::not_sent("not connected to NATS")
    }

    pub(super) fn connection_lost() -> Self {
        Self::unknown("the connection to NATS was lost").retryable().unanswered()
    }

    /// Not retryable: a later message of the call may be stored although its ack was lost, and a retry would
    /// break the order.
    pub(super) fn connection_lost_repeatedly() -> Self {
        Self::unknown("the connection to NATS was lost again and again").unanswered()
    }

    /// The outcome is unknown, since the denial may be that of a later message on the same subject, published after the
    /// permissions were changed.
    pub(super) fn denied(denial: Denial) -> Self {
        Self::unknown(denial.to_string())
    }

    /// Not retryable: the server is slow, and a second copy would only add to its load.
    pub(super) fn ack_timeout() -> Self {
        Self::unknown(format!("no ack from JetStream within {NATS_ACK_TIMEOUT:?}")).unanswered()
    }
}

/// The stream's reply to a publish, or to the last message of an atomic batch (ADR-50).
#[derive(Deserialize)]
pub(super) struct PubAck<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    duplicate: bool,
    /// The batch's id.
    #[serde(borrow, default)]
    pub batch: Option<Cow<'a, str>>,
    /// The number of messages in the batch.
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    error: Option<JsError>,
}

impl<'a> PubAck<'a> {
    /// Parses the ack of `stream`; the failure if the reply is not one.
    pub(super) fn read(message: &'a Message, stream: &str) -> Result<Self, Failure> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let text = "JetStream is not available, or no stream takes the subject";
            return Err(Failure::not_sent(text).retryable().unanswered());
        }
        let Ok(mut ack) = serde_json::from_slice::<PubAck<'_>>(&message.payload) else {
            return Err(Failure::unknown("unreadable ack"));
        };
        match ack.error.take() {
            Some(error) if error.err_code == DUPLICATE_IN_PROCESS => Err(Failure {
                js_error: Some(error.clone()),
                ..Failure::unknown(error.description).retryable()
            }),
            Some(error) => {
                let text = format!("{} (JetStream error {})", error.description, error.err_code);
                let retryable = error.is_transient();
                Err(Failure { retryable, js_error: Some(error), ..Failure::not_sent(text) })
            }
            None if ack.stream != stream => Err(Failure::not_sent(format!(
                "stream {} took the message, not {stream}",
                ack.stream
            ))),
            None => Ok(ack),
        }
    }
}

/// The outcome of a message that was sent by itself.
pub(super) fn of_single(message: &Message, stream: &str) -> Outcome {
    let ack = PubAck::read(message, stream)?;
    Ok(Ack { seq: ack.seq, duplicate: ack.duplicate, committed: false })
}

/// The index from which on all messages failed with retryable failures.
pub(super) fn failed_tail(outcomes: &[Outcome]) -> usize {
    let is_final = |outcome: &Outcome| !outcome.as_ref().is_err_and(|failure| failure.retryable);
    outcomes.iter().rposition(is_final).map_or(0, |last| last + 1)
}

/// The outcome of a retry. If the earlier attempt may have been stored, it is never "not sent".
pub(super) fn keep_doubt(old: &Outcome, new: Outcome) -> Outcome {
    match (old, new) {
        (
            Err(Failure { error: PublishError::Unknown(_), .. }),
            Err(Failure { error: PublishError::NotSent(text), retryable, unanswered, js_error }),
        ) => {
            let error = PublishError::Unknown(text);
            Err(Failure { error, retryable, unanswered, js_error })
        }
        (_, new) => new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> Outcome {
        Ok(Ack { seq: 1, duplicate: false, committed: false })
    }

    #[test]
    fn only_a_failed_tail_is_retried() {
        let lost = || Err(Failure::connection_lost());
        assert_eq!(failed_tail(&[lost(), stored(), lost(), lost()]), 2);
        assert_eq!(failed_tail(&[lost(), lost()]), 0);
        assert_eq!(failed_tail(&[lost(), stored()]), 2);
        let refused = Err(Failure::not_sent("too long"));
        assert_eq!(failed_tail(&[lost(), refused, lost()]), 2);
    }

    #[test]
    fn an_unknown_outcome_outlives_the_refusal_of_a_retry() {
        let refused = Err(Failure::not_sent("x"));
        let kept = keep_doubt(&Err(Failure::connection_lost()), refused.clone());
        assert!(matches!(kept, Err(Failure { error: PublishError::Unknown(_), .. })));
        assert!(keep_doubt(&Err(Failure::connection_lost()), stored()).is_ok());
        let still = keep_doubt(&refused.clone(), refused);
        assert!(matches!(still, Err(Failure { error: PublishError::NotSent(_), .. })));
    }
}
