//! Publishes one by one, all of a call on the way at once.
//!
//! Invariant: sequences of new messages rise in input order. That limits repeats: when something after
//! a failed message was stored, the failed one is left to its sender; only the failed tail of a
//! call is sent again, under the same ids, so that the stream drops what it has already. An ack that
//! did not come in time is not repeated here: a server that slow needs no second copy.

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;

use super::outcome::{self, Failure, Outcome, failed_tail, keep_doubt};
use super::pacer::Singles;
use super::{Publishable, Publisher};
use crate::bus::nats::connect::State;
use crate::bus::nats::requester::{PendingReply, Requester};
use crate::limits::{NATS_ACK_TIMEOUT, NATS_RECONNECT_GRACE, NATS_REPEAT_DELAY};

/// A name that no stream has: what is expected there is never stored.
const NO_STREAM: &str = ".";

impl Publisher {
    pub(super) async fn send_until_settled(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let outcomes = self.send_once(requester, messages, deadline).await;
        self.repeat_until_settled(requester, messages, outcomes, deadline).await
    }

    /// Sends the tail again that failed at a first try, and at each further one.
    pub(super) async fn repeat_until_settled(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        mut outcomes: Vec<Outcome>,
        deadline: Instant,
    ) -> Vec<Outcome> {
        loop {
            let tail = failed_tail(&outcomes);
            if tail == messages.len() || !wait_to_repeat(requester, deadline).await {
                return outcomes;
            }
            let again = Box::pin(self.send_again(requester, &messages[tail..], deadline)).await;
            // Once a message's fate was unknown, a refusal of its repeat does not settle it.
            for (old, new) in outcomes[tail..].iter_mut().zip(again) {
                *old = keep_doubt(old, new);
            }
        }
    }

    /// Sends once what was sent before.
    pub(super) async fn send_again(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let mut outcomes = self.send_once(requester, messages, deadline).await;
        for (outcome, message) in outcomes.iter_mut().zip(messages) {
            if let Ok(ack) = outcome {
                // An id that we made is a duplicate of nothing but our own first try.
                ack.duplicate &= message.id_is_clients();
            }
        }
        outcomes
    }

    /// Sends all, then waits for all.
    pub(super) async fn send_once(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
        deadline: Instant,
    ) -> Vec<Outcome> {
        let connects = requester.connection.status().connects;
        let deadline = deadline.min(Instant::now() + NATS_ACK_TIMEOUT);
        let mut singles = self.pacer.singles();
        let mut replies = Vec::with_capacity(messages.len());
        for message in messages {
            let sent = if requester.connection.status().state == State::Up {
                send(requester, message, deadline).await
            } else {
                Err(Failure::not_sent("not connected to NATS").repeatable().silent())
            };
            if sent.is_ok() {
                singles.sent();
            }
            let stop = sent.as_ref().is_err_and(|failure| failure.silent);
            replies.push(sent);
            if stop {
                break;
            }
        }
        let unsent = || Err(Failure::not_sent("not connected to NATS").repeatable().silent());
        replies.resize_with(messages.len(), unsent);
        let subject = messages.first().map_or("", Publishable::subject);
        self.collect(requester, subject, connects, replies, singles, deadline).await
    }

    /// Waits for the answers to what was sent, on `subject` and others.
    pub(super) async fn collect(
        &self,
        requester: &Requester,
        subject: &str,
        connects: u64,
        replies: Vec<Result<PendingReply, Failure>>,
        mut singles: Singles<'_>,
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
                Some(_) => reply.try_recv(),
                None => tokio::select! {
                    biased;
                    message = reply.recv() => message,
                    failure = &mut broken => { over = Some(failure); reply.try_recv() }
                    () = &mut timeout => { over = Some(Failure::late()); reply.try_recv() }
                },
            };
            outcomes.push(match arrived {
                Some(message) => {
                    singles.acked();
                    outcome::of_single(&message, self.stream())
                }
                None => Err(over.clone().unwrap_or_else(Failure::lost)),
            });
        }
        outcomes
    }

    /// Sends one entry, once.
    pub(in crate::bus::nats) async fn send_alone(
        &self,
        requester: &Requester,
        subject: &str,
        headers: HeaderMap,
        payload: &Bytes,
        deadline: Instant,
    ) -> Outcome {
        let connects = requester.connection.status().connects;
        self.admit(requester)?;
        let reply = requester.send_request(subject, headers, payload.clone()).await;
        let replies = vec![reply.map_err(Failure::not_sent)];
        let unmeasured = self.pacer.singles();
        let outcomes =
            self.collect(requester, subject, connects, replies, unmeasured, deadline).await;
        self.tell_breaker(requester, &outcomes);
        outcomes.into_iter().next().unwrap_or_else(|| Err(Failure::lost()))
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
        Err(_) => Err(Failure::not_sent("the NATS client's queue is full").silent()),
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
pub(super) async fn broken_and_back(
    requester: &Requester,
    connects: u64,
    ordered: Option<&str>,
) -> Failure {
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
    match requester.send_request(subject, headers, Bytes::new()).await {
        Ok(mut reply) => drop(reply.recv().await),
        // The client has ended, which its status tells too.
        Err(_) => std::future::pending().await,
    }
}
