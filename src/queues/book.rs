//! The rules of queues, known for a moment.
//!
//! Invariant: a queue first used without a PUT gets the defaults and is there from
//! then on. Rules are at most [`QUEUE_CACHE`] old while the store can be asked;
//! while it cannot, those known before go on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{QueueConfig, QueueError};
use crate::limits::{MAX_QUEUES, QUEUE_CACHE};
use crate::store::Store;
use crate::store::jobs::QueueRow;

/// The rules of queues.
pub struct QueueBook {
    store: Arc<dyn Store>,
    known: Mutex<HashMap<String, (Instant, QueueRow)>>,
}

impl QueueBook {
    /// As this store has them.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// A queue's rules; a queue that is not there is made.
    ///
    /// # Errors
    /// The store cannot be asked and never was, or there are too many queues.
    pub async fn rules(&self, queue: &str) -> Result<QueueRow, QueueError> {
        let known = self.known().get(queue).cloned();
        if let Some((learned, row)) = &known
            && learned.elapsed() < QUEUE_CACHE
        {
            return Ok(row.clone());
        }
        match (self.ask(queue).await, known) {
            (Err(QueueError::Store(error)), Some((_, row))) => {
                tracing::debug!(queue, %error, "the rules known before go on");
                self.learn(row.clone());
                Ok(row)
            }
            (answer, _) => answer,
        }
    }

    /// Gives a queue rules; whether it was made.
    ///
    /// # Errors
    /// The store cannot be asked, or there are too many queues.
    pub async fn put(&self, queue: &str, config: &QueueConfig) -> Result<bool, QueueError> {
        let made = self.store.put_queue(&row(queue, config), false, MAX_QUEUES).await?;
        let made = made.ok_or(QueueError::TooManyQueues)?;
        self.known().remove(queue);
        self.ask(queue).await?;
        Ok(made)
    }

    async fn ask(&self, queue: &str) -> Result<QueueRow, QueueError> {
        let found = match self.store.queue(queue).await? {
            Some(row) => row,
            None => {
                let default = row(queue, &QueueConfig::default());
                let made = self.store.put_queue(&default, true, MAX_QUEUES).await?;
                made.ok_or(QueueError::TooManyQueues)?;
                self.store.queue(queue).await?.unwrap_or(default)
            }
        };
        self.learn(found.clone());
        Ok(found)
    }

    fn learn(&self, row: QueueRow) {
        self.known().insert(row.name.clone(), (Instant::now(), row));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (Instant, QueueRow)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn row(queue: &str, config: &QueueConfig) -> QueueRow {
    QueueRow {
        name: queue.to_owned(),
        lease: config.lease,
        max_deliver: config.max_deliver,
        backoff: config.backoff.clone(),
        longest_lease: Duration::ZERO,
    }
}

impl From<&QueueRow> for QueueConfig {
    fn from(row: &QueueRow) -> Self {
        Self { lease: row.lease, max_deliver: row.max_deliver, backoff: row.backoff.clone() }
    }
}
