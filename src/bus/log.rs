//! The log: what can be published to it, read from it, and asked about it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::durable::DurableConsumers;
use super::error::{BusError, PublishError};
use crate::message::{LogEntry, Outgoing, SubjectPattern};

/// The acknowledgement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The message's sequence (the first one's, for a duplicate).
    pub seq: u64,
    /// Whether the log had the id already, so that nothing was added.
    pub duplicate: bool,
    /// Whether the store has it too, fsynced.
    pub committed: bool,
}

/// The condition of a conditional publish: the log holds nothing on these subjects that is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The subjects.
    pub subjects: SubjectPattern,
    /// Sequence of the newest known entry on them.
    pub newest: u64,
    /// Every entry up to this sequence is known.
    pub known_through: u64,
}

/// The range of sequences in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest sequence in the log; `last + 1` when it is empty.
    pub first: u64,
    /// The highest sequence ever assigned; 0 for a new log.
    pub last: u64,
}

/// What identifies a log, and its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Its bounds at the time of the request.
    pub bounds: Bounds,
    /// The epoch of the stream, if it has one.
    pub epoch: Option<Uuid>,
    /// Whether a lost tail is being written back, or a server died while it did so.
    pub write_back_pending: bool,
}

/// Reads the log in order.
#[async_trait]
pub trait Reader: Send {
    /// Waits for the next entries: at least one, in rising sequence, without repeating any, or skipping any that the
    /// log holds.
    ///
    /// Recovers by itself from a lost consumer and a lost connection. Cancel safe.
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError>;
}

/// A log that can be published to and read.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// `memory` or `nats`.
    fn name(&self) -> &'static str;

    /// The name of the log. The ids of entries without one derive from it.
    fn log_name(&self) -> &str;

    /// How long the bus itself recognises a repeated id; `None`: without limit.
    fn dedup_window(&self) -> Option<Duration>;

    /// Publishes in order; one result a message, in order. Sequences of new messages rise in input order.
    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>>;

    /// Publishes a message if the condition holds at the moment at which the log stores it; else `None`.
    async fn publish_if(
        &self,
        message: Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError>;

    /// Identity and bounds of the log, read now.
    async fn identity(&self) -> Result<LogIdentity, BusError>;

    /// The entry at a sequence.
    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError>;

    /// A reader of every entry from sequence `from` on that the log still holds.
    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError>;

    /// `Err` with the reason while publishing is not possible.
    fn health(&self) -> Result<(), String>;

    /// How full the log is of entries beyond `committed_through`: the greatest share of any of its limits, 0.0 to 1.0.
    /// Cheap; may be a second old.
    fn uncommitted_share(&self, committed_through: u64) -> f64;

    /// Its durable consumers; `None` when it has none, so that each consumer reads the log from its own position.
    fn durable_consumers(&self) -> Option<Arc<dyn DurableConsumers>> {
        None
    }
}
