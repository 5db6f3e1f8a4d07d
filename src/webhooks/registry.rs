//! Creates, pauses and removes webhooks, through any server.
//!
//! Invariant: a webhook and its consumer are in the store before a client gets the response. A consumer
//! without its webhook runs nowhere, and `super::supervise` removes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reqwest::Url;
use tokio::sync::Notify;
use uuid::Uuid;

use super::guard::Guard;
use super::secret::Secret;
use super::status::{WebhookStatus, consumer_name, webhook_of};
use crate::bus::Bus;
use crate::committed::Committed;
use crate::limits::MAX_WEBHOOKS;
use crate::message::{SubjectPattern, truncate_to_micros};
use crate::processor::{ControlError, Processor};
use crate::store::StoreError;
use crate::store::work::{Position, Webhook, WorkStore};

/// The default filter, which every message passes.
const DEFAULT_FILTER: &str = "agent.>";
/// The recorded reason of a pause that a client requested.
const REQUESTED: &str = "paused on request";

/// A webhook to be created.
#[derive(Debug)]
pub struct NewWebhook {
    /// The receiver's URL, checked by the guard.
    pub url: Url,
    /// The subjects to deliver; `None` for all.
    pub filter: Option<SubjectPattern>,
    /// The secret that signs deliveries; `None` to generate one.
    pub secret: Option<Secret>,
    /// The key that makes it; `None`: made without a key.
    pub key_id: Option<String>,
}

/// The reason why a webhook was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There are [`MAX_WEBHOOKS`] already.
    #[error("there are {MAX_WEBHOOKS} webhooks, as many as there may be: remove one first")]
    TooMany,
    /// The system gives no random bytes for a secret.
    #[error("no secret could be made")]
    NoSecret,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The webhook's consumer could not be created or changed.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Creates, reads and changes the webhooks of a deployment.
pub struct Registry {
    store: Arc<dyn WorkStore>,
    bus: Arc<dyn Bus>,
    processor: Arc<Processor>,
    committed: Arc<Committed>,
    guard: Guard,
    changed: Arc<Notify>,
}

impl Registry {
    /// A registry of the webhooks in `store`, whose consumers read the log of `bus`.
    #[must_use]
    pub fn new(
        store: Arc<dyn WorkStore>,
        bus: Arc<dyn Bus>,
        processor: Arc<Processor>,
        committed: Arc<Committed>,
        guard: Guard,
    ) -> Self {
        Self { store, bus, processor, committed, guard, changed: Arc::default() }
    }

    /// Decides which addresses a webhook may reach.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// Notified of each change that was made through this server.
    #[must_use]
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Creates a webhook that gets messages published from now on. The store enforces the limit, also for
    /// concurrent requests through several servers.
    ///
    /// # Errors
    /// The reason why the webhook was not created.
    pub async fn create(
        &self,
        new: NewWebhook,
        now: DateTime<Utc>,
    ) -> Result<WebhookStatus, WebhookError> {
        if self.store.webhooks().await?.len() >= MAX_WEBHOOKS {
            return Err(WebhookError::TooMany);
        }
        let secret = new.secret.or_else(Secret::generate).ok_or(WebhookError::NoSecret)?;
        let webhook = Webhook {
            id: Uuid::now_v7(),
            url: new.url.into(),
            filter: new.filter.map_or(DEFAULT_FILTER.to_owned(), |filter| filter.to_string()),
            secret: secret.reveal().to_owned(),
            created_at: truncate_to_micros(now),
            failures: 0,
            failing_since: None,
            last_success: None,
            last_error: None,
            key_id: new.key_id,
        };
        let name = consumer_name(webhook.id);
        let place = self.end_of_log().await?;
        let consumer = self.store.create_consumer(&name, &webhook.filter, &place).await?;
        if !self.store.create_webhook(&webhook, MAX_WEBHOOKS).await? {
            self.remove_orphan(webhook.id).await;
            return Err(WebhookError::TooMany);
        }
        self.changed.notify_one();
        Ok(WebhookStatus { webhook, consumer: Some(consumer) })
    }

