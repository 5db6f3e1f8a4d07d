//! The inbox of one consumer's pulls.

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;

use crate::bus::BusError;
use crate::bus::nats::entry::Delivery;

/// An inbox for one consumer's deliveries. It must be its own, since a delivery arrives with its message's
/// subject and does not show the inbox. The subscription ends when this is dropped.
pub struct PullInbox {
    client: Client,
    pub messages: Subscriber,
    address: String,
    next_subject: String,
}

impl PullInbox {
    pub async fn open(client: &Client, stream: &str, consumer: &str) -> Result<Self, BusError> {
        let address = client.new_inbox();
        let subscribed = client.subscribe(address.clone()).await;
        let messages = subscribed.map_err(|error| BusError(format!("inbox: {error}")))?;
        let next_subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        Ok(Self { client: client.clone(), messages, address, next_subject })
    }

    /// Sends a pull request (ADR-13).
    pub async fn request(&self, body: Bytes) -> Result<(), BusError> {
        let (subject, reply) = (self.next_subject.clone(), self.address.clone());
        let sent = self.client.publish_with_reply(subject, reply, body).await;
        sent.map_err(|error| BusError(error.to_string()))
    }
}

/// Parses the reply subject of a delivery. A message without one is a status of the server, whatever its
/// headers say: a foreign entry may carry a status line.
pub fn delivery_of(message: &Message) -> Option<Delivery> {
    Delivery::parse(message.reply.as_deref()?)
}
