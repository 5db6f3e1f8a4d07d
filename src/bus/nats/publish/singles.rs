//! Publishes messages one by one, all messages of a call in flight at the same time.
//!
//! Invariant: the sequences of new messages rise in input order. This limits retries. If a message failed and
//! a later one was stored, only the caller may retry the failed one. So only the failed messages at the end
//! of a call are sent again here, with the same ids, so that the stream drops those it already has.

use std::pin::pin;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::acks::{end_of_wait, receive};
use super::outcome::{self, Failure, Outcome, failed_tail, keep_doubt};
use super::publishable::Publishable;
use super::publisher::Publisher;
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::limits::{NATS_ACK_TIMEOUT, NATS_REPEAT_DELAY};

impl Publisher {
    /// Sends the failed messages at the end of `outcomes` again, until no failure is retryable or the
    /// deadline is near.
    pub(super) async fn retry_tail(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        mut outcomes: Vec<Outcome>,
        deadline: Instant,
    ) -> Vec<Outcome> {
        loop {
            let tail = failed_tail(&outcomes);
            if tail == messages.len() || !wait_to_retry(requester, deadline).await {
                return outcomes;
            }
            let retried = Box::pin(self.resend(requester, &messages[tail..], deadline)).await;
            for (old, new) in outcomes[tail..].iter_mut().zip(retried) {
                *old = keep_doubt(old, new);
            }
        }
    }

    /// Sends messages once that may have been sent before.
    pub(super) async fn resend(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let mut outcomes = self.send_once(requester, messages, deadline).await;
        for (outcome, message) in outcomes.iter_mut().zip(messages) {
            if let Ok(ack) = outcome {
                // An id that agentbus made can only repeat the earlier attempt, so it is not a duplicate to
                // the caller.
                ack.duplicate &= message.id_is_clients();
            }
        }
        outcomes
    }

    /// Sends all messages, then waits for all acks.
    pub(super) async fn send_once(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let connects = requester.connection.status().connects;
        let deadline = deadline.min(Instant::now() + NATS_ACK_TIMEOUT);
        let not_connected = || Err(Failure::not_connected().retryable().unanswered());
        let mut replies = Vec::with_capacity(messages.len());
        for message in messages {
            let sent = match requester.connection.status().state {
                State::Up => send(requester, message, deadline).await,
                State::Down | State::Closed => not_connected(),
            };
            let stop = sent.as_ref().is_err_and(|failure| failure.unanswered);
            replies.push(sent);
            if stop {
                break;
            }
        }
        replies.resize_with(messages.len(), not_connected);
        let subject = messages.first().map_or("", Publishable::subject);
        self.collect(requester, subject, connects, replies, deadline).await
    }

    /// Waits for the acks of sent messages. `subject` is the subject of one of them; `connects` is how many
    /// connections had been made before.
    pub(super) async fn collect(
        &self,
        requester: &Requester,
        subject: &str,
        connects: u64,
        replies: Vec<Result<PendingReply, Failure>>,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let ordered = (replies.len() > 1).then_some(subject);
        let mut end = pin!(end_of_wait(requester, connects, ordered, deadline));
        let mut ended = None;
        let mut outcomes = Vec::with_capacity(replies.len());
        for reply in replies {
            outcomes.push(match reply {
                Ok(mut reply) => receive(&mut reply, end.as_mut(), &mut ended)
                    .await
                    .and_then(|message| outcome::of_single(&message, self.stream())),
                Err(failure) => Err(failure),
            });
        }
        outcomes
    }

    /// Sends one message, without retries.
    pub(crate) async fn send_one(
        &self,
        requester: &Requester,
        subject: &str,
        headers: HeaderMap,
        payload: &Bytes,
    ) -> Outcome {
        let deadline = Instant::now() + NATS_ACK_TIMEOUT;
        let connects = requester.connection.status().connects;
        self.admit(requester)?;
        let reply = requester.send_request(subject, headers, payload.clone()).await;
        let replies = vec![reply.map_err(Failure::not_sent)];
        let outcomes = self.collect(requester, subject, connects, replies, deadline).await;
        self.report_to_breaker(requester, &outcomes);
        outcomes.into_iter().next().unwrap_or_else(|| Err(Failure::connection_lost()))
    }
}

async fn send(
    requester: &Requester,
    message: &impl Publishable,
    deadline: Instant,
) -> Result<PendingReply, Failure> {
    let sent = requester.send_request(message.subject(), message.headers(), message.payload());
    match tokio::time::timeout_at(deadline, sent).await {
        Ok(sent) => sent.map_err(Failure::not_sent),
        Err(_) => Err(Failure::not_sent("the NATS client's queue is full").unanswered()),
    }
}

/// Waits until a retry can succeed. Returns false if there is no time left for one.
async fn wait_to_retry(requester: &Requester, deadline: Instant) -> bool {
    let is_up = async {
        tokio::time::sleep(NATS_REPEAT_DELAY).await;
        requester.connection.is_up_again().await
    };
    tokio::time::timeout_at(deadline - NATS_REPEAT_DELAY, is_up).await.unwrap_or(false)
}
