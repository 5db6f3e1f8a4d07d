//! Durable consumers that a bus keeps by itself, so that several processes share one.
//!
//! Invariant: a message that was handed out and not answered is handed out again,
//! to whoever asks then, with its count of deliveries. What is done with a
//! message is said by [`Acker`] alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::BusError;
use crate::message::{LogEntry, SubjectPattern};

/// A durable consumer as it is to be made.
#[derive(Clone, Debug)]
pub struct DurableConfig {
    /// Its name.
    pub name: String,
    /// What it gets.
    pub filter: SubjectPattern,
    /// The first sequence it gets; 1 for all that is held.
    pub from: u64,
    /// Which placing of the consumer it belongs to: told back by [`DurableState`].
    pub generation: i64,
    /// How long an answer may take.
    pub ack_wait: Duration,
    /// How often a message is handed out at most.
    pub max_deliver: u32,
}

/// A durable consumer as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurableState {
    /// [`DurableConfig::generation`], if it was made by us.
    pub generation: Option<i64>,
    /// Everything that it gets up to here is answered, or was handed out as often as allowed.
    pub ack_floor: u64,
    /// It has looked at everything up to here.
    pub delivered: u64,
    /// Messages not handed out yet.
    pub pending: u64,
    /// Messages handed out and not answered.
    pub in_flight: u64,
    /// Messages handed out more than once and never answered.
    pub redelivered: u64,
}

/// By what a delivery is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckHandle(pub(super) String);

/// A message handed out.
#[derive(Clone, Debug)]
pub struct DeliveredMessage {
    /// The entry.
    pub raw: LogEntry,
    /// Whether it was, or may have been, handed out before.
    pub redelivered: bool,
    /// By what it is answered.
    pub ack_handle: AckHandle,
}

/// What is said to a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckKind {
    /// Done with it.
    Ack,
    /// At it: the wait for an answer begins anew.
    Progress,
    /// Not done: deliver it again after this long, at once for zero. At once it may come to a pull of
    /// the same process.
    Nak(Duration),
}

/// Why there are no deliveries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// There is no such consumer.
    #[error("the durable consumer is gone")]
    NoConsumer,
    /// The bus refuses.
    #[error(transparent)]
    Bus(#[from] BusError),
}

/// Acker deliveries.
#[async_trait]
pub trait Acker: Send + Sync {
    /// Sends an answer. One that gets lost means another delivery.
    async fn ack(&self, handle: &AckHandle, kind: AckKind);

    /// Waits until the bus has all answers sent so far, as far as it can be reached.
    async fn flush(&self);
}

/// Takes messages from a durable consumer.
#[async_trait]
pub trait Deliveries: Send {
    /// Waits for messages, never more than the largest `room` told and not yet used.
    /// A smaller room than before takes nothing back that is on its way. Heals what
    /// can be healed. Cancel safe.
    async fn next(&mut self, room: usize) -> Result<Vec<DeliveredMessage>, DeliveryError>;

    /// Ends taking part, so that nothing is handed to this one any more, and brings
    /// what came until then: it is to be given back.
    async fn close(&mut self) -> Vec<DeliveredMessage>;
}

/// The durable consumers of a bus.
#[async_trait]
pub trait DurableConsumers: Send + Sync {
    /// How one is; `None` when there is none of that name.
    async fn state(&self, name: &str) -> Result<Option<DurableState>, BusError>;

    /// Makes one; the same again is no error.
    async fn create(&self, durable: &DurableConfig) -> Result<(), BusError>;

    /// Removes one; that there is none is no error.
    async fn delete(&self, name: &str) -> Result<(), BusError>;

    /// Takes part in one.
    async fn deliveries(&self, name: &str) -> Result<Box<dyn Deliveries>, BusError>;

    /// Acker its deliveries.
    fn acker(&self) -> Arc<dyn Acker>;
}
