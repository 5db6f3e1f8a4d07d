//! Caches the configuration of queues for a moment.
//!
//! Invariants: only a PUT, or a job that is enqueued, creates a queue; reading the configuration does not.
//! While the store answers, a cached configuration is at most [`QUEUE_CACHE`] old; while it does not, the
//! cached one stays in use. The cache holds little more than [`MAX_QUEUES`] entries, since it does not
//! remember names of queues that do not exist.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

use super::config::QueueConfig;
use super::error::QueueError;
use crate::limits::{MAX_QUEUES, QUEUE_CACHE};
use crate::store::Store;
use crate::store::jobs::QueueRow;

/// Configurations by queue, with the time when each was read from the store.
pub struct QueueConfigCache {
    store: Arc<dyn Store>,
    cached: Mutex<HashMap<String, (Instant, QueueRow)>>,
}

impl QueueConfigCache {
    /// An empty cache in front of this store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, cached: Mutex::default() }
    }

    /// The queue's configuration; `None` if the queue does not exist.
    ///
    /// # Errors
    /// The store does not answer, and the configuration is not cached.
    pub async fn get(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        let cached = self.cached.lock().get(queue).cloned();
        if let Some((read_at, row)) = &cached
            && read_at.elapsed() < QUEUE_CACHE
        {
            return Ok(Some(row.clone()));
        }
        match (self.reload(queue).await, cached) {
            (Err(QueueError::Store(error)), Some((_, row))) => {
                tracing::debug!(queue, %error, "the store does not answer; the cached configuration stays in use");
                self.insert(row.clone());
                Ok(Some(row))
            }
            (read, _) => read,
        }
    }

    /// Reads the configuration from the store, past the cache.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn reload(&self, queue: &str) -> Result<Option<QueueRow>, QueueError> {
        let found = self.store.queue(queue).await?;
        match &found {
            Some(row) => self.insert(row.clone()),
            None => self.remove(queue),
        }
        Ok(found)
    }

    /// The queue's configuration. Creates a queue that does not exist, with the default configuration.
    ///
    /// # Errors
    /// The store does not answer and the configuration is not cached, or there are too many queues.
    pub async fn get_or_create(&self, queue: &str) -> Result<QueueRow, QueueError> {
        if let Some(found) = self.get(queue).await? {
            return Ok(found);
        }
        let default = new_row(queue, &QueueConfig::default());
        let created = self.store.put_queue(&default, true, MAX_QUEUES).await?;
        created.ok_or(QueueError::TooManyQueues)?;
        Ok(self.reload(queue).await?.unwrap_or(default))
    }

    /// Creates or changes a queue. Returns whether it was created.
    ///
    /// # Errors
    /// The store does not answer, or there are too many queues.
    pub async fn put(&self, queue: &str, config: &QueueConfig) -> Result<bool, QueueError> {
        let created = self.store.put_queue(&new_row(queue, config), false, MAX_QUEUES).await?;
        let created = created.ok_or(QueueError::TooManyQueues)?;
        self.remove(queue);
        self.reload(queue).await?;
        Ok(created)
    }

    /// When the cached configuration of a queue was read from the store.
    pub fn read_at(&self, queue: &str) -> Option<Instant> {
        self.cached.lock().get(queue).map(|(read_at, _)| *read_at)
    }

    /// Removes a queue from the cache, because it may have been deleted.
    pub fn remove(&self, queue: &str) {
        self.cached.lock().remove(queue);
    }

    fn insert(&self, row: QueueRow) {
        let mut cached = self.cached.lock();
        if cached.len() >= MAX_QUEUES {
            // Drops entries that are too old to use; queues that other servers have deleted would stay for ever.
            cached.retain(|_, (read_at, _)| read_at.elapsed() < QUEUE_CACHE);
        }
        cached.insert(row.name.clone(), (Instant::now(), row));
    }
}

fn new_row(queue: &str, config: &QueueConfig) -> QueueRow {
    QueueRow {
        name: queue.to_owned(),
        lease: config.lease,
        max_deliver: config.max_deliver,
        backoff: config.backoff.clone(),
        longest_lease: Duration::ZERO,
        incarnation: Some(Uuid::new_v4()),
    }
}

impl From<&QueueRow> for QueueConfig {
    fn from(row: &QueueRow) -> Self {
        Self { lease: row.lease, max_deliver: row.max_deliver, backoff: row.backoff.clone() }
    }
}
