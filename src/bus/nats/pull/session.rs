//! A session: the open pulls from one consumer over one connection.
//!
//! Invariant: the server owes no more messages than were requested (`outstanding`). A session does not
//! recover: it ends with a [`PullError`], and its owner opens another one.

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
    /// A heartbeat: the pull is open. Holds the consumer sequence of the server's last delivery, if the
    /// server states it.
    Heartbeat(Option<u64>),
    /// A pull ended. `too_long` says that the next message is larger than a whole pull may be.
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
    /// How many messages the server still owes.
    outstanding: usize,
    /// A message that [`PullSession::next_ready`] read but did not return. [`PullSession::next`] returns it.
    set_aside: Option<Message>,
    /// When the server last sent anything, or when it last owed nothing.
    last_sent: Instant,
}

impl PullSession {
    /// Subscribes. Requests nothing yet.
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

    /// Waits for the next message from the server. Cancel safe.
    pub async fn next(&mut self) -> Result<Pulled, PullError> {
        if let Some(message) = self.set_aside.take() {
            return self.accept(message);
        }
        let mut status = self.connection.status.clone();
        let connects = self.connects;
        let broken = |now: &Status| now.state != State::Up || now.connects != connects;
        let silence = async {
            // A server that owes nothing sends no heartbeats, so its silence is no fault.
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

    /// The next delivery, if it has already arrived and is `wanted`. Anything else is left to
    /// [`PullSession::next`].
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

    /// Unsubscribes. Returns the messages that the server sent before it received that.
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
                // All messages came; only the pull's limit of bytes was not used up.
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

    /// Records that a pull ended: the server no longer owes the rest of its messages.
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
