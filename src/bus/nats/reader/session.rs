//! One ephemeral consumer and the pulls that feed from it.
//!
//! Invariant: entries come in the consumer's own unbroken count, or the session
//! ends with a [`PullError`]; it repairs nothing. What waits in memory is bounded
//! by the pulls sent: at most one and a half times [`NATS_PULL_MESSAGES`] and twice
//! [`NATS_PULL_BYTES`].

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::ReaderContext;
use crate::bus::BusError;
use crate::bus::nats::api::pull_body;
use crate::bus::nats::connect::{Connection, State, Status};
use crate::bus::nats::entry::{self, Delivery};
use crate::bus::nats::error::ApiError;
use crate::limits::{NATS_PULL_BYTES, NATS_PULL_MESSAGES, NATS_PULL_SILENCE, NATS_READER_CHECK};
use crate::message::LogEntry;

/// Why a session has ended.
#[derive(Debug, thiserror::Error)]
pub(in crate::bus::nats) enum PullError {
    /// The reading connection went down: an entry may be the reason.
    #[error("the connection to NATS was lost")]
    Broken,
    /// Consumer or deliveries are gone; a new session will do.
    #[error("{0}")]
    Lost(String),
    /// Somebody has deleted the consumer, alone or with its stream.
    #[error("the consumer was deleted")]
    Deleted,
    /// The bus cannot be asked.
    #[error("{0}")]
    Unavailable(String),
    /// The bus will not have it.
    #[error("{0}")]
    Refused(ApiError),
}

impl From<ApiError> for PullError {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unavailable(text) => Self::Unavailable(text),
            ApiError::Refused(ref refusal) if refusal.is_transient() => {
                Self::Unavailable(error.to_string())
            }
            ApiError::Refused(_) | ApiError::Malformed(_) => Self::Refused(error),
        }
    }
}

impl From<BusError> for PullError {
    fn from(error: BusError) -> Self {
        Self::Unavailable(error.0)
    }
}

/// What a wait brought.
pub(super) enum Event {
    /// The next entry.
    Entry(LogEntry),
    /// A sign of life.
    Nothing,
    /// No entry for [`NATS_READER_CHECK`].
    Idle,
    /// The next entry is longer than a pull may be.
    TooLong,
}

/// A consumer being read.
pub(super) struct Session {
    connection: Connection,
    /// How often the connection had been made when the session was opened.
    connects: u64,
    deliveries: Subscriber,
    inbox: String,
    next_subject: String,
    /// The consumer's count of deliveries.
    delivered: u64,
    /// Messages the server still owes by the pulls sent.
    wanted: usize,
    /// What came out of order when only entries were looked for.
    set_aside: Option<Message>,
    heard: Instant,
    checked: Instant,
}

