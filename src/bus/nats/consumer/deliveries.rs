//! Receives messages from a durable consumer, over as many sessions as that takes.
//!
//! Invariant: two kinds of message are fetched with `STREAM.MSG.GET`, and returned as possibly delivered
//! before: those that the server gave up after their last delivery, and those that async-nats cannot read
//! (see [`super::super::reader`]). Every other message that a broken session leaves unacknowledged is
//! redelivered by the server.

use std::sync::Arc;

use async_trait::async_trait;

use super::api;
use super::context::ConsumerContext;
use super::session::{Event, Session};
use crate::bus::BusError;
use crate::bus::durable::{AckHandle, DeliveredMessage, Deliveries, DeliveryError};
use crate::bus::nats::pull::{PullError, Retry};
use crate::limits::NATS_STEPS_AFTER_BREAK;
use crate::message::LogEntry;

/// Receives messages from one durable consumer.
pub(super) struct NatsDeliveries {
    context: Arc<ConsumerContext>,
    name: String,
    session: Option<Session>,
    /// Sequences of messages that the server gave up and that must still be fetched.
    given_up: Vec<u64>,
    /// Whether one of the entries in flight may have broken the connection, so that they must be searched for
    /// one that async-nats cannot read.
    search: bool,
    retry: Retry,
}

impl NatsDeliveries {
    pub(super) fn new(context: Arc<ConsumerContext>, name: &str) -> Self {
        Self {
            context,
            name: name.to_owned(),
            session: None,
            given_up: Vec::new(),
            search: false,
            retry: Retry::default(),
        }
    }

    /// Does one step. Cancel safe: work that is not finished stays recorded in the fields.
    async fn advance(&mut self, capacity: usize) -> Result<Vec<DeliveredMessage>, PullError> {
        self.retry.due().await;
        if self.search {
            let found = self.unreadable().await?;
            self.search = false;
            return Ok(found);
        }
        if let Some(seq) = self.given_up.last().copied() {
            let fetched = self.context.requester.entry_at(self.context.stream(), seq).await?;
            self.given_up.pop();
            return Ok(fetched.map(|raw| self.fetched(raw)).into_iter().collect());
        }
        let Some(session) = &mut self.session else {
            self.session = Some(Session::open(&self.context, &self.name).await?);
            return Ok(Vec::new());
        };
        match session.wait(capacity).await? {
            Event::Messages(messages) => {
                self.resume();
                return Ok(messages);
            }
            Event::GivenUp(seq) => self.given_up.push(seq),
            Event::Heartbeat => self.resume(),
        }
        Ok(Vec::new())
    }

    /// The messages in flight that async-nats cannot read. Several processes may return the same ones.
    async fn unreadable(&self) -> Result<Vec<DeliveredMessage>, PullError> {
        let (requester, stream) = (&self.context.requester, self.context.stream());
        let Some(info) = requester.consumer_info(stream, &self.name).await? else {
            return Ok(Vec::new());
        };
        let (state, mut found) = (api::state(&info), Vec::new());
        let mut next = state.ack_floor + 1;
        for _ in 0..NATS_STEPS_AFTER_BREAK {
            if next > state.delivered {
                break;
            }
            let Some((raw, readable)) = requester.entry_checked(stream, next).await? else { break };
            next = raw.seq + 1;
            if !readable && raw.seq <= state.delivered {
                found.push(self.fetched(raw));
            }
        }
        Ok(found)
    }

    /// A message that was fetched and not delivered. Its acknowledgement works all the same: the server needs
    /// only the stream sequence to find the message.
    fn fetched(&self, raw: LogEntry) -> DeliveredMessage {
        let (stream, name, seq) = (self.context.stream(), &self.name, raw.seq);
        let ack_handle = AckHandle(format!("$JS.ACK.{stream}.{name}.1.{seq}.0.0.0"));
        DeliveredMessage { raw, redelivered: true, ack_handle }
    }

    fn resume(&mut self) {
        if let Some(connection) = self.context.open_connection() {
            connection.answered();
        }
        self.retry.reset();
        if self.retry.resume() {
            tracing::info!(consumer = self.name, "deliveries go on");
        }
    }

    fn interrupt(&mut self, error: &PullError) {
        self.session = None;
        self.search |= matches!(error, PullError::Disconnected);
        self.retry.delay();
        if self.retry.interrupt() {
            tracing::warn!(consumer = self.name, reason = %error, "deliveries were interrupted; retrying");
        }
    }

    /// Whether JetStream reports that the consumer does not exist.
    async fn is_deleted(&self) -> bool {
        let info = self.context.requester.consumer_info(self.context.stream(), &self.name).await;
        matches!(info, Ok(None))
    }
}

#[async_trait]
impl Deliveries for NatsDeliveries {
    async fn next(&mut self, capacity: usize) -> Result<Vec<DeliveredMessage>, DeliveryError> {
        loop {
            let error = match self.advance(capacity).await {
                Ok(messages) if messages.is_empty() => continue,
                Ok(messages) => return Ok(messages),
                Err(error) => error,
            };
            self.interrupt(&error);
            match error {
                PullError::Refused(error) => return Err(BusError::from(error).into()),
                PullError::Lost(_) | PullError::Deleted if self.is_deleted().await => {
                    return Err(DeliveryError::NoConsumer);
                }
                PullError::Lost(_) => {
                    if let Some(connection) = self.context.open_connection() {
                        connection.unanswered().await;
                    }
                }
                PullError::Deleted | PullError::Disconnected | PullError::Unavailable(_) => {}
            }
        }
    }

    async fn close(&mut self) -> Vec<DeliveredMessage> {
        match self.session.take() {
            Some(session) => session.close().await,
            None => Vec::new(),
        }
    }
}