    async fn end_of_log(&self) -> Result<Position, ControlError> {
        let floor = self.bus.identity().await?.bounds.last.max(self.committed.seen());
        Ok(Position { floor, feed: None, handled: true })
    }

    /// All webhooks, oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn all(&self) -> Result<Vec<WebhookStatus>, StoreError> {
        Ok(snapshot(&*self.store).await?.webhooks)
    }

    /// One webhook by its id.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn one(&self, id: Uuid) -> Result<Option<WebhookStatus>, StoreError> {
        Ok(self.all().await?.into_iter().find(|known| known.webhook.id == id))
    }

    /// Pauses the deliveries of a webhook. Messages published meanwhile wait.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pause(&self, id: Uuid) -> Result<Option<WebhookStatus>, WebhookError> {
        // The first reason is kept, since people want to know why the webhook was paused at all.
        if self.one(id).await?.is_some_and(|known| known.paused().is_none()) {
            self.set_paused(id, Some(REQUESTED)).await?;
        }
        Ok(self.one(id).await?)
    }

    /// Resumes the deliveries where they stopped; the count of failures starts at zero.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn resume(&self, id: Uuid) -> Result<Option<WebhookStatus>, WebhookError> {
        if self.one(id).await?.is_some_and(|known| known.paused().is_some()) {
            self.store.webhook_resumed(id).await?;
            self.set_paused(id, None).await?;
        }
        Ok(self.one(id).await?)
    }

    /// Pauses or resumes the webhook's consumer, if there is one.
    async fn set_paused(&self, id: Uuid, pause: Option<&str>) -> Result<(), ControlError> {
        match self.processor.pause(&consumer_name(id), pause).await {
            Err(ControlError::Unknown) => Ok(()),
            result => result,
        }
    }

    /// Removes a webhook with its consumer and the messages set aside for it; returns `false` if there is
    /// none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn remove(&self, id: Uuid) -> Result<bool, StoreError> {
        if !self.store.delete_webhook(id).await? {
            return Ok(false);
        }
        self.changed.notify_one();
        self.remove_orphan(id).await;
        Ok(true)
    }

    /// Removes the consumer of a webhook that does not exist. If that fails, the supervisor does it.
    async fn remove_orphan(&self, id: Uuid) {
        if let Err(error) = delete_consumer(&*self.store, &*self.bus, &consumer_name(id)).await {
            tracing::debug!(webhook = %id, %error, "its consumer is left to the supervisor");
        }
    }
}

/// All webhooks in the store, and consumers without one.
pub(super) struct WebhookSnapshot {
    /// All webhooks, oldest first.
    pub webhooks: Vec<WebhookStatus>,
    /// Ids of webhooks that have a consumer but no row: they were removed, or are about to be created.
    pub orphans: Vec<Uuid>,
}

/// Reads the webhooks and their consumers.
pub(super) async fn snapshot(store: &dyn WorkStore) -> Result<WebhookSnapshot, StoreError> {
    // A webhook's consumer is created first, so with webhooks read first, one that is being created has
    // its consumer.
    let webhooks = store.webhooks().await?.into_iter();
    let consumers = store.consumers().await?.into_iter();
    let mut consumers: BTreeMap<_, _> =
        consumers.filter_map(|consumer| Some((webhook_of(&consumer.name)?, consumer))).collect();
    let webhooks = webhooks
        .map(|webhook| WebhookStatus { consumer: consumers.remove(&webhook.id), webhook })
        .collect();
    Ok(WebhookSnapshot { webhooks, orphans: consumers.into_keys().collect() })
}

/// Removes a consumer that has no webhook. Its row is deleted after its durable consumer, so that the removal
/// is repeated if the bus does not answer.
pub(super) async fn delete_consumer(
    store: &dyn WorkStore,
    bus: &dyn Bus,
    name: &str,
) -> Result<(), ControlError> {
    let durables = bus.durable_consumers();
    if let Some(durables) = &durables {
        durables.delete(name).await?;
    }
    store.delete_consumer(name).await?;
    // Another server that had read the row may have created the durable consumer again.
    if let Some(durables) = &durables {
        durables.delete(name).await?;
    }
    Ok(())
}
