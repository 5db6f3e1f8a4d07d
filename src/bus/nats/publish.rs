//! Publishing: everything of a call in order, all of it on the way at once.
//!
//! Invariant: an outcome is [`PublishError::NotSent`] only when the message is surely
//! not in the log, and sequences of new messages rise in input order. The latter
//! limits repeats: when something after a failed message was stored, the failed one
//! is left to its sender; only the failed tail of a call is sent again, under the
//! same ids, so that the stream drops what it has already. An ack that did not come
//! in time is not repeated here: a server that slow needs no second copy.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::breaker::Breaker;
use super::connect::State;
use super::error::{DUPLICATE_IN_PROCESS, JsError};
use super::requester::{Reply, Requester};
use super::silence::Silence;
use crate::bus::{Ack, PublishError};
use crate::limits::{
    NATS_ACK_TIMEOUT, NATS_MAX_IN_FLIGHT, NATS_MAX_PIPELINED, NATS_RECONNECT_GRACE,
    NATS_REPEAT_DELAY, PUBLISH_DEADLINE,
};
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Outgoing, Raw};

/// A name that no stream has: what is expected there is never stored.
const NO_STREAM: &str = ".";

/// What became of one message, and whether sending it again may help.
type Outcome = Result<Ack, Failure>;

#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub error: PublishError,
    repeat: bool,
    /// The bus did not answer: the circuit breaker's concern.
    silent: bool,
    /// The stream's own answer, if it was one.
    pub refusal: Option<JsError>,
}

impl Failure {
    fn not_sent(text: impl Into<String>) -> Self {
        let error = PublishError::NotSent(text.into());
        Self { error, repeat: false, silent: false, refusal: None }
    }

    fn unknown(text: impl Into<String>) -> Self {
        let error = PublishError::Unknown(text.into());
        Self { error, repeat: false, silent: false, refusal: None }
    }

    fn repeatable(self) -> Self {
        Self { repeat: true, ..self }
    }

    fn silent(self) -> Self {
        Self { silent: true, ..self }
    }

    fn lost() -> Self {
        Self::unknown("the connection to NATS was lost").repeatable().silent()
    }

    /// Something that came after it may be stored without our hearing of it: a repeat might not
    /// be in order.
    fn lost_out_of_sight() -> Self {
        Self::unknown("the connection to NATS was lost again and again").silent()
    }
}

/// What is published.
pub(super) trait Entry: Sync {
    /// Where.
    fn subject(&self) -> &str;
    /// Its headers, the id by which a repeat is recognised among them.
    fn headers(&self) -> HeaderMap;
    /// Its payload.
    fn payload(&self) -> Bytes;
    /// Whether the client chose the id, so that it may be a repeat.
    fn id_is_clients(&self) -> bool;
}

impl Entry for Outgoing {
    fn subject(&self) -> &str {
        self.subject.as_str()
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER_NATIVE, HEADER_NATIVE_V1);
        let mut id = uuid::Uuid::encode_buffer();
        headers.insert(HEADER_MSG_ID, &*self.id.hyphenated().encode_lower(&mut id));
        headers
    }

    fn payload(&self) -> Bytes {
        self.body.clone()
    }

    fn id_is_clients(&self) -> bool {
        self.id_is_clients
    }
}

/// Publishes to one stream over one connection.
pub(super) struct Publisher {
    stream: String,
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    silence: Silence,
}

