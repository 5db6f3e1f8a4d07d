//! One atomic batch (ADR-50): either all of its messages are stored, with consecutive sequences, or none.
//!
//! Invariant: after every outcome but [`BatchOutcome::Stored`] and [`BatchOutcome::Unknown`], no message of
//! the batch is in the log. That is certain as long as the last message, the commit, was not sent. Afterwards
//! it is certain if the server reports an error that it checks before it stores anything.

use std::pin::pin;

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use super::acks::{end_of_wait, receive};
use super::outcome::{Failure, PubAck};
use crate::bus::nats::connect::State;
use crate::bus::nats::error::{
    BATCH_DISABLED, BATCH_INCOMPLETE, BATCH_TOO_LARGE, BATCHES_TOO_MANY, DUPLICATE_IN_BATCH,
    DUPLICATE_IN_PROCESS, MESSAGE_TOO_LARGE,
};
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::bus::nats::stream_config::ATOMIC_SINCE;
use crate::limits::NATS_ACK_TIMEOUT;

const ID: &str = "Nats-Batch-Id";
const SEQUENCE: &str = "Nats-Batch-Sequence";
const COMMIT: &str = "Nats-Batch-Commit";

/// A message of a batch: what is sent to the server.
pub(super) struct BatchMessage {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// How a batch ended.
#[derive(Debug)]
pub(super) enum BatchOutcome {
    /// Stored; the last message has this sequence.
    Stored(u64),
    /// Not stored: one of its messages is not acceptable.
    MessageRefused,
    /// Not stored: the server or the stream accepts no batch now.
    BatchRefused(String),
    /// Not stored: the batch was not sent, or no stream listened.
    NotSent,
    /// Whether it was stored is unknown.
    Unknown(Failure),
}

/// Sends a batch and waits for its ack.
pub(super) async fn publish(
    requester: &Requester,
    stream: &str,
    id: &str,
    messages: Vec<BatchMessage>,
) -> BatchOutcome {
    if requester.connection.server_version() < ATOMIC_SINCE {
        return BatchOutcome::BatchRefused("the server is older than 2.12".to_owned());
    }
    let connects = requester.connection.status().connects;
    let deadline = Instant::now() + NATS_ACK_TIMEOUT;
    let count = messages.len() as u64;
    let subject = messages.first().map(|message| message.subject.clone()).unwrap_or_default();
    let sent = tokio::time::timeout_at(deadline, send(requester, id, messages)).await;
    let Ok(Some(mut reply)) = sent else { return BatchOutcome::NotSent };
    let end = pin!(end_of_wait(requester, connects, Some(&subject), deadline));
    match receive(&mut reply, end, &mut None).await {
        Ok(message) => read(&message, stream, id, count),
        Err(failure) => BatchOutcome::Unknown(failure),
    }
}

/// Sends the messages; only the last one requests a reply. `None`: the last one was not sent, so nothing will
/// be stored. The server drops an unfinished batch after 10 s.
async fn send(
    requester: &Requester,
    id: &str,
    messages: Vec<BatchMessage>,
) -> Option<PendingReply> {
    let last = messages.len();
    for (number, BatchMessage { subject, mut headers, payload }) in (1..).zip(messages) {
        if requester.connection.status().state != State::Up {
            return None;
        }
        headers.insert(ID, id);
        headers.insert(SEQUENCE, number.to_string());
        if number < last {
            requester.publish(&subject, headers, payload).await.ok()?;
        } else {
            headers.insert(COMMIT, "1");
            return requester.send_request(&subject, headers, payload).await.ok();
        }
    }
    None
}

fn read(message: &Message, stream: &str, id: &str, count: u64) -> BatchOutcome {
    let failure = match PubAck::read(message, stream) {
        Ok(ack) if ack.batch.as_deref() == Some(id) && ack.count == count && ack.seq >= count => {
            return BatchOutcome::Stored(ack.seq);
        }
        Ok(_) => {
            let text = "the stream's ack is not that of the batch";
            return BatchOutcome::Unknown(Failure::unknown(text).retryable());
        }
        Err(failure) => failure,
    };
    match failure.js_error.as_ref().map(|error| error.err_code) {
        Some(DUPLICATE_IN_BATCH | DUPLICATE_IN_PROCESS | MESSAGE_TOO_LARGE | BATCH_INCOMPLETE) => {
            BatchOutcome::MessageRefused
        }
        Some(BATCH_DISABLED | BATCH_TOO_LARGE | BATCHES_TOO_MANY) => {
            BatchOutcome::BatchRefused(failure.error.to_string())
        }
        // The first messages may be stored although there was no storage left for the last one.
        Some(_) => BatchOutcome::Unknown(Failure::unknown(failure.error.to_string()).retryable()),
        None if failure.unanswered => BatchOutcome::NotSent,
        None => BatchOutcome::Unknown(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(payload: &str) -> BatchOutcome {
        let message = Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            headers: None,
            status: None,
            description: None,
            length: payload.len(),
        };
        read(&message, "s", "b1", 3)
    }

    #[test]
    fn only_the_ack_of_the_whole_batch_is_one() {
        let stored = r#"{"stream":"s","seq":9,"batch":"b1","count":3}"#;
        assert!(matches!(outcome(stored), BatchOutcome::Stored(9)));
        for other in [
            r#"{"stream":"s","seq":9}"#,
            r#"{"stream":"s","seq":9,"batch":"b2","count":3}"#,
            r#"{"stream":"s","seq":9,"batch":"b1","count":2}"#,
            r#"{"stream":"s","seq":2,"batch":"b1","count":3}"#,
            r#"{"error":{"code":503,"err_code":10077,"description":"no room"},"stream":"s","seq":0}"#,
        ] {
            let outcome = outcome(other);
            assert!(
                matches!(&outcome, BatchOutcome::Unknown(f) if f.retryable),
                "{other}: {outcome:?}"
            );
        }
        assert!(matches!(outcome("?"), BatchOutcome::Unknown(_)));
    }

    #[test]
    fn a_refused_message_and_a_refused_batch_are_distinguished() {
        let refused = |code: u64| {
            outcome(&format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"x"}}}}"#))
        };
        assert!(matches!(refused(10_201), BatchOutcome::MessageRefused));
        assert!(matches!(refused(10_158), BatchOutcome::MessageRefused));
        assert!(matches!(refused(10_174), BatchOutcome::BatchRefused(_)));
        assert!(matches!(refused(10_210), BatchOutcome::BatchRefused(_)));
    }
}
