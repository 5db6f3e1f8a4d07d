//! The log: publishing, reading, and its bounds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;

use super::durable::DurableConsumers;
use super::error::{BusError, PublishError};
use crate::message::{LogEntry, Outgoing, SubjectPattern};

/// The acknowledgement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The message's sequence. For a duplicate, the sequence of the first message with the id.
    pub seq: u64,
    /// Whether the log already had the id. Then nothing was added.
    pub duplicate: bool,
    /// Whether the store also has the message, synced to disk.
    pub committed: bool,
}

/// The condition of a conditional publish: the log holds no entry on these subjects that the publisher does
/// not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The subjects.
    pub subjects: SubjectPattern,
    /// The sequence of the newest entry on these subjects that the publisher knows.
    pub newest: u64,
    /// The publisher knows every entry up to this sequence.
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

/// What a bus holds that keeps entries beside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Entries of the log.
    pub messages: u64,
    /// Their size in bytes, as the bus counts it.
    pub bytes: u64,
    /// The age of the oldest entry that is not committed; zero if there is none.
    pub uncommitted_age: Duration,
    /// Requests of this process that wait for their answer.
    pub requests: usize,
}

/// Identifies a log, and states its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The bounds of the log at the time of the request.
    pub bounds: Bounds,
    /// The epoch of the stream, if it has one.
    pub epoch: Option<Uuid>,
    /// Whether a write-back of a lost tail is in progress or was interrupted.
    pub write_back_pending: bool,
}

/// Reads the log in order.
#[async_trait]
pub trait Reader: Send {
    /// Waits for the next entries: at least one, in rising sequence. Repeats no entry and skips none that the
    /// log holds.
    ///
    /// Recovers from a deleted consumer and a lost connection. Cancel safe.
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError>;
}

/// A log that can be published to and read.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// The kind of bus: `memory` or `nats`.
    fn name(&self) -> &'static str;

    /// The name of the log. For an entry without an id, the id is derived from this name.
    fn log_name(&self) -> &str;

    /// How long the bus recognises a repeated id; `None`: without limit.
    fn dedup_window(&self) -> Option<Duration>;

    /// Publishes messages in order. Returns one result for each, in the same order. The sequences of new
    /// messages rise in that order.
    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>>;

    /// Publishes a message if the condition holds when the log stores it; returns `None` if it does not hold.
    async fn publish_if(
        &self,
        message: Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError>;

    /// Identity and bounds of the log, read now.
    async fn identity(&self) -> Result<LogIdentity, BusError>;

    /// The entry at a sequence.
    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError>;

    /// Removes what the log holds of an erased message, whose envelope is now `erased`. An entry with another id at its
    /// sequence stays. What is not there, or is erased, needs no change.
    async fn erase(&self, seq: u64, id: Uuid, erased: &Bytes) -> Result<(), BusError>;

    /// Reads every entry that the log still holds, from sequence `from` on.
    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError>;

    /// `Err` with the reason while the bus cannot publish.
    fn health(&self) -> Result<(), String>;

    /// How full the log is of entries beyond `committed_through`: the greatest share of any of its limits,
    /// from 0.0 to 1.0. Needs no request; the value may be a second old.
    fn uncommitted_share(&self, committed_through: u64) -> f64;

    /// What the bus holds, and how old the oldest entry beyond `committed_through` is. `None` if every entry is
    /// committed before it is acknowledged. As [`Self::uncommitted_share`], it needs no request.
    fn usage(&self, committed_through: u64) -> Option<Usage> {
        let _ = committed_through;
        None
    }

    /// The durable consumers of the bus. `None` if it has none: then each consumer reads the log from its own
    /// position.
    fn durable_consumers(&self) -> Option<Arc<dyn DurableConsumers>> {
        None
    }
}
