//! What became of a publish, and what may be done about it.
//!
//! Invariant: "not sent" is said only of what is surely not in the log; once a message's
//! fate was unknown, the refusal of its repeat does not settle it.

use std::borrow::Cow;

use async_nats::{Message, StatusCode};
use serde::Deserialize;

use crate::bus::nats::error::{DUPLICATE_IN_PROCESS, JsError};
use crate::bus::{Ack, PublishError};

/// What became of one message, and whether sending it again may help.
pub(super) type Outcome = Result<Ack, Failure>;

#[derive(Clone, Debug)]
pub(in crate::bus::nats) struct Failure {
    pub error: PublishError,
    pub(super) repeat: bool,
    /// The bus did not answer: the circuit breaker's concern.
    pub(super) silent: bool,
    /// The stream's own answer, if it was one.
    pub refusal: Option<JsError>,
}

impl Failure {
    pub(super) fn not_sent(text: impl Into<String>) -> Self {
        let error = PublishError::NotSent(text.into());
        Self { error, repeat: false, silent: false, refusal: None }
    }

    pub(super) fn unknown(text: impl Into<String>) -> Self {
        let error = PublishError::Unknown(text.into());
        Self { error, repeat: false, silent: false, refusal: None }
    }

    pub(super) fn repeatable(self) -> Self {
        Self { repeat: true, ..self }
    }

    pub(super) fn silent(self) -> Self {
        Self { silent: true, ..self }
    }

    pub(super) fn lost() -> Self {
        Self::unknown("the connection to NATS was lost").repeatable().silent()
    }

    /// Something that came after it may be stored without our hearing of it: a repeat might not
    /// be in order.
    pub(super) fn lost_out_of_sight() -> Self {
        Self::unknown("the connection to NATS was lost again and again").silent()
    }

    pub(super) fn late() -> Self {
        let patience = crate::limits::NATS_ACK_TIMEOUT;
        Self::unknown(format!("no ack from JetStream within {patience:?}")).silent()
    }
}

/// What a stream answers to a publish, or to the last message of an atomic batch (ADR-50).
#[derive(Deserialize)]
pub(super) struct PubAck<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    pub seq: u64,
    #[serde(default)]
    duplicate: bool,
    /// The batch's id, and how many messages it had.
    #[serde(borrow, default)]
    pub batch: Option<Cow<'a, str>>,
    #[serde(default)]
    pub count: u64,
    #[serde(default)]
    error: Option<JsError>,
}

impl<'a> PubAck<'a> {
    /// The ack of `stream`, or why there is none.
    pub(super) fn read(message: &'a Message, stream: &str) -> Result<Self, Failure> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let text = "JetStream is not there, or no stream takes the subject";
            return Err(Failure::not_sent(text).repeatable().silent());
        }
        let Ok(mut ack) = serde_json::from_slice::<PubAck<'_>>(&message.payload) else {
            return Err(Failure::unknown("unreadable ack"));
        };
        match ack.error.take() {
            Some(error) if error.err_code == DUPLICATE_IN_PROCESS => Err(Failure {
                refusal: Some(error.clone()),
                ..Failure::unknown(error.description).repeatable()
            }),
            Some(error) => {
                let text = format!("{} (JetStream error {})", error.description, error.err_code);
                let passing = error.is_transient();
                let failure = Failure { refusal: Some(error), ..Failure::not_sent(text) };
                Err(if passing { failure.repeatable() } else { failure })
            }
            None if ack.stream != stream => Err(Failure::not_sent(format!(
                "stream {} took the message, not {stream}",
                ack.stream
            ))),
            None => Ok(ack),
        }
    }
}

/// The outcome of a message that was sent alone.
pub(super) fn of_single(message: &Message, stream: &str) -> Outcome {
    let ack = PubAck::read(message, stream)?;
    Ok(Ack { seq: ack.seq, duplicate: ack.duplicate, committed: false })
}

/// The index from which on everything failed and may be sent again.
pub(super) fn failed_tail(outcomes: &[Outcome]) -> usize {
    let settled = |outcome: &Outcome| !outcome.as_ref().is_err_and(|failure| failure.repeat);
    outcomes.iter().rposition(settled).map_or(0, |last| last + 1)
}

/// The new outcome, but never "not sent" where an earlier try may have been stored.
pub(super) fn keep_doubt(old: &Outcome, new: Outcome) -> Outcome {
    match (old, new) {
        (
            Err(Failure { error: PublishError::Unknown(_), .. }),
            Err(Failure { error: PublishError::NotSent(text), repeat, silent, refusal }),
        ) => Err(Failure { error: PublishError::Unknown(text), repeat, silent, refusal }),
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
    fn only_a_failed_tail_is_sent_again() {
        let lost = || Err(Failure::lost());
        assert_eq!(failed_tail(&[lost(), stored(), lost(), lost()]), 2);
        assert_eq!(failed_tail(&[lost(), lost()]), 0);
        assert_eq!(failed_tail(&[lost(), stored()]), 2);
        let refused = Err(Failure::not_sent("too long"));
        assert_eq!(failed_tail(&[lost(), refused, lost()]), 2);
    }

    #[test]
    fn doubt_outlives_a_refusal() {
        let refused = Err(Failure::not_sent("x"));
        let kept = keep_doubt(&Err(Failure::lost()), refused.clone());
        assert!(matches!(kept, Err(Failure { error: PublishError::Unknown(_), .. })));
        assert!(keep_doubt(&Err(Failure::lost()), stored()).is_ok());
        let still = keep_doubt(&refused.clone(), refused);
        assert!(matches!(still, Err(Failure { error: PublishError::NotSent(_), .. })));
    }
}
