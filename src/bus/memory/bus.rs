//! The memory bus: queues publishes for the writer, and reads the entries that the writer has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::call::{Call, Outcome, bytes_of};
use super::journal::{Journal, JournalError};
use super::reader::MemoryReader;
use super::shared::Shared;
use super::tail::Tail;
use super::writer::Writer;
use crate::bus::{Ack, Bounds, Bus, BusError, LogIdentity, Precondition, PublishError, Reader};
use crate::clock::Clock;
use crate::limits::{MEMORY_QUEUE, MEMORY_QUEUE_BYTES, PUBLISH_DEADLINE};
use crate::message::{LogEntry, Outgoing};

/// Queues publishes for the [`Writer`], which assigns sequences and appends to the journal, and opens
/// readers.
pub struct MemoryBus {
    queue: mpsc::Sender<Call>,
    /// One permit for each byte that queued calls may hold.
    bytes: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl MemoryBus {
    /// The name of the log. For an entry without an id, the id is derived from this name.
    pub const LOG_NAME: &'static str = "memory";

    /// Opens a log that continues after the journal's last sequence. Publishes get results only while the
    /// writer runs.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn open(
        journal: Arc<dyn Journal>,
        clock: Clock,
    ) -> Result<(Self, Writer), JournalError> {
        let last = journal.last().await?;
        let first = journal.first().await?.unwrap_or(last + 1);
        let (queue, calls) = mpsc::channel(MEMORY_QUEUE);
        let shared = Arc::new(Shared {
            journal,
            tail: Tail::default(),
            last: watch::Sender::new(last),
            fault: watch::Sender::new(None),
            first: AtomicU64::new(first),
            busy: AtomicBool::new(false),
        });
        let writer = Writer::new(Arc::clone(&shared), calls, clock);
        let bytes = Arc::new(Semaphore::new(MEMORY_QUEUE_BYTES));
        Ok((Self { queue, bytes, shared }, writer))
    }

    /// Queues messages for the writer and waits for the outcomes. If this future is dropped before the writer
    /// has taken the messages, they are not written.
    async fn write(
        &self,
        messages: Vec<Outgoing>,
        condition: Option<Precondition>,
    ) -> Vec<Outcome> {
        let count = messages.len();
        let all = |error: PublishError| vec![Err(error); count];
        if let Some(fault) = self.shared.refusal() {
            return all(PublishError::NotSent(fault));
        }
        let full = || PublishError::NotSent("the write queue is full".to_owned());
        // A call larger than all permits takes all of them.
        let permits = bytes_of(&messages).min(MEMORY_QUEUE_BYTES) as u32;
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(permits) else {
            return all(full());
        };
        let (reply, answer) = oneshot::channel();
        if self.queue.try_send(Call { messages, condition, reply, _bytes: bytes }).is_err() {
            return all(full());
        }
        match tokio::time::timeout(PUBLISH_DEADLINE, answer).await {
            Ok(Ok(results)) => results,
            Ok(Err(_)) => all(PublishError::Unknown("the server is stopping".to_owned())),
            Err(_) => all(PublishError::Unknown("the store did not commit in time".to_owned())),
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn log_name(&self) -> &'static str {
        Self::LOG_NAME
    }

    fn dedup_window(&self) -> Option<Duration> {
        None
    }

    async fn publish(&self, messages: Vec<Outgoing>) -> Vec<Result<Ack, PublishError>> {
        let unconditional = || PublishError::NotSent("refused without a condition".to_owned());
        let outcomes = self.write(messages, None).await.into_iter();
        outcomes.map(|outcome| outcome?.ok_or_else(unconditional)).collect()
    }

    async fn publish_if(
        &self,
        message: Outgoing,
        condition: &Precondition,
    ) -> Result<Option<Ack>, PublishError> {
        let outcome = self.write(vec![message], Some(condition.clone())).await.pop();
        outcome.unwrap_or_else(|| {
            Err(PublishError::Unknown("the writer reported no outcome".to_owned()))
        })
    }

    async fn identity(&self) -> Result<LogIdentity, BusError> {
        let first = self.shared.first.load(Ordering::Relaxed);
        let last = *self.shared.last.borrow();
        Ok(LogIdentity { bounds: Bounds { first, last }, epoch: None, write_back_pending: false })
    }

    async fn get(&self, seq: u64) -> Result<Option<LogEntry>, BusError> {
        if let Some(found) = self.shared.tail.get(seq) {
            return Ok(Some(found));
        }
        let found = self.shared.journal.read(seq, 1).await;
        Ok(found.map_err(|e| BusError(e.to_string()))?.pop().filter(|raw| raw.seq == seq))
    }

    /// The log is in the store, and only the newest entries are here too.
    async fn erase(&self, seq: u64, id: Uuid, erased: &Bytes) -> Result<(), BusError> {
        self.shared.tail.erase(seq, id, erased);
        Ok(())
    }

    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(MemoryReader::new(Arc::clone(&self.shared), from)))
    }

    fn health(&self) -> Result<(), String> {
        match &*self.shared.fault.borrow() {
            Some(fault) => Err(fault.clone()),
            None => Ok(()),
        }
    }

    fn uncommitted_share(&self, _committed_through: u64) -> f64 {
        0.0
    }
}
