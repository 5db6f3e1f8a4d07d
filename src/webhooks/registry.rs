//! Making, pausing and removing webhooks, through any server.
//!
//! Invariant: what makes deliveries flow is in the store before a client hears
//! of it. A webhook without its row has a consumer at most, which nobody runs and
//! `super::supervise` sweeps away.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use reqwest::Url;
use tokio::sync::Notify;
use uuid::Uuid;

use super::guard::Guard;
use super::secret::Secret;
use super::{WebhookStatus, consumer_name, webhook_of};
use crate::bus::Bus;
use crate::committed::Committed;
use crate::limits::MAX_WEBHOOKS;
use crate::message::{SubjectPattern, truncate_to_micros};
use crate::processor::{ControlError, Processor};
use crate::store::StoreError;
use crate::store::work::{Position, Webhook, WorkStore};

/// What a webhook gets unless it says otherwise: everything.
const DEFAULT_FILTER: &str = "agent.>";
/// What stands as the reason of a pause that was asked for.
const ASKED: &str = "paused on request";

/// A webhook as it is to be made.
#[derive(Debug)]
pub struct NewWebhook {
    /// Where deliveries go; judged by the guard.
    pub url: Url,
    /// Which messages; all without it.
    pub filter: Option<SubjectPattern>,
    /// What signs them; made without it.
    pub secret: Option<Secret>,
}

/// Why a webhook was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There are as many as may be.
    #[error("there are {MAX_WEBHOOKS} webhooks, as many as there may be: remove one first")]
    TooMany,
    /// The system gives no random bytes for a secret.
    #[error("no secret could be made")]
    NoSecret,
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its consumer could not be placed or told.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// All webhooks of a deployment.
pub struct Registry {
    store: Arc<dyn WorkStore>,
    bus: Arc<dyn Bus>,
    processor: Arc<Processor>,
    committed: Arc<Committed>,
    guard: Guard,
    changed: Arc<Notify>,
}

impl Registry {
    /// The webhooks in `store`, whose consumers stand in the log of `bus`.
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

    /// Which addresses a webhook may reach.
    #[must_use]
    pub fn guard(&self) -> Guard {
        self.guard
    }

    /// LastRecorded when something was changed through this server.
    #[must_use]
    pub fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Makes a webhook that gets what is published from now on. The store keeps to the limit,
    /// however many are made at once, through however many servers.
    ///
    /// # Errors
    /// [`WebhookError`]; then there is none.
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
        };
        let name = consumer_name(webhook.id);
        let place = self.here().await?;
        let consumer = self.store.create_consumer(&name, &webhook.filter, &place).await?;
        if !self.store.create_webhook(&webhook, MAX_WEBHOOKS).await? {
            self.forget(webhook.id).await;
            return Err(WebhookError::TooMany);
        }
        self.changed.notify_one();
        Ok(WebhookStatus { webhook, consumer: Some(consumer) })
    }

    /// The end of the log.
    async fn here(&self) -> Result<Position, ControlError> {
        let floor = self.bus.identity().await?.bounds.last.max(self.committed.seen());
        Ok(Position { floor, feed: None, handled: true })
    }

    /// All of them, oldest first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn all(&self) -> Result<Vec<WebhookStatus>, StoreError> {
        Ok(snapshot(&*self.store).await?.known)
    }

    /// One of them.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn one(&self, id: Uuid) -> Result<Option<WebhookStatus>, StoreError> {
        Ok(self.all().await?.into_iter().find(|known| known.webhook.id == id))
    }

    /// Stops deliveries. What is published meanwhile waits.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn pause(&self, id: Uuid) -> Result<Option<WebhookStatus>, WebhookError> {
        // The first reason is what a person wants to know.
        if self.one(id).await?.is_some_and(|known| known.paused().is_none()) {
            self.tell(id, Some(ASKED)).await?;
        }
        Ok(self.one(id).await?)
    }

    /// Goes on where it stopped; failures are counted anew.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn resume(&self, id: Uuid) -> Result<Option<WebhookStatus>, WebhookError> {
        if self.one(id).await?.is_some_and(|known| known.paused().is_some()) {
            self.store.webhook_resumed(id).await?;
            self.tell(id, None).await?;
        }
        Ok(self.one(id).await?)
    }

    /// Pauses or resumes the consumer, if there is one.
    async fn tell(&self, id: Uuid, pause: Option<&str>) -> Result<(), ControlError> {
        match self.processor.pause(&consumer_name(id), pause).await {
            Err(ControlError::Unknown) => Ok(()),
            told => told,
        }
    }

    /// Removes one, with its consumer and what that set aside; `false` when there is none.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn remove(&self, id: Uuid) -> Result<bool, StoreError> {
        if !self.store.delete_webhook(id).await? {
            return Ok(false);
        }
        self.changed.notify_one();
        self.forget(id).await;
        Ok(true)
    }

    /// Removes the consumer of a webhook that is none, or leaves it to be swept away.
    async fn forget(&self, id: Uuid) {
        if let Err(error) = sweep(&*self.store, &*self.bus, &consumer_name(id)).await {
            tracing::debug!(webhook = %id, %error, "its consumer is left to be swept away");
        }
    }
}

/// What stands in the store.
pub(super) struct WebhookSnapshot {
    /// All webhooks, oldest first.
    pub known: Vec<WebhookStatus>,
    /// Webhooks that are gone, or not there yet, and have a consumer.
    pub orphans: Vec<Uuid>,
}

/// Looks at it.
pub(super) async fn snapshot(store: &dyn WorkStore) -> Result<WebhookSnapshot, StoreError> {
    // In this order no webhook that is being made lacks its consumer.
    let webhooks = store.webhooks().await?.into_iter();
    let consumers = store.consumers().await?.into_iter();
    let mut consumers: BTreeMap<_, _> =
        consumers.filter_map(|consumer| Some((webhook_of(&consumer.name)?, consumer))).collect();
    let known = webhooks
        .map(|webhook| WebhookStatus { consumer: consumers.remove(&webhook.id), webhook })
        .collect();
    Ok(WebhookSnapshot { known, orphans: consumers.into_keys().collect() })
}

/// Removes a consumer that has no webhook. Its row goes after the bus's own part
/// of it, so that this is tried again where the bus does not answer.
pub(super) async fn sweep(
    store: &dyn WorkStore,
    bus: &dyn Bus,
    name: &str,
) -> Result<(), ControlError> {
    let durables = bus.durable_consumers();
    if let Some(durables) = &durables {
        durables.delete(name).await?;
    }
    store.delete_consumer(name).await?;
    // Who had seen the row may have made it again.
    if let Some(durables) = &durables {
        durables.delete(name).await?;
    }
    Ok(())
}
