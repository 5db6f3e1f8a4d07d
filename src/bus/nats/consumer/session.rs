//! One connection's pulls from a durable consumer.
//!
//! Invariant: the server owes no more than was asked for (`wanted`), and nothing is
//! repaired here: a session ends with a [`PullError`].

use async_nats::{HeaderMap, Message, StatusCode, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use tokio::time::Instant;

use super::NatsConsumers;
use crate::bus::durable::{AckHandle, DeliveredMessage};
use crate::bus::nats::api::pull_body;
use crate::bus::nats::connect::{Connection, State, Status};
use crate::bus::nats::entry::{self, Delivery};
use crate::bus::nats::reader::PullError;
use crate::limits::{NATS_PULL_MESSAGES, NATS_PULL_SILENCE, NATS_READ_MESSAGES, NATS_STOP_FLUSH};

/// What a wait brought.
pub(super) enum Event {
    /// Messages.
    Messages(Vec<DeliveredMessage>),
    /// The server gave up on the message at this sequence.
    Exhausted(u64),
    /// A sign of life.
    Nothing,
}

/// Pulls from one consumer.
pub(super) struct Session {
    connection: Connection,
    /// How often the connection had been made when the session was opened.
    connects: u64,
    inbox: String,
    deliveries: Subscriber,
    advisories: Subscriber,
    next_subject: String,
    /// Messages the server still owes.
    wanted: usize,
    /// A status that came among messages.
    set_aside: Option<Message>,
    heard: Instant,
}

impl Session {
    /// Subscribes, and tells its client to the answers.
    pub(super) async fn open(shared: &NatsConsumers, name: &str) -> Result<Self, PullError> {
        let connection = shared.link().await?.up().await?;
        let connects = connection.status().connects;
        let client = &connection.client;
        let inbox = client.new_inbox();
        let stream = shared.stream();
        let advisory = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{name}");
        let failed = |error: async_nats::SubscribeError| PullError::Unavailable(error.to_string());
        let deliveries = client.subscribe(inbox.clone()).await.map_err(failed)?;
        // One process is told.
        let queue = format!("agentbus-{name}");
        let advisories = client.queue_subscribe(advisory, queue).await.map_err(failed)?;
        shared.answering.go_by(&connection);
        Ok(Self {
            next_subject: format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}"),
            connection,
            connects,
            inbox,
            deliveries,
            advisories,
            wanted: 0,
            set_aside: None,
            heard: Instant::now(),
        })
    }

    /// Waits for whatever comes first, having asked for as much as there is room. Cancel safe.
    pub(super) async fn wait(&mut self, room: usize) -> Result<Event, PullError> {
        if let Some(status) = self.set_aside.take() {
            return self.take_status(&status);
        }
        self.pull(room).await?;
        let mut status = self.connection.status.clone();
        let connects = self.connects;
        let broken = |now: &Status| now.state != State::Up || now.connects != connects;
        // A server that owes nothing says nothing.
        let silence = async {
            if self.wanted == 0 {
                std::future::pending().await
            }
            tokio::time::sleep_until(self.heard + NATS_PULL_SILENCE).await;
        };
        tokio::select! {
            biased;
            message = self.deliveries.next() => {
                // The client ends its subscriptions only when its task has ended.
                let message = message.ok_or(PullError::Broken)?;
                self.heard = Instant::now();
                match delivery_of(&message) {
                    Some(delivery) => {
                        let first = self.delivered(message, delivery);
                        Ok(Event::Messages(self.ready(first)))
                    }
                    None => self.take_status(&message),
                }
            }
            advisory = self.advisories.next() => {
                let advisory = advisory.ok_or(PullError::Broken)?;
                Ok(exhausted(&advisory.payload).map_or(Event::Nothing, Event::Exhausted))
            }
            _ = status.wait_for(broken) => Err(PullError::Broken),
            () = silence => Err(PullError::Lost("the consumer fell silent".to_owned())),
        }
    }

    /// Unsubscribes, and brings what the server sent before it knew.
    pub(super) async fn close(mut self) -> Vec<DeliveredMessage> {
        let mut last = Vec::new();
        if self.deliveries.drain().await.is_ok() {
            let ends = Instant::now() + NATS_STOP_FLUSH;
            while let Ok(Some(message)) =
                tokio::time::timeout_at(ends, self.deliveries.next()).await
            {
                if let Some(delivery) = delivery_of(&message) {
                    last.push(self.delivered(message, delivery));
                }
            }
        }
        last
    }

    /// The message with what else is here already.
    fn ready(&mut self, first: DeliveredMessage) -> Vec<DeliveredMessage> {
        let mut batch = vec![first];
        while batch.len() < NATS_READ_MESSAGES
            && let Some(Some(message)) = self.deliveries.next().now_or_never()
        {
            match delivery_of(&message) {
                Some(delivery) => batch.push(self.delivered(message, delivery)),
                None => {
                    self.set_aside = Some(message);
                    break;
                }
            }
        }
        batch
    }

    fn delivered(&mut self, message: Message, delivery: Delivery) -> DeliveredMessage {
        self.wanted = self.wanted.saturating_sub(1);
        let redelivered = delivery.count > 1;
        let ack_handle = AckHandle(message.reply.as_deref().unwrap_or_default().to_owned());
        DeliveredMessage { raw: entry::from_delivery(message, delivery), redelivered, ack_handle }
    }

    fn take_status(&mut self, message: &Message) -> Result<Event, PullError> {
        let reason = message.description.as_deref().unwrap_or_default();
        match message.status.unwrap_or(StatusCode::OK) {
            StatusCode::IDLE_HEARTBEAT => Ok(Event::Nothing),
            StatusCode::REQUEST_TERMINATED
                if reason.contains("Batch Completed") || reason.contains("MaxBytes") =>
            {
                self.pull_ended(message.headers.as_ref());
                Ok(Event::Nothing)
            }
            StatusCode::NOT_FOUND | StatusCode::TIMEOUT => {
                self.pull_ended(message.headers.as_ref());
                Ok(Event::Nothing)
            }
            status => Err(PullError::Lost(format!("the consumer ended: {status} {reason}"))),
        }
    }

    /// What a pull that has ended did not bring is not owed any more.
    fn pull_ended(&mut self, headers: Option<&HeaderMap>) {
        let left = headers.and_then(|headers| headers.get("Nats-Pending-Messages"));
        let left = left.and_then(|left| left.as_str().parse().ok()).unwrap_or(usize::MAX);
        self.wanted = self.wanted.saturating_sub(left);
    }

    /// Asks for more when at least half of the room is not asked for yet.
    async fn pull(&mut self, room: usize) -> Result<(), PullError> {
        let more = room.saturating_sub(self.wanted).min(NATS_PULL_MESSAGES);
        if more == 0 || (self.wanted > 0 && more < NATS_PULL_MESSAGES && more < room / 2) {
            return Ok(());
        }
        let body = pull_body(more);
        let (subject, inbox) = (self.next_subject.clone(), self.inbox.clone());
        let client = &self.connection.client;
        let sent = client.publish_with_reply(subject, inbox, body).await;
        sent.map_err(|_| PullError::Broken)?;
        if self.wanted == 0 {
            self.heard = Instant::now();
        }
        self.wanted += more;
        Ok(())
    }
}

/// What the reply subject tells; without such a one it is a status of the server,
/// whatever its headers say.
fn delivery_of(message: &Message) -> Option<Delivery> {
    Delivery::parse(message.reply.as_deref()?)
}

/// The sequence that a `MAX_DELIVERIES` advisory names.
fn exhausted(advisory: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Advisory {
        stream_seq: u64,
    }
    serde_json::from_slice::<Advisory>(advisory).ok().map(|advisory| advisory.stream_seq)
}
