//! One session with a durable consumer: its deliveries and advisories over one connection.

use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;

use super::context::ConsumerContext;
use crate::bus::durable::{AckHandle, DeliveredMessage};
use crate::bus::nats::consumer_api::given_up_seq;
use crate::bus::nats::entry::{self, Delivery};
use crate::bus::nats::pull::{PullError, PullSession, Pulled};
use crate::limits::{NATS_PULL_MESSAGES, NATS_READ_MESSAGES};

/// What [`Session::wait`] returns.
pub(super) enum Event {
    /// Messages were delivered.
    Messages(Vec<DeliveredMessage>),
    /// The server gave up the message at this sequence.
    GivenUp(u64),
    /// A heartbeat: the consumer exists and the server answers.
    Heartbeat,
}

/// The open pulls from one consumer, and the subscription to its advisories.
pub(super) struct Session {
    pull: PullSession,
    advisories: Subscriber,
}

impl Session {
    /// Subscribes to deliveries and advisories. From now on acknowledgements use the same connection.
    pub(super) async fn open(context: &ConsumerContext, name: &str) -> Result<Self, PullError> {
        let connection = context.connection().await?.up().await?;
        let stream = context.stream();
        let advisory = format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{name}");
        // A queue group: each advisory goes to one process only.
        let group = format!("agentbus-{name}");
        let subscribed = connection.client.queue_subscribe(advisory, group).await;
        let advisories = subscribed.map_err(|error| PullError::Unavailable(error.to_string()))?;
        context.acker.use_connection(&connection);
        Ok(Self { pull: PullSession::open(connection, stream, name).await?, advisories })
    }

    /// Requests messages, up to `capacity` in all, and waits for the first event. Cancel safe.
    pub(super) async fn wait(&mut self, capacity: usize) -> Result<Event, PullError> {
        let outstanding = self.pull.outstanding();
        let more = capacity.saturating_sub(outstanding).min(NATS_PULL_MESSAGES);
        // While messages are outstanding, a further pull is sent only if it can request at least half the
        // capacity, or a whole pull.
        if more > 0 && (outstanding == 0 || more == NATS_PULL_MESSAGES || more >= capacity / 2) {
            self.pull.request(more).await?;
        }
        let pulled = tokio::select! {
            biased;
            pulled = self.pull.next() => pulled?,
            advisory = self.advisories.next() => {
                let advisory = advisory.ok_or(PullError::Disconnected)?;
                return Ok(given_up_seq(&advisory.payload).map_or(Event::Heartbeat, Event::GivenUp));
            }
        };
        let Pulled::Message(message, delivery) = pulled else { return Ok(Event::Heartbeat) };
        let mut messages = vec![delivered(message, delivery)];
        while messages.len() < NATS_READ_MESSAGES
            && let Some((message, delivery)) = self.pull.next_ready(|_| true)
        {
            messages.push(delivered(message, delivery));
        }
        Ok(Event::Messages(messages))
    }

    /// Unsubscribes. Returns the messages that the server sent before it received that.
    pub(super) async fn close(self) -> Vec<DeliveredMessage> {
        let last = self.pull.close().await;
        last.into_iter().map(|(message, delivery)| delivered(message, delivery)).collect()
    }
}

fn delivered(message: Message, delivery: Delivery) -> DeliveredMessage {
    let redelivered = delivery.count > 1;
    let ack_handle = AckHandle(message.reply.as_deref().unwrap_or_default().to_owned());
    DeliveredMessage { raw: entry::from_delivery(message, delivery), redelivered, ack_handle }
}
