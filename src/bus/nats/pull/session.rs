//! One consumer's open pulls over one connection.
//!
//! Invariant: the server owes no more messages than were requested (`outstanding`). A session repairs
//! nothing: it ends with a [`PullError`] and its owner opens another.

use async_nats::{HeaderMap, Message, StatusCode};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::error::PullError;
use super::inbox::{PullInbox, delivery_of};
use crate::bus::nats::api::pull_body;
use crate::bus::nats::connect::{Connection, State, Status};
use crate::bus::nats::entry::Delivery;
use crate::limits::{NATS_PULL_BYTES, NATS_PULL_SILENCE, NATS_STOP_FLUSH};

/// What the server sent.
pub enum Pulled {
    Message(Message, Delivery),
    /// The pull is open. The server has sent deliveries up to this number in the consumer's count, if it says
    /// so.
    Heartbeat(Option<u64>),
    /// A pull ended; `too_long` if the next message is longer than a whole pull may be.
    Ended {
        too_long: bool,
    },
}

/// The open pulls from one consumer.
pub struct PullSession {
    connection: Connection,
    /// [`Status::connects`] when the session was opened.
    connects: u64,
    inbox: PullInbox,
    /// Messages the server still owes.
    outstanding: usize,
    /// What [`PullSession::next_ready`] found and did not return.
    set_aside: Option<Message>,
    /// When the server last sent anything, or owed nothing.
    last_sent: Instant,
}

impl PullSession {
    /// Subscribes; nothing is requested yet.
    pub async fn open(
        connection: Connection,
        stream: &str,
        consumer: &str,
    ) -> Result<Self, PullError> {
        let connects = connection.status().connects;
        let inbox = PullInbox::open(&connection.client, stream, consumer).await?;
        let last_sent = Instant::now();
        Ok(Self { connection, connects, inbox, outstanding: 0, set_aside: None, last_sent })
    }

    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Requests more messages.
    pub async fn request(&mut self, messages: usize) -> Result<(), PullError> {
        let sent = self.inbox.request(pull_body(messages)).await;
        sent.map_err(|_| PullError::Disconnected)?;
        if self.outstanding == 0 {
            self.last_sent = Instant::now();
        }
        self.outstanding += messages;
        Ok(())
    }

    /// Waits for what the server sends next. Cancel safe.
    pub async fn next(&mut self) -> Result<Pulled, PullError> {
        if let Some(message) = self.set_aside.take() {
            return self.accept(message);
        }
        let mut status = self.connection.status.clone();
        let connects = self.connects;
        let broken = |now: &Status| now.state != State::Up || now.connects != connects;
        let silence = async {
            // A server that owes nothing sends no heartbeats.
            if self.outstanding == 0 {
                std::future::pending().await
            }
            tokio::time::sleep_until(self.last_sent + NATS_PULL_SILENCE).await;
        };
        let message = tokio::select! {
            biased;
            message = self.inbox.messages.next() => message,
            _ = status.wait_for(broken) => return Err(PullError::Disconnected),
            () = silence => return Err(PullError::Lost("the consumer sent no heartbeat".to_owned())),
        };
        // The client ends its subscriptions only when its task has ended.
        self.accept(message.ok_or(PullError::Disconnected)?)
    }

    /// The next delivery that has arrived already, if it is `wanted`. [`PullSession::next`] returns anything
    /// else.
    pub fn next_ready(
        &mut self,
        wanted: impl FnOnce(&Delivery) -> bool,
    ) -> Option<(Message, Delivery)> {
        if self.set_aside.is_some() {
            return None;
        }
        let message = self.inbox.messages.next().now_or_never()??;
        match delivery_of(&message).filter(wanted) {
            Some(delivery) => {
                self.delivered();
                Some((message, delivery))
            }
            None => {
                self.set_aside = Some(message);
                None
            }
        }
    }

    /// Unsubscribes, and returns what the server sent before it knew.
    pub async fn close(mut self) -> Vec<(Message, Delivery)> {
        let mut last: Vec<_> = self.set_aside.into_iter().collect();
        if self.inbox.messages.drain().await.is_ok() {
            let ends = Instant::now() + NATS_STOP_FLUSH;
            let messages = &mut self.inbox.messages;
            while let Ok(Some(message)) = tokio::time::timeout_at(ends, messages.next()).await {
                last.push(message);
            }
        }
        let delivered =
            |message: Message| delivery_of(&message).map(|delivery| (message, delivery));
        last.into_iter().filter_map(delivered).collect()
    }

    fn delivered(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.last_sent = Instant::now();
    }

    fn accept(&mut self, message: Message) -> Result<Pulled, PullError> {
        if let Some(delivery) = delivery_of(&message) {
            self.delivered();
            return Ok(Pulled::Message(message, delivery));
        }
        self.last_sent = Instant::now();
        let headers = message.headers.unwrap_or_default();
        let reason = message.description.unwrap_or_default();
        match message.status.unwrap_or(StatusCode::OK) {
            StatusCode::IDLE_HEARTBEAT => {
                Ok(Pulled::Heartbeat(number(&headers, "Nats-Last-Consumer")))
            }
            StatusCode::REQUEST_TERMINATED if reason.contains("Batch Completed") => {
                // All messages came, and bytes were left.
                Ok(Pulled::Ended { too_long: false })
            }
            StatusCode::REQUEST_TERMINATED if reason.contains("MaxBytes") => {
                let unused = number(&headers, "Nats-Pending-Bytes") == Some(NATS_PULL_BYTES as u64);
                Ok(self.ended(&headers, unused))
            }
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => Ok(self.ended(&headers, false)),
            _ if reason.contains("Consumer Deleted") => Err(PullError::Deleted),
            status => Err(PullError::Lost(format!("the consumer ended: {status} {reason}"))),
        }
    }

    /// The messages that a pull asked for and did not get are not owed any more.
    fn ended(&mut self, headers: &HeaderMap, too_long: bool) -> Pulled {
        let left = number(headers, "Nats-Pending-Messages").unwrap_or(u64::MAX);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        self.outstanding = self.outstanding.saturating_sub(left);
        Pulled::Ended { too_long }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}
