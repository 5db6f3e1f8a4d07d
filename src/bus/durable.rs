//! Durable consumers that the bus itself keeps, so that several processes share one.
//!
//! Invariant: a delivered message that is not acknowledged is delivered again, to any process that takes
//! part, with its delivery count. Only [`Acker`] decides what happens to a delivered message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::BusError;
use crate::message::{LogEntry, SubjectPattern};

/// The configuration of a durable consumer.
#[derive(Clone, Debug)]
pub struct DurableConfig {
    /// The consumer's name.
    pub name: String,
    /// The subjects that the consumer delivers.
    pub filter: SubjectPattern,
    /// The first sequence that the consumer delivers; 1 for all that the log holds.
    pub from: u64,
    /// The number of the consumer's generation, which [`DurableState`] reports. Each move of the consumer to
    /// another position begins a new one.
    pub generation: i64,
    /// How long a delivery may stay unacknowledged before the message is delivered again.
    pub ack_wait: Duration,
    /// The most deliveries of one message.
    pub max_deliver: u32,
}

/// The state of a durable consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableState {
    /// [`DurableConfig::generation`]; `None` if agentbus did not create the consumer.
    pub generation: Option<i64>,
    /// Every message up to this sequence was acknowledged, or delivered `max_deliver` times.
    pub ack_floor: u64,
    /// The highest sequence that was delivered or filtered out.
    pub delivered: u64,
    /// Messages not delivered yet.
    pub pending: u64,
    /// Messages delivered and not acknowledged.
    pub in_flight: u64,
    /// Messages delivered more than once and never acknowledged.
    pub redelivered: u64,
}

/// Identifies one delivery when it is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHandle(pub(super) String);

/// A message that was delivered.
#[derive(Clone, Debug)]
pub struct DeliveredMessage {
    /// The log entry.
    pub raw: LogEntry,
    /// Whether the message was, or may have been, delivered before.
    pub redelivered: bool,
    /// Identifies this delivery to [`Acker::ack`].
    pub ack_handle: AckHandle,
}

/// The kinds of acknowledgement (ADR-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// Processed: never deliver it again.
    Ack,
    /// Still in progress: the ack wait starts anew.
    Progress,
    /// Not processed: deliver it again after this delay. With a delay of zero, the same process may get it at
    /// once.
    Nak(Duration),
}

/// Why there are no deliveries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// The consumer does not exist (any more).
    #[error("the durable consumer does not exist")]
    NoConsumer,
    /// The request to the bus failed.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Acknowledges deliveries.
#[async_trait]
pub trait Acker: Send + Sync {
    /// Sends an acknowledgement without waiting for it to arrive. If it is lost, the message is delivered
    /// again.
    async fn ack(&self, handle: &AckHandle, kind: AckKind);

    /// Waits until the bus has received every acknowledgement sent before, unless the bus cannot be reached.
    async fn flush(&self);
}

/// Receives messages from one durable consumer.
#[async_trait]
pub trait Deliveries: Send {
    /// Waits for messages. `capacity` is how many the caller can take now; it bounds those requested and not
    /// yet delivered, over all calls. A smaller capacity later does not withdraw requests already sent.
    /// Recovers from lost connections. Cancel safe.
    async fn next(&mut self, capacity: usize) -> Result<Vec<DeliveredMessage>, DeliveryError>;

    /// Stops the deliveries to this process. Returns the messages that had already arrived; the caller must
    /// nak them.
    async fn close(&mut self) -> Vec<DeliveredMessage>;
}

/// The durable consumers of a bus.
#[async_trait]
pub trait DurableConsumers: Send + Sync {
    /// The state of a consumer; `None` if it does not exist.
    async fn state(&self, name: &str) -> Result<Option<DurableState>, BusError>;

    /// Creates a consumer. If it exists with the same configuration, nothing happens.
    async fn create(&self, config: &DurableConfig) -> Result<(), BusError>;

    /// Deletes a consumer. If there is none of this name, nothing happens.
    async fn delete(&self, name: &str) -> Result<(), BusError>;

    /// Starts to receive messages from a consumer.
    async fn deliveries(&self, name: &str) -> Result<Box<dyn Deliveries>, BusError>;

    /// Acknowledges the deliveries of all consumers of this bus.
    fn acker(&self) -> Arc<dyn Acker>;
}
