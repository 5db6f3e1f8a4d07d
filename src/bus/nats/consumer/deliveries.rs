//! Messages from a durable consumer, for ever.
//!
//! Invariant: what the server gave up on, and what async-nats cannot read (see
//! [`super::super::reader`]), is fetched by `STREAM.MSG.GET` and handed out as a
//! message that may have been handed out before. Everything else that a broken
//! session leaves behind the server hands out again by itself.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::NatsConsumers;
use super::session::{Event, Session};
use crate::backoff::Backoff;
use crate::bus::BusError;
use crate::bus::durable::{AckHandle, DeliveredMessage, Deliveries, DeliveryError};
use crate::bus::nats::reader::PullError;
use crate::limits::{NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST, NATS_STEPS_AFTER_BREAK};
use crate::message::LogEntry;

/// Takes part in one durable consumer.
pub(super) struct NatsDeliveries {
    shared: Arc<NatsConsumers>,
    name: String,
    session: Option<Session>,
    /// Sequences to be fetched one by one.
    exhausted: Vec<u64>,
    /// Whether what is under way must be searched for what broke the connection.
    search: bool,
    retry_at: Option<Instant>,
    backoff: Backoff,
    troubled: bool,
}

impl NatsDeliveries {
    pub(super) fn new(shared: Arc<NatsConsumers>, name: &str) -> Self {
        Self {
            shared,
            name: name.to_owned(),
            session: None,
            exhausted: Vec::new(),
            search: false,
            retry_at: None,
            backoff: Backoff::new(NATS_READER_RETRY_FIRST, NATS_READER_RETRY_LONGEST),
            troubled: false,
        }
    }

    /// One step. Cancel safe: what is left to do is noted until it is done.
    async fn advance(&mut self, room: usize) -> Result<Vec<DeliveredMessage>, PullError> {
        if let Some(at) = self.retry_at {
            tokio::time::sleep_until(at).await;
            self.retry_at = None;
        }
        if self.search {
            let found = self.unreadable().await?;
            self.search = false;
            return Ok(found);
        }
        if let Some(seq) = self.exhausted.last().copied() {
            let fetched = self.shared.requester.entry_at(self.shared.stream(), seq).await?;
            self.exhausted.pop();
            return Ok(fetched.map(|raw| self.apart(raw)).into_iter().collect());
        }
        let Some(session) = &mut self.session else {
            self.session = Some(Session::open(&self.shared, &self.name).await?);
            return Ok(Vec::new());
        };
        match session.wait(room).await? {
            Event::Messages(messages) => {
                self.recovered();
                return Ok(messages);
            }
            Event::Exhausted(seq) => self.exhausted.push(seq),
            Event::Nothing => self.recovered(),
        }
        Ok(Vec::new())
    }

    /// What is under way and async-nats cannot read. Several processes may find the same.
    async fn unreadable(&self) -> Result<Vec<DeliveredMessage>, PullError> {
        let (requester, stream) = (&self.shared.requester, self.shared.stream());
        let Some(info) = requester.consumer_info(stream, &self.name).await? else {
            return Ok(Vec::new());
        };
        let (state, mut found) = (info.state(), Vec::new());
        let mut next = state.ack_floor + 1;
        for _ in 0..NATS_STEPS_AFTER_BREAK {
            if next > state.delivered {
                break;
            }
            let Some((raw, readable)) = requester.entry_checked(stream, next).await? else { break };
            next = raw.seq + 1;
            if !readable && raw.seq <= state.delivered {
                found.push(self.apart(raw));
            }
        }
        Ok(found)
    }

    /// A message that did not come by a delivery of ours. The server takes the answer by
    /// stream sequence alone.
    fn apart(&self, raw: LogEntry) -> DeliveredMessage {
        let (stream, name, seq) = (self.shared.stream(), &self.name, raw.seq);
        let ack_handle = AckHandle(format!("$JS.ACK.{stream}.{name}.1.{seq}.0.0.0"));
        DeliveredMessage { raw, redelivered: true, ack_handle }
    }

    fn recovered(&mut self) {
        if let Some(link) = self.shared.link.get() {
            link.answered();
        }
        self.backoff.reset();
        if std::mem::take(&mut self.troubled) {
            tracing::info!(consumer = self.name, "deliveries go on");
        }
    }

    fn give_up(&mut self, trouble: &PullError) {
        self.session = None;
        self.search |= matches!(trouble, PullError::Broken);
        self.retry_at = Some(Instant::now() + self.backoff.jittered());
        if !std::mem::replace(&mut self.troubled, true) {
            tracing::warn!(consumer = self.name, reason = %trouble, "deliveries were interrupted");
        }
    }

    /// Whether the consumer is gone; a bus that cannot be asked does not say so.
    async fn is_gone(&self) -> bool {
        let info = self.shared.requester.consumer_info(self.shared.stream(), &self.name).await;
        matches!(info, Ok(None))
    }
}

#[async_trait]
impl Deliveries for NatsDeliveries {
    async fn next(&mut self, room: usize) -> Result<Vec<DeliveredMessage>, DeliveryError> {
        loop {
            let trouble = match self.advance(room).await {
                Ok(messages) if messages.is_empty() => continue,
                Ok(messages) => return Ok(messages),
                Err(trouble) => trouble,
            };
            self.give_up(&trouble);
            match trouble {
                PullError::Refused(error) => return Err(BusError::from(error).into()),
                PullError::Lost(_) | PullError::Deleted if self.is_gone().await => {
                    return Err(DeliveryError::NoConsumer);
                }
                PullError::Lost(_) => {
                    if let Some(link) = self.shared.link.get() {
                        link.unanswered().await;
                    }
                }
                PullError::Deleted | PullError::Broken | PullError::Unavailable(_) => {}
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
