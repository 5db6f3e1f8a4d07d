//! The log in this process, written through to a journal before the ack.
//!
//! Invariant: an acknowledged message is committed in the journal, and readers see an entry only after that. One writer
//! task assigns the sequences; publishes that come while it commits share the next commit (group commit). The queue of
//! publishes is bounded in number and bytes, and abandoned ones are dropped.

mod reader;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

use super::{Ack, Bounds, Bus, BusError, LogIdentity, Precondition, PublishError, Reader};
use crate::clock::Clock;
use crate::limits::{MEMORY_QUEUE, MEMORY_QUEUE_BYTES, PUBLISH_DEADLINE};
use crate::message::{LogEntry, Outgoing};
use tail::Tail;
pub use writer::Writer;

/// The store of the memory bus: it writes through to it, and reads from it what it no longer has in memory.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Appends entries after sequence `old`, all or none, fsynced.
    async fn append(&self, old: u64, entries: Vec<LogEntry>) -> Result<(), JournalError>;

    /// The last sequence appended. It shows the outcome of an append that was unknown.
    async fn last(&self) -> Result<u64, JournalError>;

    /// The sequences of those ids that were appended before.
    async fn find(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, u64>, JournalError>;

    /// Up to `limit` entries from a sequence on.
    async fn read(&self, from: u64, limit: usize) -> Result<Vec<LogEntry>, JournalError>;

    /// The lowest sequence held, if there is any.
    async fn first(&self) -> Result<Option<u64>, JournalError>;
}

/// Why a call to the journal failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// No answer: an append may have been written or not.
    #[error("the journal is unavailable: {0}")]
    Unavailable(String),
    /// Another process owns the journal; this bus must stop.
    #[error("the journal belongs to another process now")]
    Lost,
}

/// Publishes and reads; the [`Writer`] does the work.
pub struct MemoryBus {
    queue: mpsc::Sender<Job>,
    /// A permit for each byte that queued jobs may hold.
    bytes: Arc<Semaphore>,
    shared: Arc<Shared>,
}

/// State that readers, publishers and the writer share.
struct Shared {
    journal: Arc<dyn Journal>,
    tail: Tail,
    last: watch::Sender<u64>,
    /// Why publishing is not possible, while it is not.
    fault: watch::Sender<Option<String>>,
    first: AtomicU64,
    /// Whether the writer is committing.
    busy: AtomicBool,
}

impl Shared {
    /// Why a publish would only wait: the journal does not answer, and a commit is being tried already.
    fn refusal(&self) -> Option<String> {
        let fault = self.fault.borrow();
        fault.clone().filter(|_| self.busy.load(Ordering::Relaxed))
    }
}

/// Messages that wait for the writer.
struct Job {
    messages: Vec<Outgoing>,
    condition: Option<Precondition>,
    reply: oneshot::Sender<Vec<Outcome>>,
    /// Held until the outcomes are reported.
    _bytes: OwnedSemaphorePermit,
}

impl Job {
    /// Whether its publisher no longer waits.
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Bytes of memory that messages hold.
fn bytes_of(messages: &[Outgoing]) -> usize {
    let each = |m: &Outgoing| size_of::<Outgoing>() + m.subject.as_str().len() + m.body.len();
    messages.iter().map(each).sum()
}

/// `Ok(None)`: the condition did not hold.
type Outcome = Result<Option<Ack>, PublishError>;

impl MemoryBus {
    /// The name of the log. The ids of entries without one derive from it.
    pub const LOG_NAME: &'static str = "memory";

    /// A log that continues after the journal's last sequence. Publishes get results only while the writer runs.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn open(
        journal: Arc<dyn Journal>,
        clock: Clock,
    ) -> Result<(Self, Writer), JournalError> {
        let last = journal.last().await?;
        let first = journal.first().await?.unwrap_or(last + 1);
        let (queue, jobs) = mpsc::channel(MEMORY_QUEUE);
        let shared = Arc::new(Shared {
            journal,
            tail: Tail::default(),
            last: watch::Sender::new(last),
            fault: watch::Sender::new(None),
            first: AtomicU64::new(first),
            busy: AtomicBool::new(false),
        });
        let writer = Writer::new(Arc::clone(&shared), jobs, clock);
        let bytes = Arc::new(Semaphore::new(MEMORY_QUEUE_BYTES));
        Ok((Self { queue, bytes, shared }, writer))
    }

    /// Queues messages for the writer and waits for the outcomes. If this future is dropped before the writer has taken
    /// them, they are not written.
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
        // A job larger than all permits takes all of them.
        let permits = bytes_of(&messages).min(MEMORY_QUEUE_BYTES) as u32;
        let Ok(bytes) = Arc::clone(&self.bytes).try_acquire_many_owned(permits) else {
            return all(full());
        };
        let (reply, answer) = oneshot::channel();
        if self.queue.try_send(Job { messages, condition, reply, _bytes: bytes }).is_err() {
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
        outcome.unwrap_or_else(|| Err(PublishError::Unknown("no answer".to_owned())))
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

    async fn reader(&self, from: u64) -> Result<Box<dyn Reader>, BusError> {
        Ok(Box::new(reader::MemoryReader::new(Arc::clone(&self.shared), from)))
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
