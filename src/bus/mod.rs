//! The bus: the log of messages, in memory or in JetStream.
//!
//! Invariant: an acknowledged message has a sequence that no other content
//! ever gets, and every reader sees entries in rising sequence. The bus knows
//! nothing of the store; the memory bus writes through a [`memory::Journal`].

pub mod durable;
pub mod memory;
pub mod nats;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::message::{LogEntry, Outgoing, SubjectPattern};
use durable::DurableConsumers;

/// The bus has the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The message's sequence (the first one's, for a duplicate).
    pub seq: u64,
    /// Whether the id was there already, so that nothing was added.
    pub duplicate: bool,
    /// Whether the store has it too, fsynced.
    pub committed: bool,
}

/// Why a publish was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Surely not in the log.
    #[error("not sent: {0}")]
    NotSent(String),
    /// In the log or not: only a repeat under the same id can tell.
    #[error("outcome unknown: {0}")]
    Unknown(String),
}

/// What must not stand in the log for a conditional publish: anything on these
/// subjects that is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// The subjects.
    pub subjects: SubjectPattern,
    /// The newest entry on them that is known.
    pub newest: u64,
    /// Everything up to here is known.
    pub known_through: u64,
}

/// The bus could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is unavailable: {0}")]
pub struct BusError(pub String);

/// What the log holds now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The lowest sequence held; `last + 1` when none is.
    pub first: u64,
    /// The highest sequence ever given; 0 for a new log.
    pub last: u64,
}

/// What a log is, besides its bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// Bounds at the time of asking.
    pub bounds: Bounds,
    /// The epoch of the stream, where it has one.
    pub epoch: Option<Uuid>,
    /// Whether a lost tail is being written back, or was until somebody died.
    pub write_back_pending: bool,
}

/// Reads the log in order.
#[async_trait]
pub trait Reader: Send {
    /// Waits for the next entries: at least one, in rising sequence, none
    /// skipped that the log holds, none repeated.
    ///
    /// Heals what can be healed (a lost consumer, a reconnect). Cancel safe.
    async fn next(&mut self) -> Result<Vec<LogEntry>, BusError>;
}

/// What a bus can do.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// `memory` or `nats`.
    fn name(&self) -> &'static str;

    /// The name of the log, of which ids for entries without one are derived.
    fn log_name(&self) -> &str;

    /// How long the bus itself recognises a repeated id; `None`: for ever.
    fn dedup_window(&self) -> Option<Duration>;

    /// Publishes in order and answers in order. Sequences of new messages rise
    /// in input order.
    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>>;

    /// Publishes a message, but not over what its sender does not know: `None` when
    /// there is something of the kind. Decided in the moment the log takes it.
    async fn publish_if(
        &self,
        message: Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError>;

    /// What the log holds, asked for now.
    async fn identity(&self) -> Result<LogIdentity, BusError>;

    /// The entry at a sequence.
    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError>;

    /// A reader of everything from `from` on that the log still holds.
    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError>;

    /// `Err` with the reason while the bus cannot be published to.
    fn health(&self) -> Result<(), String>;

    /// How full the log would be of what lies beyond `committed_through`: the
    /// greatest share of any of its limits, 0.0 to 1.0. Cheap; may be a second old.
    fn uncommitted_share(&self, committed_through: u64) -> f64;

    /// Its durable consumers; `None` when it keeps none, so that all of the log
    /// is fed from where a consumer stands.
    fn durable_consumers(&self) -> Option<Arc<dyn DurableConsumers>> {
        None
    }
}