impl Session {
    /// Makes a consumer that starts at `from`.
    pub(super) async fn open(shared: &ReaderContext, from: u64) -> Result<Self, PullError> {
        let connection = shared.link.up().await?;
        let connects = connection.status().connects;
        let consumer = format!("agentbus-{}", uuid::Uuid::new_v4().simple());
        let inbox = connection.client.new_inbox();
        let subscribed = connection.client.subscribe(inbox.clone()).await;
        let deliveries = subscribed.map_err(|error| PullError::Unavailable(error.to_string()))?;
        shared.requester.create_reader(&shared.stream, &consumer, from).await?;
        let now = Instant::now();
        Ok(Self {
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}", shared.stream),
            connection,
            connects,
            deliveries,
            inbox,
            delivered: 0,
            wanted: 0,
            set_aside: None,
            heard: now,
            checked: now,
        })
    }

    /// Waits for whatever comes first. Cancel safe.
    pub(super) async fn wait(&mut self) -> Result<Event, PullError> {
        if let Some(message) = self.set_aside.take() {
            return self.take(message);
        }
        self.pull().await?;
        let mut status = self.connection.status.clone();
        let connects = self.connects;
        let broken = |now: &Status| now.state != State::Up || now.connects != connects;
        let idle_at = self.checked + NATS_READER_CHECK;
        let message = tokio::select! {
            biased;
            message = self.deliveries.next() => message,
            _ = status.wait_for(broken) => return Err(PullError::Broken),
            () = tokio::time::sleep_until(self.heard + NATS_PULL_SILENCE) => {
                return Err(PullError::Lost("the consumer fell silent".to_owned()));
            }
            () = tokio::time::sleep_until(idle_at) => {
                self.checked = Instant::now();
                return Ok(Event::Idle);
            }
        };
        // The client ends its subscriptions only when its task has ended.
        let message = message.ok_or(PullError::Broken)?;
        self.take(message)
    }

    /// The next entry that is here already. Anything else is left to [`Session::wait`], and so
    /// is the rest when it is time to pull.
    pub(super) fn ready_entry(&mut self) -> Option<LogEntry> {
        if self.wanted <= NATS_PULL_MESSAGES / 2 {
            return None;
        }
        let message = self.deliveries.next().now_or_never()??;
        match self.in_order(&message) {
            Some(delivery) => Some(self.take_entry(message, delivery)),
            None => {
                self.set_aside = Some(message);
                None
            }
        }
    }

    /// The next delivery in the consumer's count.
    fn in_order(&self, message: &Message) -> Option<Delivery> {
        let delivery = Delivery::parse(message.reply.as_deref()?)?;
        (delivery.consumer_seq == self.delivered + 1).then_some(delivery)
    }

    fn take_entry(&mut self, message: Message, delivery: Delivery) -> LogEntry {
        self.delivered = delivery.consumer_seq;
        self.wanted = self.wanted.saturating_sub(1);
        self.heard = Instant::now();
        self.checked = self.heard;
        entry::from_delivery(message, delivery)
    }

    fn take(&mut self, message: Message) -> Result<Event, PullError> {
        if let Some(delivery) = self.in_order(&message) {
            return Ok(Event::Entry(self.take_entry(message, delivery)));
        }
        // A foreign entry may carry a status line: only what has no reply is a status.
        if message.reply.is_some() {
            return Err(PullError::Lost("deliveries were lost".to_owned()));
        }
        self.heard = Instant::now();
        let headers = message.headers.unwrap_or_default();
        let reason = message.description.unwrap_or_default();
        match message.status.unwrap_or(StatusCode::OK) {
            StatusCode::IDLE_HEARTBEAT => match number(&headers, "Nats-Last-Consumer") {
                Some(told) if told > self.delivered => {
                    Err(PullError::Lost("deliveries were lost".to_owned()))
                }
                _ => Ok(Event::Nothing),
            },
            // All of it came, and bytes were left.
            StatusCode::REQUEST_TERMINATED if reason.contains("Batch Completed") => {
                Ok(Event::Nothing)
            }
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {
                self.pull_ended(&headers);
                Ok(Event::Nothing)
            }
            StatusCode::REQUEST_TERMINATED if reason.contains("MaxBytes") => {
                self.pull_ended(&headers);
                let unused = number(&headers, "Nats-Pending-Bytes") == Some(NATS_PULL_BYTES as u64);
                Ok(if unused { Event::TooLong } else { Event::Nothing })
            }
            _ if reason.contains("Consumer Deleted") => Err(PullError::Deleted),
            status => Err(PullError::Lost(format!("the consumer ended: {status} {reason}"))),
        }
    }

    /// What a pull that has ended did not bring is not owed any more.
    fn pull_ended(&mut self, headers: &HeaderMap) {
        let left = number(headers, "Nats-Pending-Messages").unwrap_or(u64::MAX);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.wanted = self.wanted.saturating_sub(left);
    }

    /// Asks for more when less than half of a pull is owed.
    async fn pull(&mut self) -> Result<(), PullError> {
        if self.wanted > NATS_PULL_MESSAGES / 2 {
            return Ok(());
        }
        let body = pull_body(NATS_PULL_MESSAGES);
        let (subject, inbox) = (self.next_subject.clone(), self.inbox.clone());
        let client = &self.connection.client;
        let sent = client.publish_with_reply(subject, inbox, body).await;
        sent.map_err(|_| PullError::Broken)?;
        self.wanted += NATS_PULL_MESSAGES;
        Ok(())
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
