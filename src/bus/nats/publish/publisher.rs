//! The publisher of a stream: admits calls, bounds how many messages are in flight, and sends them in batches
//! or singly.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::batch::BatchMessage;
use super::batcher::{Batcher, Call, CallOutcome};
use super::outcome::{Failure, Outcome};
use super::publishable::Publishable;
use crate::bus::nats::breaker::Breaker;
use crate::bus::nats::connect::State;
use crate::bus::nats::failover::FailoverTimer;
use crate::bus::nats::requester::Requester;
use crate::bus::{Ack, PublishError};
use crate::limits::{
    NATS_BATCH_BYTES, NATS_BATCH_HEADERS, NATS_MAX_IN_FLIGHT, NATS_MAX_PIPELINED, PUBLISH_DEADLINE,
};

/// Publishes to one stream over one connection.
pub(crate) struct Publisher {
    stream: String,
    in_flight: Semaphore,
    breaker: Mutex<Breaker>,
    failover: FailoverTimer,
    batcher: Option<Batcher>,
}

impl Publisher {
    /// A publisher that sends each message by itself.
    pub(crate) fn new(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            in_flight: Semaphore::new(NATS_MAX_IN_FLIGHT),
            breaker: Mutex::default(),
            failover: FailoverTimer::default(),
            batcher: None,
        }
    }

    /// A publisher through `requester` that sends messages in atomic batches while `takes_batches` is true.
    pub(crate) fn with_batches(
        stream: &str,
        requester: &Arc<Requester>,
        takes_batches: Arc<AtomicBool>,
    ) -> Self {
        let batcher = Batcher::start(requester.clone(), stream, takes_batches);
        Self { batcher: Some(batcher), ..Self::new(stream) }
    }

    #[cfg(test)]
    pub(crate) fn sends_batches(&self) -> bool {
        self.batcher.as_ref().is_some_and(Batcher::is_usable)
    }

    #[cfg(test)]
    pub(crate) fn singles_in_flight(&self) -> usize {
        self.batcher.as_ref().map_or(0, Batcher::singles_in_flight)
    }

    /// Publishes messages in order. Returns one outcome for each, in order, within [`PUBLISH_DEADLINE`].
    pub(crate) async fn publish(
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

    /// `Err` with the reason while a publish would be refused at once.
    pub(crate) fn health(&self, requester: &Requester) -> Result<(), String> {
        let status = requester.connection.status();
        match status.state {
            State::Up => {}
            State::Down => return Err("not connected to NATS".to_owned()),
            State::Closed => return Err("the NATS client has ended".to_owned()),
        }
        match self.breaker.lock().refusal(Instant::now().into_std(), status.connects) {
            Some(reason) => Err(format!("circuit open after: {reason}")),
            None => Ok(()),
        }
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
            let failure = Failure::not_sent("too many publishes await their acks").unanswered();
            return vec![Err(failure); messages.len()];
        };
        let outcomes = match self.batcher_for(requester, messages) {
            Some((batcher, bytes)) => {
                // Boxed, so that this large future does not add to the future of every single publish.
                Box::pin(self.send_in_batch(batcher, requester, messages, bytes, deadline)).await
            }
            None => {
                let outcomes = self.send_once(requester, messages, deadline).await;
                self.retry_tail(requester, messages, outcomes, deadline).await
            }
        };
        self.report_to_breaker(requester, &outcomes);
        outcomes
    }

    /// Refuses a call at once while there is no connection: the client would queue the messages and send them
    /// later.
    pub(super) fn admit(&self, requester: &Requester) -> Result<(), Failure> {
        let status = requester.connection.status();
        if status.state != State::Up {
            return Err(Failure::not_connected());
        }
        let now = Instant::now().into_std();
        self.breaker.lock().admit(now, status.connects).map_err(Failure::not_sent)
    }

    pub(super) fn report_to_breaker(&self, requester: &Requester, outcomes: &[Outcome]) {
        let connects = requester.connection.status().connects;
        match outcomes.last() {
            Some(Err(failure)) if failure.unanswered => {
                let (now, reason) = (Instant::now().into_std(), failure.error.to_string());
                if self.breaker.lock().failure(now, connects, &reason) {
                    tracing::warn!(
                        stream = self.stream,
                        reason,
                        "publishing fails: refusing publishes, except for probes, until NATS answers"
                    );
                }
                self.failover.unanswered(&requester.connection);
            }
            // A reply came, so the bus answers, whatever failed before.
            Some(_) => {
                if self.breaker.lock().success() {
                    tracing::info!(stream = self.stream, "publishing works again");
                }
                self.failover.answered();
            }
            None => {}
        }
    }

    /// The batcher, and the size of the messages in bytes; `None` if the call must not be part of a batch
    /// now.
    fn batcher_for(
        &self,
        requester: &Requester,
        messages: &[impl Publishable],
    ) -> Option<(&Batcher, usize)> {
        let batcher = self.batcher.as_ref().filter(|batcher| batcher.is_usable())?;
        let longest = requester.connection.client.max_payload();
        let mut bytes = 0;
        for message in messages {
            let size = message.subject().len() + NATS_BATCH_HEADERS + message.payload().len();
            if size > longest {
                return None;
            }
            bytes += size;
        }
        (bytes <= NATS_BATCH_BYTES).then_some((batcher, bytes))
    }

    async fn send_in_batch(
        &self,
        batcher: &Batcher,
        requester: &Requester,
        messages: &[impl Publishable],
        bytes: usize,
        deadline: Instant,
    ) -> Vec<Outcome> {
        let (outcome, result) = oneshot::channel();
        let ids = messages.iter().filter_map(Publishable::clients_id).collect();
        let batched = messages.iter().map(batch_message).collect();
        batcher.push(Call { messages: batched, bytes, ids, outcome }).await;
        let all = |failure: Failure| vec![Err(failure); messages.len()];
        let (outcomes, _guard) = match tokio::time::timeout_at(deadline, result).await {
            Ok(Ok(CallOutcome::Done(outcomes))) => (outcomes, None),
            Ok(Ok(CallOutcome::SendSingly { resend: false, guard })) => {
                (self.send_once(requester, messages, deadline).await, Some(guard))
            }
            Ok(Ok(CallOutcome::SendSingly { resend: true, guard })) => {
                (self.resend(requester, messages, deadline).await, Some(guard))
            }
            Ok(Err(_)) => (all(Failure::unknown("the publisher has ended")), None),
            // A batch with this call may still be in flight.
            Err(_) => (all(Failure::ack_timeout()), None),
        };
        self.retry_tail(requester, messages, outcomes, deadline).await
    }

    /// The name of the stream that this publishes to.
    pub(crate) fn stream(&self) -> &str {
        &self.stream
    }
}

fn batch_message(message: &impl Publishable) -> BatchMessage {
    BatchMessage {
        subject: message.subject().to_owned(),
        headers: message.headers(),
        payload: message.payload(),
    }
}
