//! The rules of queues, known for a moment.
//!
//! Invariants: a queue is made by a PUT, or by a job that comes in, with the defaults;
//! asking for its rules makes none. Rules are at most [`QUEUE_CACHE`] old while the store can be
//! asked; while it cannot, those known before go on. What is known never outnumbers
//! [`MAX_QUEUES`] for long: that a queue is not there is not remembered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;
use uuid::Uuid;

use super::{QueueConfig, QueueError};
use crate::limits::{MAX_QUEUES, QUEUE_CACHE};
use crate::store::Store;
use crate::store::jobs::QueueRow;

/// The rules of queues.
pub struct QueueConfigCache {
    store: Arc<dyn Store>,
    known: Mutex<HashMap<String, (Instant, QueueRow)>>,
}

impl QueueConfigCache {
    /// As this store has them.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, known: Mutex::default() }
    }

    /// A queue's rules; `None` when there is no such queue.
    ///
    /// # Errors
    /// The store cannot be asked and never was.
    pub async fn find(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        let known = self.known().get(queue).cloned();
        if let Some((learned, row)) = &known
            && learned.elapsed() < QUEUE_CACHE
        {
            return Ok(Some(row.clone()));
        }
        match (self.ask(queue).await, known) {
            (Err(QueueError::Store(error)), Some((_, row))) => {
                tracing::debug!(queue, %error, "the rules known before go on");
                self.learn(row.clone());
                Ok(Some(row))
            }
            (answer, _) => answer,
        }
    }

    /// The same as the store has them now.
    ///
    /// # Errors
    /// The store cannot be asked.
    pub async fn ask(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        let found = self.store.queue(queue).await?;
        match &found {
            Some(row) => self.learn(row.clone()),
            None => self.forget(queue),
        }
        Ok(found)
    }

    /// A queue's rules; a queue that is not there is made, with the defaults.
    ///
    /// # Errors
    /// The store cannot be asked and never was, or there are too many queues.
    pub async fn make(&self, queue: &str) -> Result<QueueRow, QueueError> {
        if let Some(found) = self.find(queue).await? {
            return Ok(found);
        }
        let default = row(queue, &QueueConfig::default());
        let made = self.store.put_queue(&default, true, MAX_QUEUES).await?;
        made.ok_or(QueueError::TooManyQueues)?;
        Ok(self.ask(queue).await?.unwrap_or(default))
    }

    /// Gives a queue rules; whether it was made.
    ///
    /// # Errors
    /// The store cannot be asked, or there are too many queues.
    pub async fn put(&self, queue: &str, config: &QueueConfig) -> Result<bool, QueueError> {
        let made = self.store.put_queue(&row(queue, config), false, MAX_QUEUES).await?;
        let made = made.ok_or(QueueError::TooManyQueues)?;
        self.forget(queue);
        self.ask(queue).await?;
        Ok(made)
    }

    /// When a queue's rules were learned, if they are known.
    pub fn learned(&self, queue: &str) -> Option<Instant> {
        self.known().get(queue).map(|(learned, _)| *learned)
    }

    /// Forgets what is known of a queue: it may be gone.
    pub fn forget(&self, queue: &str) {
        self.known().remove(queue);
    }

    fn learn(&self, row: QueueRow) {
        let mut known = self.known();
        if known.len() >= MAX_QUEUES {
            // Some were deleted, at another server, and nobody has asked for them here since.
            known.retain(|_, (learned, _)| learned.elapsed() < QUEUE_CACHE);
        }
        known.insert(row.name.clone(), (Instant::now(), row));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, (Instant, QueueRow)>> {
        self.known.lock()
    }
}

fn row(queue: &str, config: &QueueConfig) -> QueueRow {
    QueueRow {
        name: queue.to_owned(),
        lease: config.lease,
        max_deliver: config.max_deliver,
        backoff: config.backoff.clone(),
        longest_lease: Duration::ZERO,
        made: Some(Uuid::new_v4()),
    }
}

impl From<&QueueRow> for QueueConfig {
    fn from(row: &QueueRow) -> Self {
        Self { lease: row.lease, max_deliver: row.max_deliver, backoff: row.backoff.clone() }
    }
}
