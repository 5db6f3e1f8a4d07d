//! Runs a consumer for each active webhook, on every server.
//!
//! Invariant: the consumers that run here follow the store within [`WEBHOOK_POLL`], whichever server changed
//! a webhook. One process never runs two consumers for one webhook, not even while the first is ending.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::DateTime;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::handler::{DeliveryContext, WebhookHandler};
use super::maker::MAKER_DISABLED;
use super::registry::{WebhookSnapshot, delete_consumer, snapshot};
use super::status::{WebhookStatus, consumer_name};
use crate::bus::Bus;
use crate::limits::{WEBHOOK_CONCURRENCY, WEBHOOK_ORPHAN_AGE, WEBHOOK_POLL};
use crate::processor::handler::Handler as _;
use crate::processor::{ConsumerSpec, Start};
use crate::store::work::Webhook;

/// Runs the consumers of webhooks.
pub struct Supervisor {
    /// What the handlers of webhooks share.
    pub context: DeliveryContext,
    /// The bus with the durable consumers.
    pub bus: Arc<dyn Bus>,
    /// Notified of each change that was made through this server.
    pub changed: Arc<Notify>,
}

/// A consumer that runs here, or is ending.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Supervisor {
    /// Follows the store until cancelled, then waits for every consumer to end.
    pub async fn run(self, cancel: CancellationToken) {
        let mut running = HashMap::new();
        let mut is_reported = false;
        while !cancel.is_cancelled() {
            match snapshot(&*self.context.store).await {
                Ok(WebhookSnapshot { webhooks, orphans }) => {
                    is_reported = false;
                    self.follow_makers(&webhooks).await;
                    self.follow(&mut running, &webhooks).await;
                    self.remove_orphans(&running, &orphans).await;
                }
                Err(error) if !is_reported => {
                    is_reported = true;
                    tracing::warn!(%error, "webhooks cannot be read: those that run go on");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = self.changed.notified() => {}
                () = tokio::time::sleep(WEBHOOK_POLL) => {}
            }
        }
        for consumer in running.values() {
            consumer.stop.cancel();
        }
        for (_, consumer) in running {
            // A panic in the task was logged where it happened.
            let _ = consumer.task.await;
        }
    }

    /// Pauses webhooks whose key was revoked, has expired or is disabled, also while there is nothing to deliver. Resumes
    /// those whose key is enabled again.
    async fn follow_makers(&self, webhooks: &[WebhookStatus]) {
        let now = self.context.clock.now();
        for status in webhooks {
            let id = status.webhook.id;
            let scope = self.context.makers.scope(status.webhook.key_id.as_deref(), now);
            let paused = match (status.paused(), scope) {
                (None, Err(reason)) => Some(reason),
                (Some(MAKER_DISABLED), Ok(_)) => None,
                _ => continue,
            };
            match self.context.processor.pause(&consumer_name(id), paused).await {
                Ok(()) => match paused {
                    Some(reason) => tracing::warn!(webhook = %id, reason, "a webhook is paused"),
                    None => tracing::info!(webhook = %id, "a webhook goes on: its key is enabled"),
                },
                Err(error) => {
                    tracing::warn!(webhook = %id, %error, "a webhook could not be paused or resumed");
                }
            }
        }
    }

    /// Starts the consumers of new webhooks, stops those of removed ones, and restarts those that have
    /// ended by themselves.
    async fn follow(&self, running: &mut HashMap<Uuid, Running>, webhooks: &[WebhookStatus]) {
        running.retain(|_, consumer| !consumer.task.is_finished());
        for (id, consumer) in &*running {
            if !webhooks.iter().any(|status| status.webhook.id == *id) {
                consumer.stop.cancel();
            }
        }
        for WebhookStatus { webhook, consumer } in webhooks {
            if consumer.is_some() && !running.contains_key(&webhook.id) {
                match self.start(webhook) {
                    Ok(consumer) => {
                        running.insert(webhook.id, consumer);
                    }
                    Err(error) => {
                        tracing::error!(webhook = %webhook.id, error, "a webhook in the store is malformed: remove it and create another");
                    }
                }
            }
        }
    }

    fn start(&self, webhook: &Webhook) -> Result<Running, String> {
        let receiver = WebhookHandler::new(webhook, self.context.clone())?;
        let spec = ConsumerSpec {
            name: consumer_name(webhook.id),
            filter: receiver.subjects().clone(),
            policy: self.context.policy.clone(),
            start: Start::Latest,
            handlers: vec![Arc::new(receiver)],
            concurrency: WEBHOOK_CONCURRENCY,
        };
        let stop = CancellationToken::new();
        let (processor, stopped) = (Arc::clone(&self.context.processor), stop.clone());
        let task = tokio::spawn(async move { processor.consume(spec, stopped).await });
        Ok(Running { stop, task })
    }

    /// Removes the consumers of removed webhooks that no longer run here. A new webhook's consumer is
    /// created before its row, so a consumer without a row is left alone while it is young.
    async fn remove_orphans(&self, running: &HashMap<Uuid, Running>, orphans: &[Uuid]) {
        let now = self.context.clock.now();
        for id in orphans {
            let made = id.get_timestamp().and_then(|made| {
                let (seconds, nanos) = made.to_unix();
                DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)
            });
            let old = made.is_none_or(|made| now - made > WEBHOOK_ORPHAN_AGE);
            if !old || running.contains_key(id) {
                continue;
            }
            let deleted =
                delete_consumer(&*self.context.store, &*self.bus, &consumer_name(*id)).await;
            if let Err(error) = deleted {
                tracing::debug!(webhook = %id, %error, "its consumer could not be removed");
            }
        }
    }
}
