//! One atomic batch (ADR-50): its messages are stored all, one after the other, or none.
//!
//! Invariant: all but [`BatchOutcome::Stored`] and [`BatchOutcome::Unknown`] say that nothing of it is in the log.
//! That is so until the last message, which commits it, has been sent, and afterwards when the server tells
//! an error that it finds before it stores anything.

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use tokio::time::Instant;

use super::outcome::{Failure, PubAck};
use super::singles::broken_and_back;
use crate::bus::nats::connect::State;
use crate::bus::nats::error::{
    BATCH_DISABLED, BATCH_INCOMPLETE, BATCH_TOO_LARGE, BATCHES_TOO_MANY, DUPLICATE_IN_BATCH,
    DUPLICATE_IN_PROCESS, MESSAGE_TOO_LARGE,
};
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::bus::nats::stream::ATOMIC_SINCE;
use crate::limits::NATS_ACK_TIMEOUT;

const ID: &str = "Nats-Batch-Id";
const SEQUENCE: &str = "Nats-Batch-Sequence";
const COMMIT: &str = "Nats-Batch-Commit";

/// A message to be sent.
pub(super) struct BatchMessage {
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) enum BatchOutcome {
    /// It is stored, its last message at this sequence.
    Stored(u64),
    /// Not stored, for what one of its messages is.
    Refused,
    /// Not stored, for what the server or the stream is.
    NotTaken(String),
    /// Not stored: it was not sent, or nobody was there.
    NotSent,
    /// Stored or not.
    Unknown(Failure),
}

/// Sends it, and waits for the answer.
pub(super) async fn publish(
    requester: &Requester,
    stream: &str,
    id: &str,
    messages: Vec<BatchMessage>,
) -> BatchOutcome {
    if requester.connection.server_version() < ATOMIC_SINCE {
        return BatchOutcome::NotTaken("the server is older than 2.12".to_owned());
    }
    let connects = requester.connection.status().connects;
    let deadline = Instant::now() + NATS_ACK_TIMEOUT;
    let count = messages.len() as u64;
    let subject = messages.first().map(|message| message.subject.clone()).unwrap_or_default();
    let sent = tokio::time::timeout_at(deadline, send(requester, id, messages)).await;
    let Ok(Some(mut reply)) = sent else { return BatchOutcome::NotSent };
    let arrived = tokio::select! {
        biased;
        message = reply.recv() => message,
        failure = broken_and_back(requester, connects, Some(&subject)) => match reply.try_recv() {
            Some(message) => Some(message),
            None => return BatchOutcome::Unknown(failure),
        },
        () = tokio::time::sleep_until(deadline) => match reply.try_recv() {
            Some(message) => Some(message),
            None => return BatchOutcome::Unknown(Failure::late()),
        },
    };
    match arrived {
        Some(message) => read(&message, stream, id, count),
        None => BatchOutcome::Unknown(Failure::lost()),
    }
}

/// Sends message after message; there is a reply to the last one. `None`: that was not sent, so
/// nothing will be stored. The server forgets the others after 10 s.
async fn send(
    requester: &Requester,
    id: &str,
    messages: Vec<BatchMessage>,
) -> Option<PendingReply> {
    let last = messages.len();
    for (number, mut message) in (1..).zip(messages) {
        if requester.connection.status().state != State::Up {
            return None;
        }
        message.headers.insert(ID, id);
        message.headers.insert(SEQUENCE, number.to_string());
        let BatchMessage { subject, mut headers, payload } = message;
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
            let text = "the stream acknowledged something else than the batch";
            return BatchOutcome::Unknown(Failure::unknown(text).repeatable());
        }
        Err(failure) => failure,
    };
    match failure.refusal.as_ref().map(|error| error.err_code) {
        Some(DUPLICATE_IN_BATCH | DUPLICATE_IN_PROCESS | MESSAGE_TOO_LARGE | BATCH_INCOMPLETE) => {
            BatchOutcome::Refused
        }
        Some(BATCH_DISABLED | BATCH_TOO_LARGE | BATCHES_TOO_MANY) => {
            BatchOutcome::NotTaken(failure.error.to_string())
        }
        // The first ones may be stored, and the last one not for want of room.
        Some(_) => BatchOutcome::Unknown(Failure::unknown(failure.error.to_string()).repeatable()),
        None if failure.silent => BatchOutcome::NotSent,
        None => BatchOutcome::Unknown(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(payload: &str) -> BatchOutcome {
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
        assert!(matches!(verdict(stored), BatchOutcome::Stored(9)));
        for other in [
            r#"{"stream":"s","seq":9}"#,
            r#"{"stream":"s","seq":9,"batch":"b2","count":3}"#,
            r#"{"stream":"s","seq":9,"batch":"b1","count":2}"#,
            r#"{"stream":"s","seq":2,"batch":"b1","count":3}"#,
            r#"{"error":{"code":503,"err_code":10077,"description":"no room"},"stream":"s","seq":0}"#,
        ] {
            let verdict = verdict(other);
            assert!(
                matches!(&verdict, BatchOutcome::Unknown(f) if f.repeat),
                "{other}: {verdict:?}"
            );
        }
        assert!(matches!(verdict("?"), BatchOutcome::Unknown(_)));
    }

    #[test]
    fn what_a_message_is_and_what_the_server_is_are_told_apart() {
        let refused = |code: u64| {
            verdict(&format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"x"}}}}"#))
        };
        assert!(matches!(refused(10_201), BatchOutcome::Refused));
        assert!(matches!(refused(10_158), BatchOutcome::Refused));
        assert!(matches!(refused(10_174), BatchOutcome::NotTaken(_)));
        assert!(matches!(refused(10_210), BatchOutcome::NotTaken(_)));
    }
}