impl Publisher {
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            in_flight: Semaphore::new(NATS_MAX_IN_FLIGHT),
            breaker: Mutex::default(),
            silence: Silence::default(),
        }
    }

    /// Publishes in order; one outcome a message, in order, within [`PUBLISH_DEADLINE`].
    pub(super) async fn publish(
        &self,
        requester: &Requester,
        messages: &[impl Entry],
    ) -> Vec<Result<Ack, PublishError>> {
        let deadline = Instant::now() + PUBLISH_DEADLINE;
        let mut outcomes = Vec::with_capacity(messages.len());
        for part in messages.chunks(NATS_MAX_PIPELINED) {
            let part = self.publish_part(requester, part, deadline).await;
            outcomes
                .extend(part.into_iter().map(|outcome| outcome.map_err(|failure| failure.error)));
        }
        outcomes
    }

    /// `Err` with the reason while nothing would be sent.
    pub(super) fn health(&self, requester: &Requester) -> Result<(), String> {
        let status = requester.connection.status();
        match status.state {
            State::Up => {}
            State::Down => return Err("not connected to NATS".to_owned()),
            State::Closed => return Err("the NATS client has ended".to_owned()),
        }
        match self.breaker().refusal(Instant::now().into_std(), status.connects) {
            Some(reason) => Err(format!("circuit open after: {reason}")),
            None => Ok(()),
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn publish_part(
        &self,
        requester: &Requester,
        messages: &[impl Entry],
        deadline: Instant,
    ) -> Vec<Outcome> {
        if let Err(failure) = self.admit(requester) {
            return vec![Err(failure); messages.len()];
        }
        let permits = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        let permit = tokio::time::timeout_at(deadline, self.in_flight.acquire_many(permits));
        let Ok(Ok(_permit)) = permit.await else {
            let failure = Failure::not_sent("too many publishes await their acks").silent();
            return vec![Err(failure); messages.len()];
        };
        let outcomes = self.send_until_settled(requester, messages, deadline).await;
        self.tell_breaker(requester, &outcomes);
        outcomes
    }

    /// What is not connected is refused at once: the client would queue it and send it later.
    fn admit(&self, requester: &Requester) -> Result<(), Failure> {
        let status = requester.connection.status();
        if status.state != State::Up {
            return Err(Failure::not_sent("not connected to NATS"));
        }
        let now = Instant::now().into_std();
        self.breaker().admit(now, status.connects).map_err(Failure::not_sent)
    }

    fn tell_breaker(&self, requester: &Requester, outcomes: &[Outcome]) {
        let connects = requester.connection.status().connects;
        match outcomes.last() {
            Some(Err(failure)) if failure.silent => {
                let (now, reason) = (Instant::now().into_std(), failure.error.to_string());
                self.breaker().failure(now, connects, &reason);
                self.silence.lasts(&requester.connection);
            }
            // Whatever failed before it: the bus answers now.
            Some(_) => {
                self.breaker().success();
                self.silence.broken();
            }
            None => {}
        }
    }

    async fn send_until_settled(
        &self,
        requester: &Requester,
        messages: &[impl Entry],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let mut outcomes = self.send_once(requester, messages, deadline).await;
        loop {
            let tail = failed_tail(&outcomes);
            if tail == messages.len() || !wait_to_repeat(requester, deadline).await {
                return outcomes;
            }
            let mut again = self.send_once(requester, &messages[tail..], deadline).await;
            for (outcome, message) in again.iter_mut().zip(&messages[tail..]) {
                if let Ok(ack) = outcome {
                    // An id that we made is a duplicate of nothing but our own first try.
                    ack.duplicate &= message.id_is_clients();
                }
            }
            // Once a message's fate was unknown, a refusal of its repeat does not settle it.
            for (old, new) in outcomes[tail..].iter_mut().zip(again) {
                *old = keep_doubt(old, new);
            }
        }
    }

    /// Sends all, then waits for all.
    async fn send_once(
        &self,
        requester: &Requester,
        messages: &[impl Entry],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let connects = requester.connection.status().connects;
        let deadline = deadline.min(Instant::now() + NATS_ACK_TIMEOUT);
        let mut replies = Vec::with_capacity(messages.len());
        for message in messages {
            let sent = if requester.connection.status().state == State::Up {
                send(requester, message, deadline).await
            } else {
                Err(Failure::not_sent("not connected to NATS").repeatable().silent())
            };
            let stop = sent.as_ref().is_err_and(|failure| failure.silent);
            replies.push(sent);
            if stop {
                break;
            }
        }
        let unsent = || Err(Failure::not_sent("not connected to NATS").repeatable().silent());
        replies.resize_with(messages.len(), unsent);
        let subject = messages.first().map_or("", Entry::subject);
        self.collect(requester, subject, connects, replies, deadline).await
    }

    /// Waits for the acks of messages on `subject` and others.
    async fn collect(
        &self,
        requester: &Requester,
        subject: &str,
        connects: u64,
        replies: Vec<Result<Reply, Failure>>,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let ordered = (replies.len() > 1).then_some(subject);
        let mut broken = std::pin::pin!(broken_and_back(requester, connects, ordered));
        let mut timeout = std::pin::pin!(tokio::time::sleep_until(deadline));
        let mut over: Option<Failure> = None;
        let mut outcomes = Vec::with_capacity(replies.len());
        for reply in replies {
            let mut reply = match reply {
                Ok(reply) => reply,
                Err(failure) => {
                    outcomes.push(Err(failure));
                    continue;
                }
            };
            let arrived = match &over {
                Some(_) => reply.here(),
                None => tokio::select! {
                    biased;
                    message = reply.arrives() => message,
                    failure = &mut broken => { over = Some(failure); reply.here() }
                    () = &mut timeout => {
                        let text = format!("no ack from JetStream within {NATS_ACK_TIMEOUT:?}");
                        over = Some(Failure::unknown(text).silent());
                        reply.here()
                    }
                },
            };
            outcomes.push(match arrived {
                Some(message) => self.read_ack(&message),
                None => Err(over.clone().unwrap_or_else(Failure::lost)),
            });
        }
        outcomes
    }

    fn read_ack(&self, message: &Message) -> Outcome {
        #[derive(Deserialize)]
        struct PubAck<'a> {
            #[serde(borrow, default)]
            stream: std::borrow::Cow<'a, str>,
            #[serde(default)]
            seq: u64,
            #[serde(default)]
            duplicate: bool,
            #[serde(default)]
            error: Option<JsError>,
        }
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            let text = "JetStream is not there, or no stream takes the subject";
            return Err(Failure::not_sent(text).repeatable().silent());
        }
        let Ok(ack) = serde_json::from_slice::<PubAck<'_>>(&message.payload) else {
            return Err(Failure::unknown("unreadable ack"));
        };
        match ack.error {
            Some(error) if error.err_code == DUPLICATE_IN_PROCESS => {
                Err(Failure::unknown(error.description).repeatable())
            }
            Some(error) => {
                let text = format!("{} (JetStream error {})", error.description, error.err_code);
                let passing = error.is_passing();
                let failure = Failure { refusal: Some(error), ..Failure::not_sent(text) };
                Err(if passing { failure.repeatable() } else { failure })
            }
            None if ack.stream != self.stream => Err(Failure::not_sent(format!(
                "stream {} took the message, not {}",
                ack.stream, self.stream
            ))),
            None => Ok(Ack { seq: ack.seq, duplicate: ack.duplicate, committed: false }),
        }
    }

    /// Publishes entries as they stand, each on `prefix` and its subject, the first if the log's last
    /// sequence is `after`, each further one if it follows. Not repeated, and whatever the circuit
    /// breaker says: that is about what clients publish.
    pub(super) async fn publish_originals(
        &self,
        requester: &Requester,
        prefix: &str,
        entries: &[Raw],
        after: u64,
    ) -> Vec<Result<Ack, PublishError>> {
        let status = requester.connection.status();
        if status.state != State::Up {
            return vec![Err(Failure::not_sent("not connected to NATS").error); entries.len()];
        }
        let connects = status.connects;
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        let mut replies = Vec::with_capacity(entries.len());
        let mut subject = String::new();
        for (entry, after) in entries.iter().zip(after..) {
            subject = format!("{prefix}{}", entry.subject.as_str());
            let headers = original_headers(entry, after);
            let sent = requester.send(&subject, headers, entry.payload.clone()).await;
            replies.push(sent.map_err(Failure::not_sent));
        }
        let outcomes = self.collect(requester, &subject, connects, replies, deadline).await;
        outcomes.into_iter().map(|outcome| outcome.map_err(|failure| failure.error)).collect()
    }

    /// Sends one entry, once.
    pub(super) async fn send_alone(
        &self,
        requester: &Requester,
        subject: &str,
        headers: HeaderMap,
        payload: &Bytes,
        deadline: Instant,
    ) -> Outcome {
        let connects = requester.connection.status().connects;
        self.admit(requester)?;
        let reply = requester.send(subject, headers, payload.clone()).await;
        let reply = reply.map_err(Failure::not_sent);
        let outcomes = self.collect(requester, subject, connects, vec![reply], deadline).await;
        self.tell_breaker(requester, &outcomes);
        outcomes.into_iter().next().unwrap_or_else(|| Err(Failure::lost()))
    }

    /// The stream published to.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }
}

