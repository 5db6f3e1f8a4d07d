//! Publishing: everything of a call in order, all of it on the way at once.
//!
//! Each message is sent by itself ([`singles`]), or, where the server is seen to sync each message and many
//! wait, calls are put together in atomic batches ([`batcher`]). Invariant: an outcome is
//! [`PublishError::NotSent`] only when the message is surely not in the log, and sequences of new
//! messages of a call rise in input order. What a batch does not settle its calls go on with as singles, under
//! the same ids: one bad message fails none of its neighbours.

mod batch;
mod batch_queue;
mod batcher;
mod originals;
mod outcome;
mod pace;
mod pacer;
mod singles;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::HeaderMap;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::breaker::Breaker;
use super::connect::State;
use super::failover::FailoverTimer;
use super::requester::Requester;
use crate::bus::{Ack, PublishError};
use crate::limits::{
    NATS_BATCH_BYTES, NATS_BATCH_HEADERS, NATS_MAX_IN_FLIGHT, NATS_MAX_PIPELINED, PUBLISH_DEADLINE,
};
use crate::message::{HEADER_MSG_ID, HEADER_NATIVE, HEADER_NATIVE_V1, Outgoing};
use batch::BatchMessage;
use batcher::{Batcher, Call, Reply};
pub(super) use outcome::Failure;
use outcome::Outcome;
use pacer::Pacer;

/// What is published.
pub(super) trait Publishable: Sync {
    /// Where.
    fn subject(&self) -> &str;
    /// Its headers, the id by which a repeat is recognised among them.
    fn headers(&self) -> HeaderMap;
    /// Its payload.
    fn payload(&self) -> Bytes;
    /// Whether the client chose the id, so that it may be a repeat.
    fn id_is_clients(&self) -> bool;
    /// The id that the client chose, of an entry that may go in an atomic batch.
    fn clients_id(&self) -> Option<u128> {
        None
    }
}

impl Publishable for Outgoing {
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

    fn clients_id(&self) -> Option<u128> {
        self.id_is_clients.then(|| self.id.as_u128())
    }
}

/// Publishes to one stream over one connection.
pub(super) struct Publisher {
    stream: String,
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    failover: FailoverTimer,
    pacer: Arc<Pacer>,
    group: Option<Batcher>,
}

impl Publisher {
    /// One that sends each message by itself.
    pub(super) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            in_flight: Semaphore::new(NATS_MAX_IN_FLIGHT),
            breaker: Mutex::default(),
            failover: FailoverTimer::default(),
            pacer: Arc::default(),
            group: None,
        }
    }

    /// One that may put messages together, once [`Publisher::allow_batches`] says that the stream
    /// takes batches; `requester` is the one that it publishes by.
    pub(super) fn with_batches(stream: &str, requester: &Arc<Requester>) -> Self {
        let alone = Self::new(stream);
        let group = Batcher::start(requester.clone(), stream, alone.pacer.clone());
        Self { group: Some(group), ..alone }
    }

    /// Says whether the stream takes atomic batches.
    pub(super) fn allow_batches(&self, allowed: bool) {
        if let Some(group) = &self.group {
            group.allowed.store(allowed, Ordering::Relaxed);
        }
    }

    /// For tests: batches, whatever the server does.
    #[cfg(test)]
    pub(super) fn put_together(&self) {
        self.pacer.put_together();
    }

    /// For tests: how many singles are on the way.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> usize {
        self.pacer.awaited()
    }

    /// For tests: singles, until it is seen otherwise.
    #[cfg(test)]
    pub(super) fn forget_pace(&self) {
        self.pacer.forget();
    }

    /// For tests: whether publishes that wait are put together.
    #[cfg(test)]
    pub(super) fn is_together(&self) -> bool {
        self.pacer.together()
    }

    /// Publishes in order; one outcome a message, in order, within [`PUBLISH_DEADLINE`].
    pub(super) async fn publish(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
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
        self.breaker.lock()
    }

    async fn publish_part(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
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
        let outcomes = match self.group_for(requester, messages) {
            Some((group, bytes)) => {
                // Boxed, so that a single does not carry the room for it.
                Box::pin(self.publish_in(group, requester, messages, bytes, deadline)).await
            }
            None => self.send_until_settled(requester, messages, deadline).await,
        };
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
                if self.breaker().failure(now, connects, &reason) {
                    tracing::warn!(
                        stream = self.stream,
                        reason,
                        "publishing fails: refused but for probes"
                    );
                }
                self.failover.unanswered(&requester.connection);
                self.pacer.forget();
            }
            // Whatever failed before it: the bus answers now.
            Some(_) => {
                if self.breaker().success() {
                    tracing::info!(stream = self.stream, "publishing works again");
                }
                self.failover.answered();
            }
            None => {}
        }
    }

    /// The group, and how many bytes the messages are, if they may go in a batch now.
    fn group_for(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
    ) -> Option<(&Batcher, usize)> {
        let group = self.group.as_ref().filter(|_| self.pacer.together())?;
        if !group.allowed.load(Ordering::Relaxed) {
            return None;
        }
        let longest = requester.connection.client.max_payload();
        let mut bytes = 0;
        for message in messages {
            let size = message.subject().len() + NATS_BATCH_HEADERS + message.payload().len();
            if size > longest {
                return None;
            }
            bytes += size;
        }
        (bytes <= NATS_BATCH_BYTES).then_some((group, bytes))
    }

    async fn publish_in(
        &self,
        group: &Batcher,
        requester: &Requester,
        messages: &[impl Publishable],
        bytes: usize,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let (tell, told) = oneshot::channel();
        let ids = messages.iter().filter_map(Publishable::clients_id).collect();
        let packed = messages.iter().map(packed).collect();
        group.join(Call { messages: packed, bytes, ids, tell }).await;
        let (outcomes, _out) = match tokio::time::timeout_at(deadline, told).await {
            Ok(Ok(Reply::Settled(outcomes))) => (outcomes, None),
            Ok(Ok(Reply::Alone { again: false, out })) => {
                (self.send_once(requester, messages, deadline).await, Some(out))
            }
            Ok(Ok(Reply::Alone { again: true, out })) => {
                (self.send_again(requester, messages, deadline).await, Some(out))
            }
            Ok(Err(_)) => (vec![Err(batcher::stopped()); messages.len()], None),
            // Its batch may be on the way.
            Err(_) => (vec![Err(Failure::late()); messages.len()], None),
        };
        self.repeat_until_settled(requester, messages, outcomes, deadline).await
    }

    /// The stream published to.
    pub(super) fn stream(&self) -> &str {
        &self.stream
    }
}

fn packed(message: &impl Publishable) -> BatchMessage {
    BatchMessage {
        subject: message.subject().to_owned(),
        headers: message.headers(),
        payload: message.payload(),
    }
}