/// Headers that cannot be sent are left out, and told in the log.
fn original_headers(entry: &Raw, after: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &entry.headers {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            (Ok(name), Ok(value)) => headers.append(name, value),
            _ => tracing::warn!(seq = entry.seq, name, "a header cannot be sent again"),
        }
    }
    headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, after.to_string());
    headers
}

async fn send(
    requester: &Requester,
    message: &impl Entry,
    deadline: Instant,
) -> Result<Reply, Failure> {
    let sent = requester.send(message.subject(), message.headers(), message.payload());
    match tokio::time::timeout_at(deadline, sent).await {
        Ok(sent) => sent.map_err(Failure::not_sent),
        Err(_) => Err(Failure::not_sent("the NATS client's queue is full").silent()),
    }
}

/// The index from which on everything failed and may be sent again.
fn failed_tail(outcomes: &[Outcome]) -> usize {
    let settled = |outcome: &Outcome| !outcome.as_ref().is_err_and(|failure| failure.repeat);
    outcomes.iter().rposition(settled).map_or(0, |last| last + 1)
}

/// The new outcome, but never "not sent" where an earlier try may have been stored.
fn keep_doubt(old: &Outcome, new: Outcome) -> Outcome {
    match (old, new) {
        (
            Err(Failure { error: PublishError::Unknown(_), .. }),
            Err(Failure { error: PublishError::NotSent(text), repeat, silent, refusal }),
        ) => Err(Failure { error: PublishError::Unknown(text), repeat, silent, refusal }),
        (_, new) => new,
    }
}

/// Waits until a repeat makes sense; false when there is no time for one.
async fn wait_to_repeat(requester: &Requester, deadline: Instant) -> bool {
    let back = async {
        tokio::time::sleep(NATS_REPEAT_DELAY).await;
        requester.connection.is_up_again().await
    };
    tokio::time::timeout_at(deadline - NATS_REPEAT_DELAY, back).await.unwrap_or(false)
}

/// Ends when the connection has been lost and is back, and tells what became of what has no ack then. Of
/// `ordered` messages, on this subject among others, the acks of those that the client had queued come
/// before: such a one may be stored while an earlier one was lost, which must then not be repeated.
async fn broken_and_back(requester: &Requester, connects: u64, ordered: Option<&str>) -> Failure {
    let mut status = requester.connection.status.clone();
    let back = status.wait_for(|now| now.connects > connects || now.state == State::Closed);
    let is_back = back.await.is_ok_and(|now| now.state != State::Closed);
    let Some(subject) = ordered.filter(|_| is_back) else { return Failure::lost() };
    let changed = status.wait_for(|now| now.connects > connects + 1 || now.state != State::Up);
    let queue_is_through = async {
        pass_the_queue(requester, subject).await;
        // Where servers must agree, the acks come later than the answer.
        tokio::time::sleep(NATS_RECONNECT_GRACE).await;
    };
    tokio::select! {
        biased;
        _ = changed => Failure::lost_out_of_sight(),
        () = queue_is_through => Failure::lost(),
    }
}

/// Returns when the server has taken all that was queued before: it answers in order, this with an error.
async fn pass_the_queue(requester: &Requester, subject: &str) {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_EXPECTED_STREAM, NO_STREAM);
    match requester.send(subject, headers, Bytes::new()).await {
        Ok(mut reply) => drop(reply.arrives().await),
        // The client has ended, which its status tells too.
        Err(_) => std::future::pending().await,
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
